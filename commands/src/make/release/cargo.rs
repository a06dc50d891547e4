//! Builds the program of a project for another target.

use std::path::{Path, PathBuf};
use std::process::Command;

use framework::config::program_folders;
use framework::prelude::*;
use serde::Deserialize;

use super::PROGRAM;

/// What makes the program small: half as many bytes as for speed alone.
const PROFILE: [&str; 4] = [
    "profile.release.strip=\"symbols\"",
    "profile.release.opt-level=\"s\"",
    "profile.release.lto=\"fat\"",
    "profile.release.codegen-units=1",
];
/// The C compiler for musl.
const COMPILER: &str = "musl-gcc";

/// The package of a project, as its Cargo.toml describes it.
#[derive(Deserialize)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) description: Option<String>,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

impl Package {
    /// # Errors
    /// Cargo is missing, or does not understand the project.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let manifest = root.join("Cargo.toml");
        let mut cargo = Command::new("cargo");
        cargo.args(["metadata", "--no-deps", "--format-version=1", "--manifest-path"]).arg(&manifest);
        let ran = cargo.output().map_err(|error| anyhow!("cargo cannot be run: {error}"))?;
        ensure!(ran.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&ran.stderr).trim());
        let metadata: Metadata = serde_json::from_slice(&ran.stdout).context("reading what cargo says")?;
        let own = metadata.packages.into_iter().find(|package| package.manifest_path == manifest);
        own.with_context(|| format!("{} describes no package", manifest.display()))
    }
}

/// The target of this machine with musl.
///
/// # Errors
/// The compiler is missing.
pub(super) fn default_target() -> Result<String> {
    let described = compiler(&["-vV"])?;
    let host = described.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
    let machine = host.split('-').next().filter(|machine| !machine.is_empty());
    Ok(format!("{}-unknown-linux-musl", machine.context("rustc does not name its machine")?))
}

/// Builds the program, and returns its file.
///
/// # Errors
/// What is missing on this machine, and how to install it; or the build has failed.
pub(super) fn build(root: &Path, target: &str, output: &mut Output) -> Result<PathBuf> {
    let is_musl = target.ends_with("-musl");
    let folder = compiler(&["--print", "target-libdir", "--target", target])?;
    ensure!(
        Path::new(folder.trim()).is_dir(),
        "Rust cannot build for {target} yet; run: rustup target add {target}"
    );
    let host = compiler(&["-vV"])?;
    let is_own = host.lines().any(|line| line.strip_prefix("host: ") == Some(target));
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root).args(["build", "--release", "--bin", PROGRAM, "--target", target]);
    cargo.args(["--message-format", "json-render-diagnostics"]);
    cargo.args(PROFILE.iter().flat_map(|setting| ["--config", setting]));
    if is_musl && !is_own {
        let has_compiler = program_folders().iter().any(|folder| folder.join(COMPILER).is_file());
        ensure!(
            has_compiler,
            "{COMPILER} is missing, which compiles SQLite for {target}: apt-get install musl-tools"
        );
        cargo.env(format!("CC_{}", target.replace('-', "_")), COMPILER);
    }
    if !is_musl {
        let flags = format!("target.{target}.rustflags=[\"-Ctarget-feature=+crt-static\"]");
        cargo.args(["--config", &flags]);
    }
    output.note(format_args!("Building for {target}; the first time takes some minutes ..."));
    output.flush();
    let ran = cargo.stderr(std::process::Stdio::inherit()).output().context("running cargo")?;
    ensure!(ran.status.success(), "the build has failed, as said above");
    let artifacts = String::from_utf8_lossy(&ran.stdout);
    let found = artifacts.lines().filter_map(executable).next_back();
    found.context("cargo names no program that it has built")
}

/// The program that a line of cargo's names.
fn executable(line: &str) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Message {
        executable: Option<PathBuf>,
    }
    serde_json::from_str::<Message>(line).ok()?.executable
}

fn compiler(arguments: &[&str]) -> Result<String> {
    let ran = Command::new("rustc").args(arguments).output();
    let ran =
        ran.map_err(|error| anyhow!("rustc cannot be run: {error}; install Rust from https://rustup.rs"))?;
    ensure!(ran.status.success(), "rustc: {}", String::from_utf8_lossy(&ran.stderr).trim());
    Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
}

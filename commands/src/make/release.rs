//! `make:release`: builds what runs on a machine that has nothing.

mod cargo;
mod debian;
mod elf;
mod man;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use framework::config::Config;
use framework::prelude::*;

use self::cargo::{Package, build, default_target};
use self::debian::Maintainer;

/// The folder of what is made, below runtime/.
const FOLDER: &str = "release";
/// The name of the program's file.
const PROGRAM: &str = "think";

/// Generate a release: a static binary with its settings
///
/// Builds the program for a machine that has nothing: no Rust, no C library, no user with a home. Writes
/// runtime/release/NAME-VERSION-MACHINE.tar.gz with the binary and config/. With --deb it also makes a Debian
/// package: with a user of its own, a hardened systemd unit, the settings in /etc, the data in /var/lib, log
/// rotation, completion and man pages.
#[derive(Args, Command)]
#[command(name = "make:release")]
struct MakeRelease {
    /// Target of the compiler [default: this machine with musl; one with gnu is linked statically, too]
    #[arg(long)]
    target: Option<String>,
    /// Make a Debian package as well
    #[arg(long)]
    deb: bool,
    /// Maintainer of the Debian package
    #[arg(long, default_value = "root <root@localhost>", requires = "deb", value_parser = Maintainer::parse)]
    maintainer: Maintainer,
    /// Use this static binary instead of building one
    #[arg(long, value_name = "FILE", conflicts_with = "target")]
    binary: Option<PathBuf>,
}

/// What a release is made of.
struct Release<'a> {
    package: Package,
    /// The machine, as the compiler names it: `x86_64`.
    machine: String,
    binary: PathBuf,
    config: &'a Config,
}

impl Execute for MakeRelease {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let config = app.config()?;
        let package = Package::read(config.root())?;
        let target = self.target.clone().map_or_else(default_target, Ok)?;
        let machine = target.split('-').next().unwrap_or_default().to_owned();
        let binary = match &self.binary {
            Some(binary) => binary.clone(),
            None => build(config.root(), &target, output)?,
        };
        elf::check_static(&binary)?;
        let size = fs::metadata(&binary).with_context(|| format!("reading {}", binary.display()))?.len();
        output.note(format_args!("{} is static and has {:.1} MB.", binary.display(), size as f64 / 1e6));

        let release = Release { package, machine, binary, config };
        let folder = config.runtime(FOLDER)?;
        let archive = release.archive(&folder)?;
        output.success(format_args!("Wrote {}.", archive.display()));
        if self.deb {
            let debian = debian::build(&release, &folder, &self.maintainer, app)?;
            output.success(format_args!("Wrote {}.", debian.display()));
        }
        Ok(())
    }
}

impl Release<'_> {
    /// Writes the archive of the binary and the settings.
    fn archive(&self, folder: &Path) -> Result<PathBuf> {
        let Package { name, version, .. } = &self.package;
        let title = format!("{name}-{version}-{}-linux", self.machine);
        let tree = folder.join(&title);
        remove(&tree)?;
        fs::create_dir_all(tree.join("config")).with_context(|| format!("creating {}", tree.display()))?;
        copy(&self.binary, &tree.join(PROGRAM))?;
        for file in settings(self.config.root())? {
            copy(&file, &tree.join("config").join(file.file_name().unwrap_or_default()))?;
        }
        let archive = folder.join(format!("{title}.tar.gz"));
        let mut tar = Command::new("tar");
        tar.args(["--create", "--gzip", "--owner=0", "--group=0", "--numeric-owner", "--file"]).arg(&archive);
        run(tar.arg("--directory").arg(folder).arg(&title))?;
        Ok(archive)
    }
}

/// The files of settings of a project, by name.
fn settings(root: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(root.join("config")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context("reading config/"),
    };
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml") && file.is_file());
    files.sort();
    Ok(files)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// Removes the folder of an earlier run.
fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Runs a program to its end.
///
/// # Errors
/// It is missing, or has failed; what it says itself stands on stderr.
fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(anyhow!("{name} has failed ({status})")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(anyhow!("{name} is missing: install it, then start again"))
        }
        Err(error) => Err(error).with_context(|| format!("running {name}")),
    }
}

//! What a program compiles that uses only some features of the framework.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::harness::watchdog;

/// The first run compiles the dependencies of both programs.
const BUILD_TIMEOUT: Duration = Duration::from_secs(20 * 60);
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A program with one feature of the framework, locked to the versions of this workspace.
struct Program {
    folder: PathBuf,
}

impl Program {
    fn new(feature: &str, main: &str) -> Self {
        watchdog::allow(BUILD_TIMEOUT);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("only-{feature}"));
        let manifest = format!(
            "[package]\nname = \"only-{feature}\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n\
             think-framework = {{ path = \"{ROOT}/framework\", default-features = false, features = [\"{feature}\"] }}\n\
             serde = \"1\"\n"
        );
        fs::create_dir_all(folder.join("src")).unwrap();
        fs::write(folder.join("Cargo.toml"), manifest).unwrap();
        fs::write(folder.join("src/main.rs"), main).unwrap();
        fs::copy(Path::new(ROOT).join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
        Self { folder }
    }

    fn cargo(&self, arguments: &str) -> String {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(arguments.split(' ')).arg("--offline").current_dir(&self.folder);
        // The compiler beside this cargo, whatever a dependency says about its own toolchain.
        let compiler = Path::new(env!("CARGO")).with_file_name("rustc");
        if compiler.exists() {
            cargo.env("RUSTC", compiler);
        }
        // The two programs share what they both compile, from one run of the tests to the next.
        cargo.env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("features"));
        let output = cargo.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The names of the crates that the program compiles for itself, without those of build scripts and
    /// macros.
    fn crates(&self) -> Vec<String> {
        let tree = self.cargo("tree --edges normal --prefix none --format {lib}");
        tree.lines().map(str::to_owned).collect()
    }
}

#[track_caller]
fn assert_lacks(program: &Program, unwanted: &[&str]) {
    let crates = program.crates();
    assert!(crates.iter().any(|name| name == "framework_console"), "{crates:?}");
    for name in unwanted {
        assert!(!crates.iter().any(|found| found == name), "{name} is in {crates:?}");
    }
}

#[test]
fn console_feature_builds_without_store_http_and_tls() {
    let program = Program::new("console", CONSOLE);
    assert_lacks(&program, &["rusqlite", "libsqlite3_sys", "hyper", "rustls"]);
    program.cargo("check --quiet");
}

#[test]
fn client_feature_builds_without_store_http_and_schedules() {
    let program = Program::new("client", CLIENT);
    assert_lacks(&program, &["rusqlite", "libsqlite3_sys", "hyper", "croner"]);
    program.cargo("check --quiet");
}

const CONSOLE: &str = r#"
use framework::prelude::*;

/// Greet somebody by name
#[derive(Args, Command)]
#[command(name = "demo:hello")]
struct Hello {
    /// Whom to greet
    name: String,
}

impl Execute for Hello {
    async fn execute(self, _app: &App, output: &mut Output) -> Result<()> {
        output.line(format_args!("Hello, {}!", self.name));
        Ok(())
    }
}

fn main() -> std::process::ExitCode {
    Console::new().version("1.0.0").run()
}
"#;

const CLIENT: &str = r#"
use framework::client::{Client, ClientSettings};
use framework::prelude::*;
use serde::{Deserialize, Serialize};

/// Resize an image
#[derive(Serialize, Deserialize, Task)]
#[task(name = "resize_image")]
struct ResizeImage {
    file: String,
}

impl Handle for ResizeImage {
    type Output = String;

    async fn handle(self, _attempt: &Attempt) -> Result<String> {
        Ok(self.file)
    }
}

async fn resize(address: &str) -> Result<String> {
    let client = Client::new(ClientSettings::for_address(address)?)?;
    client.send(ResizeImage { file: "ada.png".into() }).await?.wait().await.context("waiting")
}

fn main() {
    let _ = resize("127.0.0.1:9501");
}
"#;

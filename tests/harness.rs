//! Runs the program in a project of its own, within bounds of time.

pub(crate) mod bridge;
pub(crate) mod browser;
pub(crate) mod certificates;
pub(crate) mod chromium;
pub(crate) mod client;
pub(crate) mod curl;
pub(crate) mod daemon;
pub(crate) mod eventually;
pub(crate) mod frames;
pub(crate) mod lines;
pub(crate) mod mail;
pub(crate) mod metrics;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod pty;
pub(crate) mod readme;
pub(crate) mod server;
pub(crate) mod site;
pub(crate) mod tls;
pub(crate) mod watchdog;
pub(crate) mod websocket;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

pub(crate) use self::process::Ran;

/// The bound on tests/install, which may have to download what is missing.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(20 * 60);

/// What the program looks at to learn how to show things and whether somebody can be asked; a test that is
/// about one of them sets it.
const TERMINAL_VARIABLES: [&str; 4] = ["CI", "CLICOLOR_FORCE", "COLUMNS", "NO_COLOR"];

/// A project in a directory of its own, which is removed with it.
pub(crate) struct Project {
    directory: TempDir,
}

impl Project {
    pub(crate) fn new() -> Self {
        watchdog::watch();
        let directory = TempDir::new().unwrap();
        watchdog::add_project(directory.path());
        for folder in ["app", "config"] {
            fs::create_dir(directory.path().join(folder)).unwrap();
        }
        Self { directory }
    }

    /// A project with these settings of the server.
    pub(crate) fn with_settings(settings: &str) -> Self {
        let project = Self::new();
        project.write("config/server.toml", settings);
        project
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    pub(crate) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap()
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        fs::write(self.path(file), text).unwrap();
    }

    /// Writes a file that only its owner can read.
    pub(crate) fn write_secret(&self, file: &str, text: &str) {
        self.write(file, text);
        fs::set_permissions(self.path(file), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// The program, started in this project, without the settings of the person that runs the tests.
    pub(crate) fn command(&self) -> Command {
        self.command_by(env!("CARGO_BIN_EXE_think"))
    }

    /// Another program, started likewise.
    pub(crate) fn command_by(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.directory.path())
            .env("THINK_ROOT", self.directory.path())
            .env("TERM", "xterm");
        TERMINAL_VARIABLES.iter().for_each(|name| _ = command.env_remove(name));
        command
    }

    /// The program, started in this project by a shell after this script.
    pub(crate) fn command_after(&self, script: &str) -> Command {
        let mut command = self.command_by("sh");
        command.args(["-c", &format!("{script} && exec \"$@\""), "sh", env!("CARGO_BIN_EXE_think")]);
        command
    }

    /// Runs the program with these arguments, separated by spaces.
    #[track_caller]
    pub(crate) fn think(&self, arguments: &str) -> Ran {
        Ran::of(self.command().args(arguments.split_whitespace()))
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        watchdog::remove_project(self.directory.path());
    }
}

/// Installs what the tests need beside Rust, if it is missing; the path of the Python that has it all.
pub(crate) fn installed() -> &'static str {
    static PYTHON: OnceLock<String> = OnceLock::new();
    install(&PYTHON, &[])
}

/// Installs the servers and clients of other systems as well; the folder with the modules of Node.
pub(crate) fn foreign() -> &'static str {
    static FOLDER: OnceLock<String> = OnceLock::new();
    install(&FOLDER, &["foreign"])
}

/// Runs tests/install, and returns the path that it prints.
fn install(path: &'static OnceLock<String>, arguments: &[&str]) -> &'static str {
    // Every test that needs it waits for the one that installs it.
    watchdog::allow(2 * INSTALL_TIMEOUT);
    path.get_or_init(|| {
        let mut install = Command::new(project_root().join("tests/install"));
        install.args(arguments);
        install.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let ran = Ran::finish_within(INSTALL_TIMEOUT, install.spawn().unwrap());
        assert_eq!(ran.code, Some(0), "tests/install says above what is missing");
        ran.stdout.trim_end().to_owned()
    })
}

/// The directory of the project under test.
pub(crate) fn project_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A variable of the environment of the tests themselves.
pub(crate) fn variable(name: &str) -> Option<String> {
    let environment = fs::read("/proc/self/environ").unwrap();
    let environment = String::from_utf8_lossy(&environment);
    let mut variables = environment.split('\0').filter_map(|variable| variable.split_once('='));
    variables.find(|(variable, _)| *variable == name).map(|(_, value)| value.to_owned())
}

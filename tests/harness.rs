//! Runs the program in a project of its own.

pub(crate) mod certificates;
pub(crate) mod server;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

/// A project in a directory of its own, which goes with it.
pub(crate) struct Project {
    directory: TempDir,
}

impl Project {
    pub(crate) fn new() -> Self {
        let directory = TempDir::new().unwrap();
        for folder in ["app", "config"] {
            std::fs::create_dir(directory.path().join(folder)).unwrap();
        }
        Self { directory }
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    pub(crate) fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.path(file)).unwrap()
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        std::fs::write(self.path(file), text).unwrap();
    }

    /// The program, started in this project, with nothing of the tester's own settings.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_think"));
        command
            .current_dir(self.directory.path())
            .env("THINK_ROOT", self.directory.path())
            .env_remove("NO_COLOR");
        command
    }

    /// Runs the program with these arguments, separated by spaces.
    pub(crate) fn think(&self, arguments: &str) -> Ran {
        Ran::of(self.command().args(arguments.split_whitespace()))
    }
}

/// What came of a program.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }

    /// Checks the exit code, and shows everything when it is another.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

/// Installs what the tests need beside Rust, if it is missing; the path of the Python that has it all.
pub(crate) fn installed() -> &'static str {
    static PYTHON: OnceLock<String> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let install = Command::new(house().join("tests/install")).stderr(Stdio::inherit()).output().unwrap();
        assert!(install.status.success(), "tests/install says above what is missing");
        String::from_utf8(install.stdout).unwrap().trim_end().to_owned()
    })
}

/// The directory of the project under test.
pub(crate) fn house() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

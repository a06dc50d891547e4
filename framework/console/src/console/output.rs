//! The result of a command that was called from code.

use std::fmt;

use crate::command::Exit;

/// The exit code and the output of a command that was called from code.
///
/// The assertions are for tests: each checks one thing, and prints everything when it fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutput {
    pub exit: Exit,
    pub stdout: String,
    pub stderr: String,
}

impl CommandOutput {
    /// Asserts exit code 0.
    #[track_caller]
    pub fn assert_success(&self) -> &Self {
        self.assert_exit(Exit::Success)
    }

    /// Asserts the exit code.
    #[track_caller]
    pub fn assert_exit(&self, exit: Exit) -> &Self {
        self.check(self.exit == exit, format_args!("the command should have ended with {exit:?}"))
    }

    /// Asserts that stdout contains `text`.
    #[track_caller]
    pub fn assert_stdout_contains(&self, text: &str) -> &Self {
        self.check(self.stdout.contains(text), format_args!("stdout should contain {text:?}"))
    }

    /// Asserts that stdout is exactly `text`.
    #[track_caller]
    pub fn assert_stdout_eq(&self, text: &str) -> &Self {
        self.check(self.stdout == text, format_args!("stdout should be {text:?}"))
    }

    /// Asserts that stderr contains `text`.
    #[track_caller]
    pub fn assert_stderr_contains(&self, text: &str) -> &Self {
        self.check(self.stderr.contains(text), format_args!("stderr should contain {text:?}"))
    }

    #[track_caller]
    fn check(&self, holds: bool, what: fmt::Arguments) -> &Self {
        assert!(holds, "{what}\n{self}");
        self
    }
}

impl fmt::Display for CommandOutput {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let Self { exit, stdout, stderr } = self;
        write!(formatter, "exit: {exit:?} ({})\n--- stdout\n{stdout}--- stderr\n{stderr}", *exit as u8)
    }
}

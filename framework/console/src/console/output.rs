//! What came of a command that was called from code.

use std::fmt;

use crate::command::Exit;

/// What came of a command that was called from code: its exit code and what it printed.
///
/// The verbs are for tests: each checks one thing, and shows everything when it does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutput {
    pub exit: Exit,
    pub stdout: String,
    pub stderr: String,
}

impl CommandOutput {
    /// Checks that the command ended well.
    #[track_caller]
    pub fn assert_success(&self) -> &Self {
        self.assert_exit(Exit::Success)
    }

    /// Checks how the command ended.
    #[track_caller]
    pub fn assert_exit(&self, exit: Exit) -> &Self {
        self.check(self.exit == exit, format_args!("the command should have ended with {exit:?}"))
    }

    /// Checks that the result holds `text`.
    #[track_caller]
    pub fn assert_stdout_contains(&self, text: &str) -> &Self {
        self.check(self.stdout.contains(text), format_args!("stdout should contain {text:?}"))
    }

    /// Checks that the result is `text` and nothing else.
    #[track_caller]
    pub fn assert_stdout_eq(&self, text: &str) -> &Self {
        self.check(self.stdout == text, format_args!("stdout should be {text:?}"))
    }

    /// Checks that remarks and errors hold `text`.
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

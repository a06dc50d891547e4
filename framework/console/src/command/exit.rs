//! How a command ends.

use std::borrow::Cow;
use std::process::ExitCode;

/// The exit codes of every command: scripts may rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Success = 0,
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The server does not run.
    NotRunning = 3,
    /// The server runs already.
    AlreadyRunning = 4,
    /// The server refused, as it does when a queue is full.
    Refused = 5,
    Interrupted = 130,
}

impl Exit {
    /// The error of a command that ends in this way, for the reason given.
    ///
    /// ```
    /// # use framework::command::Exit;
    /// # fn stop() -> anyhow::Result<()> {
    /// return Err(Exit::NotRunning.because("no server on 127.0.0.1:9501; `./think task:start` starts one"));
    /// # }
    /// # assert!(stop().is_err());
    /// ```
    pub fn error(self, reason: impl Into<Cow<'static, str>>) -> anyhow::Error {
        ExitError { exit: self, reason: Some(reason.into()) }.into()
    }

    /// The error of a command that ends in this way and has already said why.
    pub fn silent(self) -> anyhow::Error {
        ExitError { exit: self, reason: None }.into()
    }

    /// The exit code that an error leads to.
    pub fn of(error: &anyhow::Error) -> Self {
        error
            .chain()
            .find_map(|cause| match cause.downcast_ref::<ExitError>() {
                Some(stop) => Some(stop.exit),
                None => cause.is::<clap::Error>().then_some(Self::Usage),
            })
            .unwrap_or(Self::Failed)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The end of a command with an exit code of its own; made by [`Exit::because`] and [`Exit::silently`].
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", reason.as_deref().unwrap_or("the command has ended"))]
pub struct ExitError {
    exit: Exit,
    reason: Option<Cow<'static, str>>,
}

impl ExitError {
    pub(crate) fn is_silent(&self) -> bool {
        self.reason.is_none()
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn an_exit_code_is_found_under_any_context() {
        let error = Exit::Refused.error("the queue is full");
        let error = Err::<(), _>(error).context("sending the mail").context("greeting").unwrap_err();
        assert_eq!(Exit::of(&error), Exit::Refused);
        assert_eq!(Exit::of(&anyhow!("anything else")), Exit::Failed);
    }
}

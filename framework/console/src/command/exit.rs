//! The exit codes of commands, and the error that carries one.

use std::borrow::Cow;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::input::InputError;

/// The exit codes of every command. They are part of the interface: scripts may rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Success = 0,
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The server is not running.
    NotRunning = 3,
    /// The server is already running.
    AlreadyRunning = 4,
    /// The server refused the request, as when a queue is full.
    Refused = 5,
    /// Ctrl-C was pressed.
    Interrupted = 130,
}

impl Exit {
    /// An error that ends the program with this exit code and is printed with this reason.
    ///
    /// ```
    /// # use framework::command::Exit;
    /// # fn stop() -> anyhow::Result<()> {
    /// return Err(Exit::NotRunning.error("no server on 127.0.0.1:9501; `./think task:start` starts one"));
    /// # }
    /// # assert!(stop().is_err());
    /// ```
    pub fn error(self, reason: impl Into<Cow<'static, str>>) -> anyhow::Error {
        ExitError { exit: self, reason: Some(reason.into()), facts: Map::new() }.into()
    }

    /// The same, with an object for programs: its fields, such as a `code` of its own, stand in the error
    /// that
    /// `--json` prints.
    pub fn error_with(self, reason: impl Into<Cow<'static, str>>, facts: &impl Serialize) -> anyhow::Error {
        let facts = match serde_json::to_value(facts) {
            Ok(Value::Object(facts)) => facts,
            _ => Map::new(),
        };
        ExitError { exit: self, reason: Some(reason.into()), facts }.into()
    }

    /// An error that ends the program with this exit code without being printed: the command has printed the
    /// reason itself.
    pub fn silent(self) -> anyhow::Error {
        ExitError { exit: self, reason: None, facts: Map::new() }.into()
    }

    /// The `code` of an error with this exit code and no other one, as `--json` prints it.
    fn code(self) -> &'static str {
        match self {
            Self::Success | Self::Failed => "failed",
            Self::Usage => "usage",
            Self::NotRunning => "not_running",
            Self::AlreadyRunning => "already_running",
            Self::Refused => "refused",
            Self::Interrupted => "interrupted",
        }
    }

    fn of_input(error: &InputError) -> Option<Self> {
        match error {
            InputError::Interrupted => Some(Self::Interrupted),
            InputError::NoAnswer { .. } => Some(Self::Usage),
            InputError::Unreadable(_) => None,
        }
    }

    /// The exit code that an error carries, at any depth; [`Exit::Failed`] without one.
    pub fn of(error: &anyhow::Error) -> Self {
        error
            .chain()
            .find_map(|cause| match cause.downcast_ref::<ExitError>() {
                Some(error) => Some(error.exit),
                None if cause.is::<clap::Error>() => Some(Self::Usage),
                None => cause.downcast_ref::<InputError>().and_then(Self::of_input),
            })
            .unwrap_or(Self::Failed)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error with an exit code; made by [`Exit::error`] and [`Exit::silent`].
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", reason.as_deref().unwrap_or("the command failed"))]
pub struct ExitError {
    exit: Exit,
    reason: Option<Cow<'static, str>>,
    facts: Map<String, Value>,
}

impl ExitError {
    pub(crate) fn is_silent(&self) -> bool {
        self.reason.is_none()
    }

    /// The error as `--json` prints it, and as the server writes it:
    /// `{"status":"error","code":..,"error":..}`.
    pub(crate) fn object(error: &anyhow::Error, text: String) -> Value {
        let exit = Exit::of(error);
        let mut object = json!({ "status": "error", "code": exit.code(), "error": text });
        let facts = error.chain().find_map(|cause| cause.downcast_ref::<Self>()).map(|error| &error.facts);
        for (name, value) in facts.into_iter().flatten() {
            object[name.as_str()] = value.clone();
        }
        object
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn exit_code_is_found_under_any_context() {
        let error = Exit::Refused.error("the queue is full");
        let error = Err::<(), _>(error).context("sending the mail").context("greeting").unwrap_err();
        assert_eq!(Exit::of(&error), Exit::Refused);
        assert_eq!(Exit::of(&anyhow!("anything else")), Exit::Failed);
    }
}

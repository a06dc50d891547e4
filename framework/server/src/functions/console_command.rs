//! The function `command`: a command of this program, run by a process of its own.
//!
//! A process can be ended at a timeout or a cancel, whatever the command does; its output becomes the log of
//! the task, and its exit code decides whether the task is done.

use std::fmt;

use anyhow::Result;
use framework_console::command::Registry;
use framework_console::config::Config;
use framework_protocol::task::{
    Attempt, COMMAND_FUNCTION, DeclaredCode, Handler, Handlers, Outcome, TaskOptions,
};
use framework_protocol::{ErrorCode, RequestError};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use schemars::{Schema, json_schema};

use super::command::CommandTarget;
use super::command_words::words;
use crate::server::ServerSettings;

/// A pattern of a further word, in quotes or without.
const WORD: &str = r#" +([^\s'"\\|&;<>()$`*?~#\x00]+|'[^'\x00]*'|"[^"\\\x00]*")"#;

/// The commands of this program, as a function.
struct ConsoleCommands {
    /// The commands that the settings name.
    allowed: Vec<String>,
    target: CommandTarget,
}

/// The handlers with the function `command`, unless the program has one of that name itself.
///
/// # Errors
/// Two handlers of one name.
pub(super) fn with_commands(
    handlers: Handlers,
    config: &Config,
    settings: &ServerSettings,
) -> Result<Handlers> {
    if handlers.get(COMMAND_FUNCTION).is_some() {
        return Ok(handlers);
    }
    let allowed = settings.queueable_commands.clone();
    let code: &'static ConsoleCommands =
        Box::leak(Box::new(ConsoleCommands { allowed, target: CommandTarget::of_program(config, settings) }));
    let options = TaskOptions { blocking: true, ..TaskOptions::DEFAULT };
    let handler = Handler::declared(COMMAND_FUNCTION, options, file!(), line!(), code);
    handlers.with(Box::leak(Box::new(handler)))
}

impl DeclaredCode for ConsoleCommands {
    /// The command has to exist, and to be one that may run as a task: whoever may send tasks is not to stop
    /// the server.
    fn check(&self, args: &[u8]) -> Result<(), RequestError> {
        let refuse = |message| Err(RequestError::new(ErrorCode::BadArguments, message));
        let words = words(args)?;
        let wanted = words.first().map_or("", String::as_str);
        match Registry::collect().find(wanted) {
            Ok(entry) if entry.queueable || self.allowed.iter().any(|name| name == entry.name) => Ok(()),
            Ok(entry) => refuse(format!(
                "The command {} does not run as a task: its code has to say QUEUEABLE, or `queueable_commands` in \
                 config/server.toml to name it.",
                entry.name
            )),
            Err(unknown) => {
                let unknown = unknown.to_string();
                let end = if unknown.ends_with(['.', '?']) { "" } else { "." };
                refuse(format!("The command cannot run: {unknown}{end}"))
            }
        }
    }

    fn schema(&self) -> Schema {
        let registry = Registry::collect();
        let own = registry.iter().filter(|entry| entry.queueable).map(|entry| entry.name);
        let names: Vec<_> = own.chain(self.allowed.iter().map(String::as_str)).collect();
        json_schema!({
            "type": "string",
            "description": "A command of this program with its arguments",
            "pattern": format!("^({})({WORD})*$", names.join("|")),
        })
    }

    fn start<'a>(&'static self, attempt: &'a Attempt) -> BoxFuture<'a, Outcome> {
        self.target.run(attempt).boxed()
    }
}

impl fmt::Debug for ConsoleCommands {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a command of this program")
    }
}

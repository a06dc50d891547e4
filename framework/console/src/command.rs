//! A command, and the registry of all of them.

mod parse_args;
mod exit;
mod name;
mod registry;

use std::ffi::OsString;
use std::future::Future;

use anyhow::Result;
use clap::ArgMatches;
pub use exit::{Exit, ExitError};
use futures_util::future::{BoxFuture, FutureExt, ready};
pub use name::{BadName, check_name};
pub use parse_args::{ParseArgs, ViaClap};
pub use registry::{NotFound, Registry, RegistryError};

use crate::app::App;
use crate::output::Output;

/// What a command does. The struct it is implemented for is the command's arguments.
#[diagnostic::on_unimplemented(
    message = "`{Self}` derives Command but does nothing yet",
    label = "nothing says what this command does",
    note = "write `impl Execute for {Self} {{ async fn execute(self, app: &App, output: &mut Output) -> Result<()> {{ .. }} }}`"
)]
pub trait Execute: Sized + Send {
    /// Runs the command. An error is printed with its causes and ends the program with exit code 1, or with
    /// the one that the error carries (see [`Exit::because`]).
    fn execute(self, app: &App, output: &mut Output) -> impl Future<Output = Result<()>> + Send;

    /// Adds options that depend on the words behind the command's name, for parsing and for help; nothing if nothing
    /// is said. A name that the command or the console has for an option already stays with that one.
    fn augment(command: clap::Command, _words: &[OsString]) -> clap::Command {
        command
    }
}

/// What `#[derive(Command)]` says of a struct: its name and where it stands.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a command",
    label = "this is not a command",
    note = "write `#[derive(Args, Command)] #[command(name = \"..\")]` above `{Self}`"
)]
pub trait CommandMeta {
    const ENTRY: &'static CommandEntry;
}

/// A command as the registry knows it: `#[derive(Command)]` submits one per struct.
#[derive(Debug)]
pub struct CommandEntry {
    pub name: &'static str,
    pub package: &'static str,
    pub file: &'static str,
    pub line: u32,
    describe: fn(clap::Command) -> clap::Command,
    augment: fn(clap::Command, &[OsString]) -> clap::Command,
    run: for<'a> fn(&ArgMatches, &'a App, &'a mut Output) -> BoxFuture<'a, Result<()>>,
}

/// An entry on its way to the registry.
pub struct CommandRegistration(pub &'static CommandEntry);

inventory::collect!(CommandRegistration);

impl CommandEntry {
    /// The entry of `C`; `_` stands for the way in which it reads its arguments.
    pub const fn of<C: Execute + ParseArgs<Way> + 'static, Way>(
        name: &'static str,
        package: &'static str,
        file: &'static str,
        line: u32,
    ) -> Self {
        Self { name, package, file, line, describe: C::describe, augment: C::augment, run: run::<C, Way> }
    }

    /// The command with its description, arguments and options, as clap knows them.
    pub fn describe(&self) -> clap::Command {
        (self.describe)(clap::Command::new(self.name))
    }

    /// Adds the options that depend on the words behind the name.
    pub(crate) fn augment(&self, command: clap::Command, words: &[OsString]) -> clap::Command {
        (self.augment)(command, words)
    }

    pub(crate) fn run<'a>(
        &self,
        matches: &ArgMatches,
        app: &'a App,
        output: &'a mut Output,
    ) -> BoxFuture<'a, Result<()>> {
        (self.run)(matches, app, output)
    }

    /// Where its source stands, as `file:line`.
    pub fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
}

fn run<'a, C: Execute + ParseArgs<Way> + 'static, Way>(
    matches: &ArgMatches,
    app: &'a App,
    output: &'a mut Output,
) -> BoxFuture<'a, Result<()>> {
    match C::read(matches) {
        Ok(command) => Box::pin(command.execute(app, output)),
        Err(error) => ready(Err(error.into())).boxed(),
    }
}

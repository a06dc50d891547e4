//! The command trait, and the registry of all commands.

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

/// The behaviour of a command. It is implemented for the struct of the command's arguments.
#[diagnostic::on_unimplemented(
    message = "`{Self}` derives Command but does not implement Execute",
    label = "`Execute` is not implemented for this command",
    note = "write `impl Execute for {Self} {{ async fn execute(self, app: &App, output: &mut Output) -> Result<()> {{ .. }} }}`"
)]
pub trait Execute: Sized + Send {
    /// The block of the command's group under which `list` shows it: with `Some("server")` the command
    /// `task:start` stands under the heading `task: server`. `None` is the group's own block.
    const BLOCK: Option<&'static str> = None;

    /// Runs the command. An error is printed with its causes and ends the program with exit code 1, or with
    /// the one that the error carries (see [`Exit::error`]).
    fn execute(self, app: &App, output: &mut Output) -> impl Future<Output = Result<()>> + Send;

    /// Adds options that depend on the words behind the command's name, for parsing and for help; by default
    /// none. The names of the command's own and of the global options are taken.
    fn augment(command: clap::Command, _words: &[OsString]) -> clap::Command {
        command
    }
}

/// The registry entry of a command; `#[derive(Command)]` implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a command",
    label = "this is not a command",
    note = "write `#[derive(Args, Command)] #[command(name = \"..\")]` above `{Self}`"
)]
pub trait CommandMeta {
    const ENTRY: &'static CommandEntry;
}

/// A command in the registry: `#[derive(Command)]` submits one per struct.
#[derive(Debug)]
pub struct CommandEntry {
    pub name: &'static str,
    pub package: &'static str,
    pub file: &'static str,
    pub line: u32,
    /// The block of its group in `list`: [`Execute::BLOCK`].
    pub block: Option<&'static str>,
    describe: fn(clap::Command) -> clap::Command,
    augment: fn(clap::Command, &[OsString]) -> clap::Command,
    run: for<'a> fn(&ArgMatches, &'a App, &'a mut Output) -> BoxFuture<'a, Result<()>>,
}

/// The wrapper through which `inventory` collects entries.
pub struct CommandRegistration(pub &'static CommandEntry);

inventory::collect!(CommandRegistration);

impl CommandEntry {
    /// The entry of `C`. `Via` is inferred: see [`ParseArgs`].
    pub const fn of<C: Execute + ParseArgs<Via> + 'static, Via>(
        name: &'static str,
        package: &'static str,
        file: &'static str,
        line: u32,
    ) -> Self {
        let (describe, augment) = (C::describe, C::augment);
        Self { name, package, file, line, block: C::BLOCK, describe, augment, run: run::<C, Via> }
    }

    /// The command with its description, arguments and options, for clap.
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

    /// The place of its source, as `file:line`.
    pub fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
}

fn run<'a, C: Execute + ParseArgs<Via> + 'static, Via>(
    matches: &ArgMatches,
    app: &'a App,
    output: &'a mut Output,
) -> BoxFuture<'a, Result<()>> {
    match C::read(matches) {
        Ok(command) => Box::pin(command.execute(app, output)),
        Err(error) => ready(Err(error.into())).boxed(),
    }
}

//! The command trait, and the registry of all commands.

mod parse_args;
mod exit;
mod listener;
mod name;
mod plugin;
mod registry;

use std::ffi::OsString;
use std::future::Future;

use anyhow::Result;
use clap::ArgMatches;
use clap::builder::StyledStr;
pub use exit::{Exit, ExitError};
use futures_util::future::{BoxFuture, FutureExt, ready};
pub(crate) use listener::listeners;
pub use listener::{CommandListener, ListenerRegistration};
pub use name::{BadName, check_name};
pub use parse_args::{ParseArgs, ViaClap};
pub use plugin::Plugin;
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

    /// Whether the command keeps its name if another one claims it: then that one does not run. Otherwise
    /// neither of them does.
    const RESERVED: bool = false;

    /// Whether the command runs only once at a time in a project. While it runs, a second one ends with
    /// [`Exit::AlreadyRunning`].
    const ISOLATED: bool = false;

    /// Whether the command may run as a task of a server: `task:send --command "report:daily --mail"`.
    /// Whoever may send tasks may then run it, with any arguments.
    const QUEUEABLE: bool = false;

    /// What to use instead of this command, such as ``"use `demo:greet`"``, if it is deprecated: it still
    /// runs, with a warning, and help and list say so.
    const DEPRECATED: Option<&'static str> = None;

    /// Whether the command starts a log of its own. For all others, `-v` shows what the program traces with
    /// the level `info`, `-vv` with `debug`, and `-vvv` all of it, on stderr.
    const OWN_LOG: bool = false;

    /// Runs the command. An error is printed with its causes and ends the program with exit code 1, or with
    /// the one that the error carries (see [`Exit::error`]).
    fn execute(self, app: &App, output: &mut Output) -> impl Future<Output = Result<()>> + Send;

    /// Adds options that depend on the words behind the command's name, for parsing and for help; by default
    /// none. The names of the command's own and of the global options are taken.
    ///
    /// # Errors
    /// When the words cannot be read without options that are not to be had. It ends the program like an
    /// error of [`Execute::execute`].
    fn augment(
        command: clap::Command,
        _words: &[OsString],
        _app: &App,
    ) -> impl Future<Output = Result<clap::Command>> + Send {
        ready(Ok(command))
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
    /// Whether it keeps its name: [`Execute::RESERVED`].
    pub reserved: bool,
    /// Whether only one runs at a time: [`Execute::ISOLATED`].
    pub isolated: bool,
    /// Whether it may run as a task: [`Execute::QUEUEABLE`].
    pub queueable: bool,
    /// What to use instead: [`Execute::DEPRECATED`].
    pub deprecated: Option<&'static str>,
    /// Whether it starts its own log: [`Execute::OWN_LOG`].
    pub own_log: bool,
    /// The arguments that a person is asked for.
    pub asks: &'static [Ask],
    /// Texts of the help whose line ends matter: that of the command, and those of arguments by their ids.
    help: &'static [(&'static str, &'static str)],
    describe: fn(clap::Command) -> clap::Command,
    augment: Augment,
    run: for<'a> fn(&ArgMatches, &'a App, &'a mut Output) -> BoxFuture<'a, Result<()>>,
}

/// [`Execute::augment`] of a command.
type Augment = for<'a> fn(clap::Command, &'a [OsString], &'a App) -> BoxFuture<'a, Result<clap::Command>>;

/// An argument that a person at a terminal is asked for if the command line lacks it: `#[ask]`, or
/// `#[ask("Password:", secret)]`.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// The id of the argument, which is the name of the field.
    pub argument: &'static str,
    /// The question; by default the argument's help.
    pub question: Option<&'static str>,
    /// Whether the answer is not shown.
    pub secret: bool,
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
        let (describe, augment): (_, Augment) = (C::describe, augment::<C>);
        let (block, reserved) = (C::BLOCK, C::RESERVED);
        let (isolated, queueable) = (C::ISOLATED, C::QUEUEABLE);
        let (deprecated, own_log) = (C::DEPRECATED, C::OWN_LOG);
        let run = run::<C, Via>;
        Self {
            name,
            package,
            file,
            line,
            block,
            reserved,
            isolated,
            queueable,
            deprecated,
            own_log,
            asks: &[],
            help: &[],
            describe,
            augment,
            run,
        }
    }

    /// Sets the arguments that a person is asked for: `#[ask]` on a field.
    #[must_use]
    pub const fn with_asks(self, asks: &'static [Ask]) -> Self {
        Self { asks, ..self }
    }

    /// Sets texts of the help: that of the command, whose id is empty, and those of arguments by their ids.
    #[must_use]
    pub const fn with_help(self, help: &'static [(&'static str, &'static str)]) -> Self {
        Self { help, ..self }
    }

    /// The command with its description, arguments and options, for clap.
    pub fn describe(&self) -> clap::Command {
        let command = (self.describe)(clap::Command::new(self.name));
        let command = self.help.iter().fold(command, |command, (id, text)| match *id {
            "" => command.long_about(*text),
            id => command.mut_args(|arg| if arg.get_id() == id { arg.long_help(*text) } else { arg }),
        });
        let Some(instead) = self.deprecated else { return command };
        let remark = |text: Option<&StyledStr>| text.map(|text| format!("{text} (deprecated: {instead})"));
        let (short, long) = (remark(command.get_about()), remark(command.get_long_about()));
        let command = command.about(short.unwrap_or_else(|| format!("Deprecated: {instead}")));
        if let Some(long) = long { command.long_about(long) } else { command }
    }

    /// Adds the options that depend on the words behind the name.
    ///
    /// # Errors
    /// Those of [`Execute::augment`].
    pub(crate) async fn augment(
        &self,
        command: clap::Command,
        words: &[OsString],
        app: &App,
    ) -> Result<clap::Command> {
        (self.augment)(command, words, app).await
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

fn augment<'a, C: Execute + 'static>(
    command: clap::Command,
    words: &'a [OsString],
    app: &'a App,
) -> BoxFuture<'a, Result<clap::Command>> {
    Box::pin(C::augment(command, words, app))
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

//! The console program: from the command line to an exit code.

mod output;
mod globals;
mod help;
mod hyphens;
mod ask;
mod backtrace;
mod complete;
mod parse;
mod isolation;
mod panic;
mod run;
mod report;
mod tester;

use std::any::{Any, TypeId};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
pub use complete::{Candidate, ValueSource, complete};
pub use globals::global_options;
pub use help::print_help;
pub use output::CommandOutput;
pub use tester::Tester;

use self::globals::Globals;
use self::help::print_command;
use self::parse::{Invocation, Request};
use crate::app::{App, Program, Provided};
use crate::command::{CommandEntry, CommandMeta, Exit, Registry};
use crate::config::{called, file_name};
use crate::input::Input;
use crate::output::{ColorChoice, Output, Verbosity};

/// The command that runs when the command line names none.
const DEFAULT_COMMAND: &str = "list";

/// The verbosity from which on an error is printed with its backtrace.
const BACKTRACES: Verbosity = Verbosity::Verbose(2);

/// A console program: all commands that registered themselves, and those that were added by hand.
///
/// ```no_run
/// use framework::console::Console;
///
/// fn main() -> std::process::ExitCode {
///     Console::new().run()
/// }
/// ```
#[derive(Clone)]
pub struct Console {
    program: Program,
    /// The name has been set, and does not follow that of the file.
    is_named: bool,
    added: Vec<&'static CommandEntry>,
    root: Option<PathBuf>,
    provided: Provided,
}

impl Default for Console {
    fn default() -> Self {
        let program = Program { name: "think", version: env!("CARGO_PKG_VERSION") };
        Self { program, is_named: false, added: Vec::new(), root: None, provided: Provided::default() }
    }
}

impl Console {
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the name of the program in its help, and of its plugins, instead of the name of its file.
    #[must_use]
    pub fn name(mut self, name: &'static str) -> Self {
        self.program.name = name;
        self.is_named = true;
        self
    }

    /// Sets the version that `--version` prints.
    #[must_use]
    pub fn version(mut self, version: &'static str) -> Self {
        self.program.version = version;
        self
    }

    /// Adds a command by hand, for tests and for platforms where registration at link time does not work.
    #[must_use]
    pub fn command<C: CommandMeta>(mut self) -> Self {
        self.added.push(C::ENTRY);
        self
    }

    /// Provides a value to commands, by its type: [`App::get`].
    #[must_use]
    pub fn provide<T: Any + Send + Sync>(mut self, value: T) -> Self {
        self.provided.insert(TypeId::of::<T>(), Arc::new(value));
        self
    }

    /// Sets the project's root instead of searching for it.
    #[must_use]
    pub fn root(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = Some(root.into());
        self
    }

    /// The console that runs this command, to call other commands from it.
    pub fn running(app: &App) -> Option<&Self> {
        app.get()
    }

    /// Every command of this console.
    pub fn registry(&self) -> Registry {
        Registry::of(Registry::registered().chain(self.added.iter().copied()))
    }

    /// Runs the command line of the process.
    pub fn run(mut self) -> ExitCode {
        // Early: a parent that has set it may end.
        let _ = called();
        if let Some(name) = file_name().filter(|_| !self.is_named) {
            self.program.name = name;
        }
        let arguments: Vec<_> = std::env::args_os().skip(1).collect();
        let (exit, mut output) = match runtime() {
            Ok(runtime) => {
                let ended = runtime.block_on(self.run_at_terminal(&arguments));
                // A command that left a blocking thread behind must not hold up the end of the program.
                runtime.shutdown_background();
                ended
            }
            Err(error) => {
                let globals = Globals::default();
                let mut output = Output::terminal(globals.verbosity(), globals.color_choice());
                (report::failure(&error, false, &mut output), output)
            }
        };
        finish(exit, &mut output).into()
    }

    async fn run_at_terminal(&self, arguments: &[OsString]) -> (Exit, Output) {
        let invocation = self.read(arguments).await;
        let globals = invocation.globals;
        if globals.verbosity() >= BACKTRACES {
            backtrace::capture();
        }
        let mut output = Output::terminal(globals.verbosity(), globals.color_choice());
        let input = if globals.no_interaction { Input::none() } else { Input::terminal() };
        let exit = self.perform(invocation, input, &mut output).await;
        (exit, output)
    }

    /// Runs a command from code, also from within another command, and captures its output.
    ///
    /// Prompts take their defaults. There are no colours.
    pub async fn call<A: Into<OsString>>(
        &self,
        name: impl Into<OsString>,
        arguments: impl IntoIterator<Item = A>,
    ) -> CommandOutput {
        let arguments = std::iter::once(name.into()).chain(arguments.into_iter().map(Into::into));
        self.call_with_input(arguments.collect(), Input::none(), None).await
    }

    async fn call_with_input(
        &self,
        arguments: Vec<OsString>,
        input: Input,
        columns: Option<usize>,
    ) -> CommandOutput {
        let invocation = self.read(&arguments).await;
        let globals = invocation.globals;
        let input = if globals.no_interaction { Input::none() } else { input };
        let colors = if globals.ansi == Some(true) { ColorChoice::Always } else { ColorChoice::Never };
        let mut output = Output::captured(globals.verbosity(), colors);
        if let Some(columns) = columns {
            output.set_columns(columns);
        }
        let exit = self.perform(invocation, input, &mut output).await;
        let printed = output.into_captured();
        CommandOutput { exit, stdout: printed.stdout, stderr: printed.stderr }
    }

    async fn read(&self, arguments: &[OsString]) -> Invocation {
        let registry = self.registry();
        // The options of a command may depend on the configuration; there are no prompts yet.
        let app = self.app(registry.clone(), Input::none());
        Invocation::read(registry, &app, arguments).await
    }

    async fn perform(&self, invocation: Invocation, input: Input, output: &mut Output) -> Exit {
        for problem in invocation.registry.problems() {
            output.warn(problem);
        }
        let json = invocation.json;
        match self.try_perform(invocation, input, output).await {
            Ok(()) => Exit::Success,
            Err(error) => report::failure(&error, json, output),
        }
    }

    async fn try_perform(&self, invocation: Invocation, input: Input, output: &mut Output) -> Result<()> {
        let Invocation { registry, request, .. } = invocation;
        let (entry, matches) = match request? {
            Request::Version => {
                output.line(format_args!("{} {}", self.program.name, self.program.version));
                return Ok(());
            }
            Request::Help(command) => {
                print_command(*command, output);
                return Ok(());
            }
            Request::Plugin(plugin, words) => return plugin.run(&words, output),
            Request::Run(entry, matches) => (entry, matches),
            Request::Ask(incomplete) => (incomplete.entry, incomplete.complete(&input, output)?),
        };
        run::run(entry, &matches, &self.app(registry, input), output).await
    }

    fn app(&self, registry: Registry, input: Input) -> App {
        let mut app = App::new(self.program.clone(), input);
        if let Some(root) = &self.root {
            app = app.at(root);
        }
        app.provide(registry);
        app.provide_all(&self.provided);
        app.provide(self.clone());
        app
    }
}

/// A runtime of one thread, which is enough for a command; one that needs more builds its own.
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the asynchronous runtime")
}

fn finish(exit: Exit, output: &mut Output) -> Exit {
    match output.finish() {
        Ok(()) => exit,
        Err(error) => {
            output.error(format_args!("results could not be written: {error}"));
            if exit == Exit::Success { Exit::Failed } else { exit }
        }
    }
}

#[cfg(test)]
mod tests;

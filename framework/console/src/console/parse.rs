//! Parsing of a command line.

use std::ffi::{OsStr, OsString};

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{ArgMatches, Command, value_parser};

use super::DEFAULT_COMMAND;
use super::ask::Incomplete;
use super::globals::Globals;
use super::help::describe;
use super::hyphens;
use crate::app::{App, Program};
use crate::command::{CommandEntry, Exit, NotFound, Plugin, Registry};

/// A parsed command line.
pub(super) struct Invocation {
    pub(super) registry: Registry,
    pub(super) globals: Globals,
    /// Whether an error is for programs.
    pub(super) json: bool,
    pub(super) request: Result<Request>,
}

/// The action that a command line asks for.
pub(super) enum Request {
    Version,
    /// With the options that depend on the words behind the name.
    Help(Box<Command>),
    Run(&'static CommandEntry, ArgMatches),
    /// A program of its own, with the words behind the name.
    Plugin(Plugin, Vec<OsString>),
    /// A command line that lacks arguments which a person can be asked for.
    Ask(Box<Incomplete>),
}

impl Invocation {
    /// Reads a command line without the program's name in front.
    pub(super) async fn read(registry: Registry, app: &App, arguments: &[OsString]) -> Self {
        let mut globals = Globals::default();
        let request = Self::request(&registry, app, arguments, &mut globals).await;
        if !matches!(request, Ok(Request::Run(..) | Request::Ask(_))) {
            globals.ansi = globals.ansi.or_else(|| requested_ansi(arguments));
        }
        let json = options(arguments).any(|option| option == "--json");
        Self { registry, globals, json, request }
    }

    async fn request(
        registry: &Registry,
        app: &App,
        arguments: &[OsString],
        globals: &mut Globals,
    ) -> Result<Request> {
        let matches = front(app.program()).try_get_matches_from(arguments)?;
        *globals = Globals::read(&matches);
        let (name, rest) = match matches.subcommand() {
            Some((name, rest)) => {
                (name, rest.get_many::<OsString>("").into_iter().flatten().cloned().collect::<Vec<_>>())
            }
            None => (DEFAULT_COMMAND, Vec::new()),
        };
        if globals.version {
            return Ok(Request::Version);
        }
        let entry = match registry.find(name) {
            Ok(entry) => entry,
            Err(NotFound::Clash(error)) => return Err(Exit::Failed.error(error.to_string())),
            Err(error) => {
                let plugin = Plugin::find(app.program().name, name);
                let plugin = plugin.ok_or_else(|| error.exit().error(error.to_string()))?;
                return Ok(Request::Plugin(plugin, rest));
            }
        };
        // Without a command's name, the help of the whole program is what the default command prints.
        if globals.help && matches.subcommand().is_some() {
            let words = [rest, vec!["--help".into()]].concat();
            return Ok(Request::Help(Box::new(describe(entry, &words, app).await?)));
        }
        let described = describe(entry, &rest, app).await?;
        let command = described.clone().no_binary_name(true);
        let words = hyphens::attach(&command, &rest);
        let matches = match command.clone().try_get_matches_from(&words) {
            Ok(matches) => matches,
            Err(error) if error.kind() == ErrorKind::DisplayHelp => {
                return Ok(Request::Help(Box::new(described)));
            }
            Err(error) if error.kind() == ErrorKind::DisplayVersion => return Ok(Request::Version),
            Err(error) => {
                let (incomplete, matches) = Incomplete::of(command, entry, &rest, error)?;
                *globals = globals.merge(Globals::read(&matches));
                return Ok(Request::Ask(Box::new(incomplete)));
            }
        };
        *globals = globals.merge(Globals::read(&matches));
        Ok(Request::Run(entry, matches))
    }
}

/// The parser of the words before the command's name.
fn front(program: &Program) -> Command {
    Globals::declare_before_name(Command::new(program.name))
        .no_binary_name(true)
        .disable_help_subcommand(true)
        .allow_external_subcommands(true)
        .external_subcommand_value_parser(value_parser!(OsString))
        .override_usage(format!("{} [GLOBAL OPTIONS] COMMAND [OPTIONS] [ARGUMENTS]", program.name))
}

/// The last of `--ansi` and `--no-ansi` in a command line that could not be parsed.
fn requested_ansi(arguments: &[OsString]) -> Option<bool> {
    let choice = |option: &OsStr| match option.to_str() {
        Some("--ansi") => Some(true),
        Some("--no-ansi") => Some(false),
        _ => None,
    };
    options(arguments).filter_map(choice).last()
}

/// The words among which options may be.
fn options(arguments: &[OsString]) -> impl Iterator<Item = &OsStr> {
    arguments.iter().map(OsString::as_os_str).take_while(|argument| *argument != OsStr::new("--"))
}

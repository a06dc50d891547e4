//! Parsing of a command line.

use std::ffi::{OsStr, OsString};

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{ArgMatches, Command, value_parser};

use super::DEFAULT_COMMAND;
use super::globals::Globals;
use super::help::describe;
use crate::app::Program;
use crate::command::{CommandEntry, Exit, Registry};

/// A parsed command line.
pub(super) struct Invocation {
    pub(super) registry: Registry,
    pub(super) globals: Globals,
    pub(super) request: Result<Request>,
}

/// The action that a command line asks for.
pub(super) enum Request {
    Version,
    /// With the words behind the name.
    Help(&'static CommandEntry, Vec<OsString>),
    Run(&'static CommandEntry, ArgMatches),
}

impl Invocation {
    /// Reads a command line without the program's name in front.
    pub(super) fn read(registry: Registry, program: &Program, arguments: &[OsString]) -> Self {
        let mut globals = Globals::default();
        let request = Self::request(&registry, program, arguments, &mut globals);
        if request.is_err() {
            globals.ansi = globals.ansi.or_else(|| requested_ansi(arguments));
        }
        Self { registry, globals, request }
    }

    /// An invocation that fails before its command line is parsed.
    pub(super) fn failed(error: anyhow::Error) -> Self {
        Self { registry: Registry::default(), globals: Globals::default(), request: Err(error) }
    }

    fn request(
        registry: &Registry,
        program: &Program,
        arguments: &[OsString],
        globals: &mut Globals,
    ) -> Result<Request> {
        let matches = front(program).try_get_matches_from(arguments)?;
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
        let entry = registry.find(name).map_err(|error| Exit::Usage.error(error.to_string()))?;
        // Without a command's name, the help of the whole program is what the default command prints.
        if globals.help && matches.subcommand().is_some() {
            return Ok(Request::Help(entry, rest));
        }
        let command = describe(program, entry, &rest).no_binary_name(true);
        let matches = match command.try_get_matches_from(&rest) {
            Ok(matches) => matches,
            Err(error) if error.kind() == ErrorKind::DisplayHelp => return Ok(Request::Help(entry, rest)),
            Err(error) if error.kind() == ErrorKind::DisplayVersion => return Ok(Request::Version),
            Err(error) => return Err(error.into()),
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
    let options = arguments.iter().take_while(|argument| *argument != OsStr::new("--"));
    options
        .filter_map(|option| match option.to_str() {
            Some("--ansi") => Some(true),
            Some("--no-ansi") => Some(false),
            _ => None,
        })
        .last()
}

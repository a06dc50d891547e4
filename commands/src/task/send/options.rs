//! Options of the command line for the arguments of a function: `--to ada@example.com --title Hi`.

use std::collections::HashSet;
use std::ffi::OsString;
use std::sync::OnceLock;

use framework::clap::{self, Arg, ArgAction, ArgMatches, Command};
use framework::prelude::*;
use framework::protocol::RequestError;
use framework::task::{Handler, Handlers};
use serde_json::{Map, Value};

use super::super::arguments::{Argument, Kind, Shape, arguments, first_paragraph};

/// The prefix of an argument whose name is that of an option of the command itself.
const PREFIX: &str = "args.";

/// The prefixes of the ids of options, by the kind of their values.
const ONE: &str = "one value of ";
const LIST: &str = "values of ";
const OPPOSITE: &str = "no ";

/// Adds the options of the function that the words name first, if there is one.
pub(super) fn augment(command: Command, words: &[OsString]) -> Command {
    let silent = |option: Arg| match option.get_action() {
        ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version => {
            option.action(ArgAction::SetTrue)
        }
        _ => option,
    };
    let reader = command.clone().disable_help_flag(true).mut_args(silent);
    let reader = reader.no_binary_name(true).ignore_errors(true);
    let matches = reader.try_get_matches_from(words).ok();
    let function =
        matches.as_ref().and_then(|matches| matches.try_get_one::<String>("message").ok().flatten());
    // Duplicate handlers are an error of `complete` and of the server.
    let handlers = function.and_then(|_| handlers().ok());
    match function.zip(handlers).and_then(|(function, handlers)| find(function, handlers)) {
        Some(handler) => describe(command, handler),
        None => command,
    }
}

/// The handlers of this program, collected once per command line.
fn handlers() -> Result<&'static Handlers> {
    static HANDLERS: OnceLock<Handlers> = OnceLock::new();
    if let Some(handlers) = HANDLERS.get() {
        return Ok(handlers);
    }
    let handlers = Handlers::collect()?;
    Ok(HANDLERS.get_or_init(|| handlers))
}

/// The function of this name, or a similar one: [`NamedArguments::complete`] reports the misspelt name.
fn find(function: &str, handlers: &Handlers) -> Option<&'static Handler> {
    let similar = |error: RequestError| handlers.find(&error.suggestion?).ok();
    handlers.find(function).map_or_else(similar, Some)
}

fn describe(command: Command, handler: &Handler) -> Command {
    let mut taken = Taken::of(&command);
    let heading = format!("Arguments of {}", handler.name);
    let known = arguments(&handler.schema()).unwrap_or_default();
    let options = known.iter().flat_map(|argument| options(argument, &mut taken)).enumerate();
    let option = |(place, option): (usize, Arg)| option.help_heading(heading.clone()).display_order(place);
    command.args(options.map(option).collect::<Vec<_>>())
}

/// The arguments given as options.
#[derive(Debug, Clone, Default)]
pub(super) struct NamedArguments(Map<String, Value>);

impl NamedArguments {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All arguments that the function requires.
    ///
    /// # Errors
    /// When a required argument is missing.
    pub(super) fn complete(&self, function: &str) -> Result<&Map<String, Value>> {
        let handler = handlers()?.find(function).map_err(|error| Exit::Usage.error(error.to_string()))?;
        let known = arguments(&handler.schema()).unwrap_or_default();
        let missing =
            known.iter().filter(|argument| argument.required && !self.0.contains_key(&argument.name));
        let missing: Vec<_> = missing
            .map(|argument| format!("--{} <{}>", flag(&argument.name), value_name(&argument.kind)))
            .collect();
        if !missing.is_empty() {
            return Err(Exit::Usage.error(format!("{function} also requires {}", missing.join(", "))));
        }
        Ok(&self.0)
    }
}

/// Adds no options itself: [`augment`] does.
impl clap::Args for NamedArguments {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}

impl clap::FromArgMatches for NamedArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let values = |id: &clap::Id| matches.try_get_many::<Value>(id.as_str()).ok().flatten();
        let given = matches.ids().filter_map(|id| {
            let named = |kind| Some(id.as_str().strip_prefix(kind)?.to_owned());
            if let Some(name) = named(ONE) {
                return Some((name, values(id)?.next()?.clone()));
            }
            if let Some(name) = named(LIST) {
                return Some((name, values(id)?.cloned().collect()));
            }
            let is_set = matches.try_get_one::<bool>(id.as_str()).ok().flatten() == Some(&true);
            named(OPPOSITE).filter(|_| is_set).map(|name| (name, Value::Bool(false)))
        });
        Ok(Self(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The names of options that are taken.
#[derive(Default)]
struct Taken(HashSet<String>);

impl Taken {
    fn of(command: &Command) -> Self {
        let longs =
            command.get_arguments().flat_map(|one| one.get_long_and_visible_aliases().unwrap_or_default());
        Self(longs.map(str::to_owned).collect())
    }

    /// Takes those of the names that are free and valid for an option.
    fn claim(&mut self, names: impl IntoIterator<Item = String>) -> Vec<String> {
        let is_valid = |name: &String| {
            !name.is_empty()
                && !name.starts_with('-')
                && !name.contains(|c: char| c == '=' || c.is_whitespace())
        };
        names.into_iter().filter(is_valid).filter(|name| self.0.insert(name.clone())).collect()
    }
}

/// The option of an argument, if its name is valid for one, and for a boolean its opposite.
fn options(argument: &Argument, taken: &mut Taken) -> Vec<Arg> {
    let names = || std::iter::once(&argument.name).chain(&argument.aliases);
    let plain = names().flat_map(|name| [flag(name), name.clone()]);
    let prefixed = names().flat_map(|name| [flag(name), name.clone()]).map(|name| format!("{PREFIX}{name}"));
    let names = taken.claim(plain.chain(prefixed).collect::<Vec<_>>());
    let Some((long, aliases)) = names.split_first() else { return Vec::new() };
    let kind = argument.kind.clone();
    let is_list = matches!(kind.shape, Shape::List(_));
    let id = format!("{}{}", if is_list { LIST } else { ONE }, argument.name);
    let option = Arg::new(id.clone())
        .long(long.clone())
        .aliases(aliases.to_vec())
        .help(help(argument))
        .value_name(value_name(&kind))
        .allow_negative_numbers(matches!(kind.shape, Shape::Integer { .. } | Shape::Number | Shape::Any))
        .value_parser(move |word: &str| value(&kind, word));
    match &argument.kind.shape {
        Shape::List(_) => vec![option.action(ArgAction::Append)],
        Shape::Switch => {
            let opposite = taken.claim([format!("no-{long}")]).into_iter().map(|no| {
                let opposite = Arg::new(format!("{OPPOSITE}{}", argument.name)).long(no).hide(true);
                opposite.action(ArgAction::SetTrue).conflicts_with(id.clone())
            });
            let option = option.num_args(0..=1).require_equals(true).default_missing_value("true");
            std::iter::once(option).chain(opposite).collect()
        }
        _ => vec![option],
    }
}

/// The name of an option: `first-name` for `first_name`.
fn flag(name: &str) -> String {
    name.replace('_', "-")
}

fn value_name(kind: &Kind) -> String {
    match &kind.shape {
        Shape::Text => "TEXT".to_owned(),
        Shape::Choice(choices) => choices.join("|"),
        Shape::Integer { .. } => "INTEGER".to_owned(),
        Shape::Number => "NUMBER".to_owned(),
        Shape::Switch => "true|false".to_owned(),
        Shape::List(item) => value_name(item),
        Shape::Json(_) => "JSON".to_owned(),
        Shape::Any => "JSON|TEXT".to_owned(),
    }
}

fn help(argument: &Argument) -> String {
    let description = argument.description.as_deref().map(first_paragraph);
    let default = argument.default.as_ref().filter(|default| !default.is_null());
    let default = default.map(|default| format!("[default: {default}]"));
    let required = argument.required.then(|| "[required]".to_owned());
    let repeated = matches!(argument.kind.shape, Shape::List(_)).then(|| "[may be repeated]".to_owned());
    [description, required, default, repeated].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// Parses a value: `@FILE` is the content of a file, `-` is standard input, and `@@` is an `@`.
fn value(kind: &Kind, word: &str) -> Result<Value, String> {
    match (word, word.strip_prefix('@')) {
        ("-", _) => kind.parse(standard_input()?),
        (_, Some(text)) if text.starts_with('@') => kind.parse(text),
        (_, Some(path)) if !path.is_empty() => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                format!("reading {path}: {error}; to pass the text itself, write @{word}")
            })?;
            kind.parse(&text)
        }
        _ => kind.parse(word),
    }
}

/// All of standard input, which is read once.
fn standard_input() -> Result<&'static str, String> {
    static TEXT: OnceLock<Result<String, String>> = OnceLock::new();
    let read = || {
        std::io::read_to_string(std::io::stdin()).map_err(|error| format!("reading standard input: {error}"))
    };
    TEXT.get_or_init(read).as_deref().map_err(Clone::clone)
}

#[cfg(test)]
mod tests;

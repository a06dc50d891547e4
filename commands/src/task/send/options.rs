//! A function's arguments as options of the command line: `--to ada@example.com --title Hi`.

use std::collections::HashSet;
use std::sync::OnceLock;

use framework::clap::error::{ContextKind, ContextValue, ErrorKind};
use framework::clap::{Arg, ArgAction, ArgMatches, Command};
use framework::config::nearest;
use framework::prelude::*;
use framework::task::Handler;
use serde_json::{Map, Value};

use super::super::arguments::{Argument, Kind, Shape, arguments, first_paragraph};

/// What sets an argument apart from an option of the command itself.
const APART: &str = "args.";

/// Adds the options of a function to what is known of the command, for its help.
pub(super) fn describe(command: Command, handler: &Handler) -> Command {
    let mut taken = Taken::of(&command);
    let heading = format!("Arguments of {}", handler.name);
    let known = arguments(&handler.schema()).unwrap_or_default();
    let options = known.iter().flat_map(|argument| options(argument, &mut taken)).enumerate();
    let option = |(place, option): (usize, Arg)| {
        option.help_heading(heading.clone()).display_order(place).required(false)
    };
    command.args(options.map(option).collect::<Vec<_>>())
}

/// Reads the arguments of a function from words; `own` are the options of the command, for who misspelled one.
///
/// # Errors
/// When a word is no option of the function, or its value is of another type, or a required one is missing.
pub(super) fn read(handler: &Handler, words: &[String], own: &Command) -> Result<Map<String, Value>> {
    let Some(known) = arguments(&handler.schema()) else {
        return Err(Exit::Usage.because(format!(
            "the arguments of {0} are no object, so that they cannot be given by name: write JSON, as in \
             task:send {0} '\"hello\"'",
            handler.name
        )));
    };
    let mut taken = Taken::default();
    let command = Command::new("task:send")
        .bin_name(format!("task:send {}", handler.name))
        .no_binary_name(true)
        .disable_help_flag(true)
        .args(known.iter().flat_map(|argument| options(argument, &mut taken)).collect::<Vec<_>>());
    match command.try_get_matches_from(words) {
        Ok(matches) => Ok(collected(&known, &matches)),
        Err(error) if error.kind() == ErrorKind::UnknownArgument => {
            let word = match error.get(ContextKind::InvalidArg) {
                Some(ContextValue::String(word)) => word.clone(),
                _ => words.join(" "),
            };
            let flags = known.iter().map(|argument| flag(&argument.name));
            Err(unknown(&word, handler.name, &flags.collect::<Vec<_>>(), own))
        }
        Err(error) => Err(error.into()),
    }
}

/// The command's own option that a misspelled one probably is.
pub(super) fn near_own(word: &str, own: &Command) -> Option<String> {
    let longs: Vec<_> = own.get_arguments().filter_map(Arg::get_long).collect();
    nearest(word.split('=').next()?.strip_prefix("--")?, longs).map(|long| format!("--{long}"))
}

fn unknown(word: &str, function: &str, flags: &[String], own: &Command) -> anyhow::Error {
    let name = word.split('=').next().unwrap_or(word);
    let near = name.strip_prefix("--").and_then(|name| nearest(name, flags.iter().map(String::as_str)));
    let hint = match near.map(|flag| format!("--{flag}")).or_else(|| near_own(word, own)) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None if flags.is_empty() => "it takes none".to_owned(),
        None => format!("there are: --{}", flags.join(", --")),
    };
    Exit::Usage.because(format!("{function} has no argument \"{name}\"; {hint}"))
}

/// The names of options that are in use.
#[derive(Default)]
struct Taken(HashSet<String>);

impl Taken {
    fn of(command: &Command) -> Self {
        let longs =
            command.get_arguments().flat_map(|one| one.get_long_and_visible_aliases().unwrap_or_default());
        Self(longs.map(str::to_owned).collect())
    }

    /// Those of the names that are free and can be one of an option; they are taken from now on.
    fn claim(&mut self, names: impl IntoIterator<Item = String>) -> Vec<String> {
        let is_one = |name: &String| {
            !name.is_empty()
                && !name.starts_with('-')
                && !name.contains(|c: char| c == '=' || c.is_whitespace())
        };
        names.into_iter().filter(is_one).filter(|name| self.0.insert(name.clone())).collect()
    }
}

/// The option of an argument, if its name can be one, and for `true` or `false` its opposite.
fn options(argument: &Argument, taken: &mut Taken) -> Vec<Arg> {
    let names = || std::iter::once(&argument.name).chain(&argument.aliases);
    let plain = names().flat_map(|name| [flag(name), name.clone()]);
    let apart = names().flat_map(|name| [flag(name), name.clone()]).map(|name| format!("{APART}{name}"));
    let names = taken.claim(plain.chain(apart).collect::<Vec<_>>());
    let Some((long, aliases)) = names.split_first() else { return Vec::new() };
    let kind = argument.kind.clone();
    let option = Arg::new(id(argument))
        .long(long.clone())
        .aliases(aliases.to_vec())
        .required(argument.required)
        .help(help(argument))
        .value_name(value_name(&kind))
        .allow_negative_numbers(matches!(kind.shape, Shape::Integer { .. } | Shape::Number | Shape::Any))
        .value_parser(move |word: &str| value(&kind, word));
    match &argument.kind.shape {
        Shape::List(_) => vec![option.action(ArgAction::Append)],
        Shape::Switch => {
            let opposite = taken.claim([format!("no-{long}")]);
            let opposite = opposite.into_iter().map(|no| {
                let opposite = Arg::new(format!("no {}", id(argument))).long(no).hide(true);
                opposite.action(ArgAction::SetTrue).overrides_with(id(argument))
            });
            let option = option.num_args(0..=1).require_equals(true).default_missing_value("true");
            let satisfied = opposite.collect::<Vec<_>>();
            let option = match satisfied.first() {
                Some(no) if argument.required => {
                    option.required(false).required_unless_present(no.get_id().clone())
                }
                _ => option,
            };
            std::iter::once(option).chain(satisfied).collect()
        }
        _ => vec![option],
    }
}

fn collected(known: &[Argument], matches: &ArgMatches) -> Map<String, Value> {
    let value = |argument: &Argument| {
        let id = id(argument);
        let no = matches.try_get_one::<bool>(&format!("no {id}")).ok().flatten() == Some(&true);
        match &argument.kind.shape {
            _ if no => Some(Value::Bool(false)),
            Shape::List(_) => matches.try_get_many::<Value>(&id).ok()?.map(|all| all.cloned().collect()),
            _ => matches.try_get_one::<Value>(&id).ok()?.cloned(),
        }
    };
    known.iter().filter_map(|argument| Some((argument.name.clone(), value(argument)?))).collect()
}

fn id(argument: &Argument) -> String {
    format!("{APART}{}", argument.name)
}

/// As options are written: `first-name` for `first_name`.
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
    let again = matches!(argument.kind.shape, Shape::List(_)).then(|| "[may be given again]".to_owned());
    [description, required, default, again].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// A word's value: `@FILE` stands for what is in the file, `-` for the standard input, and `@@` for an `@`.
fn value(kind: &Kind, word: &str) -> Result<Value, String> {
    match (word, word.strip_prefix('@')) {
        ("-", _) => kind.parse(standard_input()?),
        (_, Some(text)) if text.starts_with('@') => kind.parse(text),
        (_, Some(path)) if !path.is_empty() => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("reading {path}: {error}; the text itself is written @{word}"))?;
            kind.parse(&text)
        }
        _ => kind.parse(word),
    }
}

/// All of it, as often as it is asked for.
fn standard_input() -> Result<&'static str, String> {
    static TEXT: OnceLock<Result<String, String>> = OnceLock::new();
    let read = || {
        std::io::read_to_string(std::io::stdin())
            .map_err(|error| format!("reading the standard input: {error}"))
    };
    TEXT.get_or_init(read).as_deref().map_err(Clone::clone)
}

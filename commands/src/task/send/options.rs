//! Options of the command line for the arguments of a function: `--to ada@example.com --title Hi`.

use std::collections::HashSet;
use std::ffi::OsString;
use std::sync::OnceLock;

use framework::clap::error::{ContextKind, ErrorKind};
use framework::clap::{self, Arg, ArgAction, ArgMatches, Command, FromArgMatches};
use framework::config::Config;
use framework::output::escape_control;
use framework::prelude::*;
use framework::task::{HandlerInfo, Handlers};
use serde_json::{Map, Value};

use super::super::arguments::{Argument, Kind, Shape, arguments, first_paragraph};
use super::super::registered_functions::{self, RegisteredFunction};
use super::is_json;
use crate::bounded_input::{read_file, read_standard_input};
use crate::options::server_address::{ServerAddress, parse_duration};

/// The prefix of an argument whose name is that of an option of the command itself.
const PREFIX: &str = "args.";

/// The prefixes of the ids of options, by the kind of their values.
const ONE: &str = "one value of ";
const LIST: &str = "values of ";
const LIST_OF_LISTS: &str = "lists of ";
const OPPOSITE: &str = "no ";

/// Adds the options of the function that the words name first, if there is one. A function that this program
/// does not have is asked of the server if the words cannot be read without its options.
///
/// # Errors
/// There are options, and nobody knows whether the function takes them.
pub(super) async fn augment(command: Command, words: &[OsString], app: &App) -> Result<Command> {
    let command = if limits_wait(words) { limit_after_space(command) } else { command };
    let Some(matches) = read_leniently(&command, words) else { return Ok(command) };
    let Some(function) = matches.try_get_one::<String>("message").ok().flatten() else { return Ok(command) };
    // Duplicate handlers are an error of the server, and of what follows.
    let Ok(handlers) = handlers() else { return Ok(command) };
    if let Ok(handler) = handlers.find(function) {
        return Ok(describe(command, &handler.describe()));
    }
    let Err(unread) = command.clone().no_binary_name(true).try_get_matches_from(words) else {
        return Ok(command);
    };
    if is_json(function) || matches.get_flag("raw") {
        return Ok(command);
    }
    let server = ServerAddress::from_arg_matches(&matches).unwrap_or_else(|_| ServerAddress::at(None));
    match registered_functions::find(&server, app, function).await {
        RegisteredFunction::Known(info) => Ok(describe(command, &info)),
        RegisteredFunction::Unknown(unknown) => match unknown.suggestion {
            Some(near) => Ok(describe_near(command, &near, &server, app).await),
            None => Ok(command),
        },
        RegisteredFunction::NotTold(why) => {
            match handlers.find(function).err().and_then(|error| error.suggestion) {
                Some(near) => Ok(describe_near(command, &near, &server, app).await),
                None => without_description(command, function, &why, &unread),
            }
        }
    }
}

/// Reads the words as far as they can be, and leaves out what cannot be read.
fn read_leniently(command: &Command, words: &[OsString]) -> Option<ArgMatches> {
    let silent = |option: Arg| match option.get_action() {
        ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version => {
            option.action(ArgAction::SetTrue)
        }
        _ => option,
    };
    let reader = command.clone().disable_help_flag(true).mut_args(silent);
    reader.no_binary_name(true).ignore_errors(true).try_get_matches_from(words).ok()
}

/// Adds the options of the function whose name was misspelt, which the message reports.
async fn describe_near(command: Command, near: &str, server: &ServerAddress, app: &App) -> Command {
    if let Ok(handler) = handlers().and_then(|handlers| Ok(handlers.find(near)?)) {
        return describe(command, &handler.describe());
    }
    match registered_functions::find(server, app, near).await {
        RegisteredFunction::Known(info) => describe(command, &info),
        _ => command,
    }
}

/// The command alone: the help says why the arguments of the function are missing from it.
///
/// # Errors
/// There is an option that may be an argument of the function.
fn without_description(command: Command, function: &str, why: &str, unread: &clap::Error) -> Result<Command> {
    let text = |kind| unread.get(kind).map(ToString::to_string);
    match unread.kind() {
        ErrorKind::DisplayHelp => {
            let note = format!("The arguments of {function:?} are not known: {why}.");
            Ok(command.after_help(note))
        }
        ErrorKind::UnknownArgument => {
            let option = text(ContextKind::InvalidArg).unwrap_or_default();
            if !option.starts_with('-') {
                return Ok(command);
            }
            let near = text(ContextKind::SuggestedArg);
            let near = near.map(|near| format!(" (a similar argument exists: '{near}')")).unwrap_or_default();
            Err(Exit::Usage.error(format!(
                "unexpected argument '{option}'{near}: this program has no function {function:?}, and {why}; arguments \
                 can also be given as JSON"
            )))
        }
        _ => Ok(command),
    }
}

/// Whether a time stands right after `--wait`: then it is the limit, and not an argument of the function.
fn limits_wait(words: &[OsString]) -> bool {
    let options: Vec<_> = words.iter().map_while(|word| word.to_str().filter(|word| *word != "--")).collect();
    options.windows(2).any(|pair| pair[0] == "--wait" && parse_duration(pair[1]).is_ok())
}

fn limit_after_space(command: Command) -> Command {
    command.mut_args(|arg| if arg.get_id() == "wait" { arg.require_equals(false) } else { arg })
}

/// The handlers of this program and what its project declares, collected once per command line.
pub(super) fn handlers() -> Result<&'static Handlers> {
    static HANDLERS: OnceLock<Handlers> = OnceLock::new();
    if let Some(handlers) = HANDLERS.get() {
        return Ok(handlers);
    }
    // There may be no project here, but a server elsewhere; what is wrong with the settings is its affair.
    let declared = Config::locate().and_then(|config| framework::functions::collect(&config));
    let handlers = declared.or_else(|_| Handlers::collect())?;
    Ok(HANDLERS.get_or_init(|| handlers))
}

fn describe(command: Command, function: &HandlerInfo) -> Command {
    let mut taken = Taken::of(&command);
    let heading = format!("Arguments of {}", function.name);
    let known = arguments(&function.schema).unwrap_or_default();
    let options = known.iter().flat_map(|argument| options(argument, &mut taken)).enumerate();
    let option = |(place, option): (usize, Arg)| option.help_heading(heading.clone()).display_order(place);
    let options: Vec<_> = options.map(option).collect();
    if options.is_empty() { command } else { after(command, options) }
}

/// Places the command's own arguments after these in the help, which follows the order of the headings.
fn after(command: Command, first: Vec<Arg>) -> Command {
    let own: Vec<_> = command.get_arguments().map(|arg| arg.get_id().clone()).collect();
    own.into_iter().enumerate().fold(command.args(first), |command, (place, id)| {
        // An argument that is changed moves behind all others.
        command.mut_arg(id, |arg| match (arg.get_help_heading(), arg.is_positional()) {
            (Some(_), _) => arg,
            (None, true) => arg.help_heading("Arguments").display_order(place),
            (None, false) => arg.help_heading("Options"),
        })
    })
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
    pub(super) fn complete(&self, function: &HandlerInfo) -> Result<&Map<String, Value>> {
        let known = arguments(&function.schema).unwrap_or_default();
        let missing =
            known.iter().filter(|argument| argument.required && !self.0.contains_key(&argument.name));
        let missing: Vec<_> = missing
            .map(|argument| format!("--{} <{}>", flag(&argument.name), value_name(&argument.kind)))
            .collect();
        if !missing.is_empty() {
            let also = if self.is_empty() { "" } else { "also " };
            let function = &function.name;
            return Err(Exit::Usage.error(format!("{function} {also}requires {}", missing.join(", "))));
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
            if let Some(name) = named(LIST_OF_LISTS) {
                return Some((name, values(id)?.cloned().collect()));
            }
            if let Some(name) = named(LIST) {
                return Some((name, values(id)?.flat_map(items).collect()));
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

/// The items of a list that was given as a whole, or one of them.
fn items(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_else(|| vec![value.clone()])
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
                && escape_control(name) == *name
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
    let prefix = match &kind.shape {
        Shape::List(item) if matches!(item.shape, Shape::Json("array") | Shape::Any) => LIST_OF_LISTS,
        Shape::List(_) => LIST,
        _ => ONE,
    };
    let id = format!("{prefix}{}", argument.name);
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

/// The placeholder of a value in the help.
pub(super) fn value_name(kind: &Kind) -> String {
    match &kind.shape {
        Shape::Text => "TEXT".to_owned(),
        Shape::Choice(choices) if choices.iter().all(String::is_empty) => "TEXT".to_owned(),
        Shape::Choice(choices) => escape_control(&choices.join("|")).into_owned(),
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
    let help = [description, required, default, repeated].into_iter().flatten().collect::<Vec<_>>().join(" ");
    escape_control(&help).into_owned()
}

/// Parses a value: `@FILE` is the content of a file, `-` is standard input, and `@@` is an `@`.
fn value(kind: &Kind, word: &str) -> Result<Value, String> {
    match (word, word.strip_prefix('@')) {
        ("-", _) => kind.parse(standard_input()?),
        (_, Some(text)) if text.starts_with('@') => kind.parse(text),
        (_, Some(path)) if !path.is_empty() => {
            let text = read_file(path).map_err(|error| {
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
    let read = || read_standard_input().map_err(|error| format!("reading standard input: {error}"));
    TEXT.get_or_init(read).as_deref().map_err(Clone::clone)
}

#[cfg(test)]
mod tests;

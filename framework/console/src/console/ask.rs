//! Asks for the arguments that a command line lacks: `#[ask]`.

use std::ffi::OsString;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Command};

use super::hyphens;
use crate::command::{Ask, CommandEntry};
use crate::input::{Input, Question, plain_reason};
use crate::output::Output;

/// A command line that lacks arguments for which a person can be asked.
pub(super) struct Incomplete {
    pub(super) entry: &'static CommandEntry,
    /// As it is parsed.
    command: Command,
    words: Vec<OsString>,
    missing: Vec<Ask>,
    /// The error if there is nobody to ask.
    error: clap::Error,
}

impl Incomplete {
    /// The command line without these arguments, and what could be read of it.
    ///
    /// # Errors
    /// The error itself, if it is another one or other arguments are missing, too.
    pub(super) fn of(
        command: Command,
        entry: &'static CommandEntry,
        words: &[OsString],
        error: clap::Error,
    ) -> Result<(Self, ArgMatches), clap::Error> {
        if error.kind() != ErrorKind::MissingRequiredArgument || entry.asks.is_empty() {
            return Err(error);
        }
        let Ok(matches) = parse(relaxed(&command, entry.asks), words) else { return Err(error) };
        let is_missing = |ask: &&Ask| matches.value_source(ask.argument).is_none();
        let missing: Vec<Ask> = entry.asks.iter().filter(is_missing).copied().collect();
        Ok((Self { entry, command, words: words.to_vec(), missing, error }, matches))
    }

    /// Asks for what is missing, each until it fits.
    ///
    /// # Errors
    /// When there is nobody to ask, or Ctrl-C was pressed.
    pub(super) fn complete(self, input: &Input, output: &mut Output) -> Result<ArgMatches> {
        let Self { command, mut words, missing, error, .. } = self;
        if !input.is_interactive(output) {
            return Err(error.into());
        }
        for (place, ask) in missing.iter().enumerate() {
            let described = relaxed(&command, &missing[place..]);
            let Some(argument) = described.get_arguments().find(|arg| arg.get_id() == ask.argument) else {
                continue;
            };
            let answer = answer_to(ask, argument, input, output, |text| {
                parse(described.clone(), &with_value(&words, argument, text))
                    .map(|_| ())
                    .map_err(|error| reason(&error))
            })?;
            words = with_value(&words, argument, &answer);
        }
        Ok(parse(command, &words)?)
    }
}

fn answer_to(
    ask: &Ask,
    argument: &Arg,
    input: &Input,
    output: &mut Output,
    check: impl Fn(&str) -> Result<(), String>,
) -> Result<String> {
    let help = || argument.get_help().map_or_else(|| ask.argument.to_owned(), ToString::to_string);
    let question = ask.question.map_or_else(|| help() + ":", str::to_owned);
    let values: Vec<_> = argument.get_possible_values();
    let names: Vec<&str> =
        values.iter().filter(|value| !value.is_hide_set()).map(|value| value.get_name()).collect();
    if !names.is_empty() {
        let chosen = input.choose(output, &question, &names, None)?;
        return Ok(names[chosen].to_owned());
    }
    let question = Question::new(&question).check(&check);
    Ok(input.ask(output, &if ask.secret { question.secret(false) } else { question })?)
}

/// The command as it is parsed, without the need for these arguments.
fn relaxed(command: &Command, asks: &[Ask]) -> Command {
    asks.iter().fold(command.clone(), |command, ask| {
        command.mut_args(|arg| if arg.get_id() == ask.argument { arg.required(false) } else { arg })
    })
}

fn parse(command: Command, words: &[OsString]) -> Result<ArgMatches, clap::Error> {
    let words = hyphens::attach(&command, words);
    command.try_get_matches_from(words)
}

/// The words with a value of an argument, whatever it begins with.
fn with_value(words: &[OsString], argument: &Arg, value: &str) -> Vec<OsString> {
    let mut words = words.to_vec();
    let option = match (argument.get_long(), argument.get_short()) {
        (Some(long), _) => Some(format!("--{long}={value}")),
        (None, Some(short)) => Some(format!("-{short}{value}")),
        (None, None) => None,
    };
    let end = words.iter().position(|word| word == "--");
    match (option, end) {
        (Some(option), end) => words.insert(end.unwrap_or(words.len()), option.into()),
        (None, Some(_)) => words.push(value.into()),
        (None, None) => words.extend(["--".into(), value.into()]),
    }
    words
}

/// The first sentence of clap's error.
fn reason(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    plain_reason(first.trim_start_matches("error: ").trim_end())
}

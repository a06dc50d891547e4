//! The help of a command.

use std::ffi::OsString;

use clap::Command;
use clap::builder::styling::AnsiColor;
use clap::builder::{StyledStr, Styles};

use super::globals::Globals;
use crate::app::Program;
use crate::command::CommandEntry;

const TEMPLATE: &str = "{about-with-newline}\n{usage-heading}\n  {usage}\n\n{all-args}\n";

/// What `-h` and `help NAME` print: description, usage, arguments, options, global options.
pub fn help(program: &Program, entry: &CommandEntry) -> StyledStr {
    help_for(program, entry, &[])
}

/// As [`help`], with the options that depend on these words.
pub(super) fn help_for(program: &Program, entry: &CommandEntry, words: &[OsString]) -> StyledStr {
    let mut command = describe(program, entry, words);
    if let Some(all) = command.get_long_about().cloned() {
        command = command.about(all);
    }
    // Clap's long form sets every option apart by an empty line, which only pays where there are long texts.
    let long = command.get_arguments().any(|argument| argument.get_long_help().is_some());
    if long { command.render_long_help() } else { command.render_help() }
}

/// The command as it is parsed: with the global options, under the name that its user types, for these words.
pub(super) fn describe(program: &Program, entry: &CommandEntry, words: &[OsString]) -> Command {
    entry
        .augment(Globals::declare(entry.describe()), words)
        .bin_name(format!("{} {}", program.name, entry.name))
        .help_template(TEMPLATE)
        .styles(styles())
}

fn styles() -> Styles {
    let (yellow, green) = (AnsiColor::Yellow.on_default(), AnsiColor::Green.on_default());
    Styles::plain()
        .header(yellow)
        .usage(yellow)
        .literal(green)
        .error(AnsiColor::Red.on_default())
        .invalid(yellow)
}

//! Rendering of a command's help.

use std::ffi::OsString;

use clap::Command;
use clap::builder::styling::AnsiColor;
use clap::builder::{StyledStr, Styles};

use super::globals::Globals;
use crate::app::Program;
use crate::command::CommandEntry;

const TEMPLATE: &str = "{about-with-newline}\n{usage-heading}\n  {usage}\n\n{all-args}\n";

/// The help that `-h` and `help NAME` print: description, usage, arguments, options, global options.
pub fn help(program: &Program, entry: &CommandEntry) -> StyledStr {
    help_for(program, entry, &[])
}

/// The same as [`help`], with the options that depend on these words.
pub(super) fn help_for(program: &Program, entry: &CommandEntry, words: &[OsString]) -> StyledStr {
    let mut command = describe(program, entry, words);
    if let Some(all) = command.get_long_about().cloned() {
        command = command.about(all);
    }
    // Clap's long form puts an empty line between options, which is worth it only for long texts.
    let long = command.get_arguments().any(|argument| argument.get_long_help().is_some());
    if long { command.render_long_help() } else { command.render_help() }
}

/// The command as it is parsed: with the global options, and those that depend on these words.
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

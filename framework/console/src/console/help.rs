//! Rendering of a command's help.

use std::ffi::OsString;

use anyhow::Result;
use clap::Command;
use clap::builder::Styles;
use clap::builder::styling::AnsiColor;

use super::globals::Globals;
use crate::app::{App, Program};
use crate::command::CommandEntry;
use crate::output::{Output, wrap};

const TEMPLATE: &str =
    "{before-help}{about-with-newline}\n{usage-heading}\n  {usage}\n\n{all-args}\n{after-help}";

/// The indent of the usage in the template.
const USAGE_INDENT: &str = "  ";

/// Prints the help that `-h` and `help NAME` print: description, usage, arguments, options, global options.
pub fn print_help(program: &Program, entry: &CommandEntry, output: &mut Output) {
    print_command(styled(program, entry, Globals::declare(entry.describe())), output);
}

/// Prints the same of a command that is described already.
pub(super) fn print_command(command: Command, output: &mut Output) {
    // Without a limit, as for a pipe, lines are not wrapped.
    let mut command = command.term_width(output.width().unwrap_or(0));
    if let Some(width) = output.width() {
        command = wrap_usage(command, width);
    }
    if let Some(all) = command.get_long_about().cloned() {
        command = command.about(all);
    }
    // Clap's long form puts an empty line between options, which is worth it only for long texts.
    let long = command.get_arguments().any(|argument| argument.get_long_help().is_some());
    output.help(&if long { command.render_long_help() } else { command.render_help() });
}

/// Wraps the line that shows the usage, which clap leaves as it is.
fn wrap_usage(mut command: Command, width: usize) -> Command {
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    if USAGE_INDENT.len() + usage.len() <= width {
        return command;
    }
    let lines = wrap(usage, width.saturating_sub(2 * USAGE_INDENT.len()));
    command.override_usage(lines.join(&format!("\n{USAGE_INDENT}{USAGE_INDENT}")))
}

/// The command as it is parsed: with the global options, and those that depend on these words.
///
/// # Errors
/// Those of [`Execute::augment`](crate::command::Execute::augment).
pub(super) async fn describe(entry: &CommandEntry, words: &[OsString], app: &App) -> Result<Command> {
    let command = entry.augment(Globals::declare(entry.describe()), words, app).await?;
    Ok(styled(app.program(), entry, command))
}

fn styled(program: &Program, entry: &CommandEntry, command: Command) -> Command {
    command.bin_name(format!("{} {}", program.name, entry.name)).help_template(TEMPLATE).styles(styles())
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

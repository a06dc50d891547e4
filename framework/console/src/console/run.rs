//! Runs one command, between its listeners.

use std::time::Instant;

use anyhow::Result;
use clap::ArgMatches;
use tracing::instrument::WithSubscriber;

use super::isolation::isolate;
use super::panic::catch_panic;
use crate::app::App;
use crate::command::{CommandEntry, CommandListener, Exit, listeners};
use crate::log;
use crate::output::{Output, Verbosity};

/// Runs a command: its listeners hear of its beginning, of an error, and of its end.
pub(super) async fn run(
    entry: &'static CommandEntry,
    matches: &ArgMatches,
    app: &App,
    output: &mut Output,
) -> Result<()> {
    if let Some(instead) = entry.deprecated {
        output.warn(format_args!("{} is deprecated: {instead}", entry.name));
    }
    let listeners = listeners();
    let result = run_isolated(entry, &listeners, matches, app, output).await;
    if let Err(error) = &result {
        for listener in &listeners {
            listener.error(entry, error, app, output);
        }
    }
    let exit = result.as_ref().map_or_else(Exit::of, |()| Exit::Success);
    for listener in &listeners {
        listener.after(entry, exit, app, output);
    }
    result
}

async fn run_isolated(
    entry: &'static CommandEntry,
    listeners: &[&dyn CommandListener],
    matches: &ArgMatches,
    app: &App,
    output: &mut Output,
) -> Result<()> {
    let _isolation = isolate(entry, app)?;
    for listener in listeners {
        listener.before(entry, app, output)?;
    }
    let start = Instant::now();
    let result = match (output.verbosity(), entry.own_log) {
        (Verbosity::Verbose(level), false) => {
            let subscriber = log::notes_subscriber(level, output.note_writer());
            catch_panic(entry.run(matches, app, output)).with_subscriber(subscriber).await
        }
        _ => catch_panic(entry.run(matches, app, output)).await,
    };
    let project = app.located().map(|config| format!(" in {}", config.root().display()));
    let (took, project) = (start.elapsed(), project.unwrap_or_default());
    output.detail(format_args!("{} took {took:.0?}{project}", entry.name));
    result
}

#[cfg(test)]
mod tests;

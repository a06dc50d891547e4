//! Completion of a command line: what could stand in place of its last word.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use clap::builder::PossibleValue;
use clap::{Arg, ValueHint};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate, complete as complete_words};
use tokio::time::timeout;

use super::globals::global_options;
use super::help::describe;
use crate::app::App;
use crate::command::{CommandEntry, Registry};

/// The time for options that a server is asked for: somebody types.
const OPTIONS_TIMEOUT: Duration = Duration::from_millis(200);

/// A source of values for all arguments of one name, such as the names of queues for `queue`, that completion
/// offers. [`complete_values!`](crate::complete_values) registers it.
pub struct ValueSource {
    /// The id of the argument, which is the name of its field.
    pub argument: &'static str,
    /// The only command that it is for; all of them without one.
    pub command: Option<&'static str>,
    /// The values there are now; quick to find, and empty when they cannot be found.
    pub values: fn(&App) -> Vec<String>,
}

inventory::collect!(ValueSource);

/// Offers values for arguments in completion: `complete_values!("queue", queue_names);`, or for those of one
/// command `complete_values!("help", "name", command_names);`. The function takes the [`App`], and has to be
/// quick.
///
/// ```
/// # use framework::app::App;
/// fn reports(_app: &App) -> Vec<String> {
///     vec!["daily".to_owned(), "weekly".to_owned()]
/// }
///
/// framework::complete_values!("report", reports);
/// ```
#[macro_export]
macro_rules! complete_values {
    ($argument:expr, $values:expr) => {
        $crate::inventory::submit! {
            $crate::console::ValueSource { argument: $argument, command: None, values: $values }
        }
    };
    ($command:expr, $argument:expr, $values:expr) => {
        $crate::inventory::submit! {
            $crate::console::ValueSource { argument: $argument, command: Some($command), values: $values }
        }
    };
}

/// A word that could stand in a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub value: String,
    /// What it is; empty if nothing is known.
    pub help: String,
}

/// The words that could stand in place of the last one, which may be empty; the first one is the program.
pub async fn complete(app: &App, words: &[OsString]) -> Vec<Candidate> {
    let Some(registry) = Registry::running(app) else { return Vec::new() };
    let last = words.len().saturating_sub(1);
    let is_name = |word: &OsString| !word.as_encoded_bytes().starts_with(b"-");
    let name = (1..words.len()).find(|place| is_name(&words[*place]));
    match name {
        Some(place) if place < last => match registry.find(&words[place].to_string_lossy()) {
            Ok(entry) => arguments(app, entry, &words[place + 1..]).await,
            Err(_) => Vec::new(),
        },
        Some(_) => names(registry, &words[last].to_string_lossy()),
        None => options(&words.last().map(|word| word.to_string_lossy()).unwrap_or_default()),
    }
}

fn names(registry: &Registry, begin: &str) -> Vec<Candidate> {
    let named = registry.iter().filter(|entry| entry.name.starts_with(begin));
    named
        .map(|entry| Candidate {
            value: entry.name.to_owned(),
            help: entry.describe().get_about().map(ToString::to_string).unwrap_or_default(),
        })
        .collect()
}

/// The global options, such as they stand before the name.
fn options(begin: &str) -> Vec<Candidate> {
    let options = global_options().into_iter().flat_map(|(names, help)| {
        let names: Vec<String> = names.split([',', '|', ' ']).map(str::to_owned).collect();
        names.into_iter().map(move |value| Candidate { value, help: help.clone() })
    });
    options.filter(|option| option.value.starts_with('-') && option.value.starts_with(begin)).collect()
}

async fn arguments(app: &App, entry: &'static CommandEntry, behind: &[OsString]) -> Vec<Candidate> {
    // Options that depend on a server that does not answer in time are left out.
    let Ok(Ok(command)) = timeout(OPTIONS_TIMEOUT, describe(entry, behind, app)).await else {
        return Vec::new();
    };
    let mut command = command.mut_args(|arg| with_values(arg, entry, app));
    let words: Vec<OsString> =
        std::iter::once(OsString::from(entry.name)).chain(behind.iter().cloned()).collect();
    let folder = std::env::current_dir().ok();
    let found = complete_words(&mut command, words, behind.len(), folder.as_deref()).unwrap_or_default();
    found.into_iter().filter(|candidate| !candidate.is_hide_set()).filter_map(candidate).collect()
}

fn candidate(found: CompletionCandidate) -> Option<Candidate> {
    // A value that is no UTF-8 cannot be offered in a line of text.
    let value = found.get_value().to_str()?.to_owned();
    Some(Candidate { value, help: found.get_help().map(ToString::to_string).unwrap_or_default() })
}

/// The argument with the values of its source. Only those that are paths are completed by names of files.
fn with_values(arg: Arg, entry: &CommandEntry, app: &App) -> Arg {
    if !arg.get_action().takes_values() || has_values(&arg) {
        return arg;
    }
    let of_argument = |source: &&ValueSource| {
        OsStr::new(source.argument) == arg.get_id().as_str()
            && source.command.is_none_or(|command| command == entry.name)
    };
    let mut sources: Vec<_> = inventory::iter::<ValueSource>.into_iter().filter(of_argument).collect();
    sources.sort_by_key(|source| source.command.is_none());
    match sources.first() {
        Some(source) => {
            let values = (source.values)(app);
            let candidates = move || values.iter().map(CompletionCandidate::new).collect();
            arg.add(ArgValueCandidates::new(candidates))
        }
        None if arg.get_value_hint() == ValueHint::Unknown => arg.value_hint(ValueHint::Other),
        None => arg,
    }
}

fn has_values(arg: &Arg) -> bool {
    let values: Vec<PossibleValue> = arg.get_possible_values();
    !values.is_empty()
}

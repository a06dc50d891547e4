//! What has changed in the details of a task since they were last shown.

use framework::output::escape_control;
use framework::prelude::*;
use framework::task::{LogLine, Progress};
use framework::views::{AttemptInfo, State, TaskDetails};
use serde_json::{Value, json};

use crate::format::{format_millis, format_timestamp};

/// The part of the task's details that was printed already.
#[derive(Default)]
pub(super) struct Shown {
    state: Option<(State, u32)>,
    attempts: u32,
    progress: Option<Progress>,
    last: Option<LogLine>,
}

/// One change of a task.
pub(super) enum Change<'a> {
    /// An attempt has failed.
    Failed(&'a AttemptInfo, &'a str),
    Log(&'a LogLine),
    Progress(&'a Progress),
    /// The task is in another state, or another attempt has begun.
    State {
        state: State,
        attempts: u32,
        due_ms: Option<u64>,
    },
}

impl Shown {
    /// What is new, in the order in which it happened.
    pub(super) fn update<'a>(&mut self, details: &'a TaskDetails) -> Vec<Change<'a>> {
        let task = &details.summary;
        // A long history has a gap.
        let attempts = details.history.iter().filter(|attempt| attempt.number > self.attempts);
        let failed = |attempt: &'a AttemptInfo| Some(Change::Failed(attempt, attempt.error.as_deref()?));
        let mut changes: Vec<_> = attempts.filter_map(failed).collect();
        let last = details.history.last().map(|attempt| attempt.number);
        self.attempts = last.unwrap_or(self.attempts);
        self.add_notes(details, &mut changes);
        let state = (task.state, task.attempts);
        if self.state.replace(state) != Some(state) {
            let due_ms = task.due_ms.filter(|_| task.state == State::Waiting);
            changes.push(Change::State { state: task.state, attempts: task.attempts, due_ms });
        }
        changes
    }

    fn add_notes<'a>(&mut self, details: &'a TaskDetails, changes: &mut Vec<Change<'a>>) {
        let log = &details.notes.log;
        // Lines have no numbers, and only the end of the log is kept: those after the last line shown are
        // new.
        let last = self.last.as_ref().and_then(|last| log.iter().rposition(|line| line == last));
        changes.extend(log.iter().skip(last.map_or(0, |last| last + 1)).map(Change::Log));
        self.last = log.back().cloned().or(self.last.take());
        if self.progress != details.notes.progress {
            self.progress.clone_from(&details.notes.progress);
            changes.extend(details.notes.progress.as_ref().map(Change::Progress));
        }
    }
}

impl Change<'_> {
    pub(super) fn print(&self, output: &mut Output) {
        match self {
            Self::Failed(attempt, error) => {
                let took =
                    attempt.ran_ms.map(|ms| format!(" after {}", format_millis(ms))).unwrap_or_default();
                let error = escape_control(error);
                output.note(format_args!("attempt {} failed{took}: {error}", attempt.number));
            }
            Self::Log(line) => output.note(format_args!("  {}", escape_control(&line.text))),
            Self::Progress(Progress { percent, text, .. }) => {
                output.note(format_args!("{percent:>3.0}% {}", escape_control(text)));
            }
            Self::State { state, due_ms, .. } => {
                let due = due_ms.map(|due| format!(", due {}", format_timestamp(due))).unwrap_or_default();
                output.note(format_args!("{}{due}", state.name()));
            }
        }
    }

    /// The change as an event in the words of the wire.
    pub(super) fn event(&self, task_id: u64) -> Value {
        match self {
            Self::Failed(attempt, error) => {
                let AttemptInfo { number, ran_ms, .. } = attempt;
                json!({"task_id": task_id, "status": "attempt", "attempt": number, "ran_ms": ran_ms,
                       "error": error})
            }
            Self::Log(LogLine { attempt, text, .. }) => {
                json!({"task_id": task_id, "status": "log", "attempt": attempt, "text": text})
            }
            Self::Progress(Progress { percent, text, .. }) => {
                json!({"task_id": task_id, "status": "progress", "percent": percent, "text": text})
            }
            Self::State { state, attempts, due_ms } => {
                json!({"task_id": task_id, "status": "watching", "state": state, "attempts": attempts,
                       "due_ms": due_ms})
            }
        }
    }
}

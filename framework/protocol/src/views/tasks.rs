//! Views of tasks, batches, queues and schedules.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use strum::{EnumString, IntoStaticStr};

use super::admin::ScheduleNote;
use super::counts::QueueDepth;
use crate::state::State;
use crate::task::{BatchId, ProgressLog, Tags, TaskId};

/// The filter of a list of tasks, which begins with the newest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    pub state: Option<State>,
    pub queue: Option<String>,
    pub function: Option<String>,
    pub batch: Option<BatchId>,
    /// Only tasks with all of these tags.
    #[serde(skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// Only tasks with this text in the function, the arguments or the error, whatever the case of ASCII
    /// letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Only tasks that were accepted at this time or later, and before this one, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// Only tasks with ids below this one: for the next page.
    pub before: Option<TaskId>,
    pub limit: usize,
}

impl Filter {
    /// Whether many tasks may have to be looked at for each that it lets pass.
    pub fn is_search(&self) -> bool {
        self.text.is_some() || self.since_ms.is_some() || self.until_ms.is_some() || !self.tags.is_empty()
    }
}

/// The summary of a task: one line of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskSummary {
    #[serde(rename = "task_id", alias = "id")]
    pub id: TaskId,
    pub state: State,
    pub function: String,
    pub queue: String,
    pub priority: u8,
    pub accepted_ms: u64,
    /// The earliest time at which it may start, if that is not the time of its acceptance.
    pub due_ms: Option<u64>,
    pub ended_ms: Option<u64>,
    /// The number of attempts that have begun, as far as that is known.
    pub attempts: u32,
    pub error: Option<String>,
    /// Whether it waits although nobody runs its function at the moment.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub parked: bool,
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

/// The tasks that a search has found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SearchResult {
    /// The newest first.
    pub tasks: Vec<TaskSummary>,
    /// `false` when there may be more: with `before`, the search goes on.
    pub is_complete: bool,
    /// The id of the task up to which the search has come.
    pub before: Option<TaskId>,
}

/// All details of a task.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TaskDetails {
    #[serde(flatten)]
    pub summary: TaskSummary,
    #[schemars(with = "serde_json::Value")]
    pub args: Box<RawValue>,
    /// The number of attempts that may fail.
    pub max_attempts: u32,
    pub timeout_ms: Option<u64>,
    pub expires_ms: Option<u64>,
    pub key: Option<String>,
    pub concurrency_key: Option<String>,
    #[serde(rename = "batch_id", alias = "batch")]
    pub batch: Option<BatchId>,
    pub then: Vec<String>,
    /// The number of attempts during which the process died.
    pub crashes: u32,
    /// The attempts that are over, in their order.
    pub history: Vec<AttemptInfo>,
    #[serde(flatten)]
    pub notes: ProgressLog,
    /// The result of the handler, once it is done.
    #[schemars(with = "Option<serde_json::Value>")]
    pub result: Option<Box<RawValue>>,
}

/// One attempt that is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptInfo {
    pub number: u32,
    pub started_ms: u64,
    /// The time that it took; `null` when the process died during it, and that is not known.
    pub ran_ms: Option<f64>,
    /// The process that it ran in; that of the server, if a worker elsewhere ran it.
    pub pid: u32,
    /// The worker elsewhere that ran it, by the name that it gave itself; absent for one of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Why it failed; `null` when it succeeded.
    pub error: Option<String>,
}

/// A batch with its counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BatchInfo {
    #[serde(rename = "batch_id", alias = "id")]
    pub id: BatchId,
    pub name: String,
    pub function: String,
    pub state: BatchState,
    /// The number of tasks accepted so far.
    pub total: u64,
    pub done: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub expired: u64,
    pub opened_ms: u64,
    pub ended_ms: Option<u64>,
    /// The function that runs when the last task has ended, and the id of that task once it was accepted.
    pub then: Option<String>,
    #[serde(rename = "then_task_id", alias = "then_task")]
    pub then_task: Option<TaskId>,
}

impl BatchInfo {
    /// The number of its tasks that have ended in this state; `None` for a state that is no end.
    pub fn count_mut(&mut self, state: State) -> Option<&mut u64> {
        match state {
            State::Done => Some(&mut self.done),
            State::Failed => Some(&mut self.failed),
            State::Cancelled => Some(&mut self.cancelled),
            State::Expired => Some(&mut self.expired),
            State::Waiting | State::Running => None,
        }
    }

    /// The number of its tasks that have ended, in whatever state.
    pub fn ended(&self) -> u64 {
        self.done + self.failed + self.cancelled + self.expired
    }
}

/// The state of a batch.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, EnumString, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum BatchState {
    /// Tasks are still added, and held back.
    Open,
    /// It was cancelled before it was sealed: none of its tasks ever runs, and they are being cancelled.
    Abandoned,
    /// It is sealed, and its tasks run.
    Running,
    /// All its tasks have ended.
    Ended,
}

impl BatchState {
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A queue with its depth and its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QueueInfo {
    pub name: String,
    #[serde(flatten)]
    pub depth: QueueDepth,
    pub weight: u32,
    /// The rate limit, such as `100/s`.
    pub rate: Option<String>,
    /// The age of its due task that has waited longest; `null` when none is due.
    #[serde(default)]
    pub oldest_waiting_ms: Option<u64>,
}

/// A schedule with its last run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleInfo {
    pub name: String,
    /// The time up to which its runs are settled: they were made, or are not to be made any more. Far in the
    /// future while it is switched off.
    pub seen_ms: Option<u64>,
    /// The time of the last run, and its task.
    pub fired_ms: Option<u64>,
    #[serde(rename = "task_id", alias = "task")]
    pub task: Option<TaskId>,
    pub paused: bool,
    /// The function, the expression and the time zone as the server runs them; `null` for a schedule that it
    /// does not contain.
    #[serde(default)]
    pub function: Option<String>,
    #[serde(default)]
    pub cron: Option<String>,
    #[serde(default)]
    pub timezone: Option<String>,
    /// The time of the next run; `null` when none is to come.
    #[serde(default)]
    pub next_ms: Option<u64>,
    /// Why there is no task for the last time yet: it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl ScheduleInfo {
    /// A schedule without runs.
    pub fn new(name: String) -> Self {
        Self { name, ..Self::default() }
    }

    pub fn note(&mut self, note: ScheduleNote) {
        self.seen_ms = note.seen_ms.or(self.seen_ms);
        self.fired_ms = note.fired_ms.or(self.fired_ms);
        self.task = note.task.or(self.task);
        self.paused = note.paused.unwrap_or(self.paused);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_has_the_name_that_serde_writes_and_parses_it() {
        assert_eq!(State::ALL.len(), State::NAMES.len());
        for (&state, &name) in State::ALL.iter().zip(State::NAMES) {
            assert_eq!(serde_json::to_value(state).unwrap(), name);
            assert_eq!((state.name(), name.parse()), (name, Ok(state)));
        }
        assert_eq!("running".parse(), Ok(BatchState::Running));
        assert!("Running".parse::<State>().is_err());
    }
}

//! Tasks, batches, queues and schedules as clients see them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::admin::ScheduleNote;
use super::counts::QueueDepth;
use crate::task::{BatchId, ProgressLog, TaskId};

/// Which tasks are listed; the newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    pub state: Option<State>,
    pub queue: Option<String>,
    pub function: Option<String>,
    pub batch: Option<BatchId>,
    /// Only ids below this one: for the next page.
    pub before: Option<TaskId>,
    pub limit: usize,
}

/// Where a task is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Waiting,
    Running,
    Done,
    Failed,
    Cancelled,
    Expired,
}

impl State {
    pub const ALL: [Self; 6] =
        [Self::Waiting, Self::Running, Self::Done, Self::Failed, Self::Cancelled, Self::Expired];

    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }
}

/// A task in one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskSummary {
    pub id: TaskId,
    pub state: State,
    pub function: String,
    pub queue: String,
    pub priority: u8,
    pub accepted_ms: u64,
    /// When it may start at the earliest, if that was or is not at once.
    pub due_ms: Option<u64>,
    pub ended_ms: Option<u64>,
    /// How many attempts have begun, as far as that is known.
    pub attempts: u32,
    pub error: Option<String>,
}

/// The whole story of a task.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TaskDetails {
    #[serde(flatten)]
    pub summary: TaskSummary,
    #[schemars(with = "serde_json::Value")]
    pub args: Box<RawValue>,
    /// How many attempts may fail.
    pub max_attempts: u32,
    pub timeout_ms: Option<u64>,
    pub expires_ms: Option<u64>,
    pub key: Option<String>,
    pub concurrency_key: Option<String>,
    pub batch: Option<BatchId>,
    pub then: Vec<String>,
    /// In how many attempts the process died.
    pub crashes: u32,
    /// The attempts that are over, in their order.
    pub history: Vec<AttemptInfo>,
    #[serde(flatten)]
    pub notes: ProgressLog,
    /// What the handler returned, once it is done.
    #[schemars(with = "Option<serde_json::Value>")]
    pub result: Option<Box<RawValue>>,
}

/// One attempt that is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptInfo {
    pub number: u32,
    pub started_ms: u64,
    /// `None`: the process died while it ran, and nobody knows.
    pub ran_ms: Option<f64>,
    /// The process it ran in.
    pub pid: u32,
    /// `None`: it was done.
    pub error: Option<String>,
}

/// A batch and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BatchInfo {
    pub id: BatchId,
    pub name: String,
    pub function: String,
    pub state: BatchState,
    /// The tasks accepted so far.
    pub total: u64,
    pub done: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub expired: u64,
    pub opened_ms: u64,
    pub ended_ms: Option<u64>,
    /// The function that runs when the last task has ended, and the id of that task once it was accepted.
    pub then: Option<String>,
    pub then_task: Option<TaskId>,
}

impl BatchInfo {
    /// How many of its tasks have ended, however.
    pub fn ended(&self) -> u64 {
        self.done + self.failed + self.cancelled + self.expired
    }
}

/// Where a batch is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchState {
    /// Tasks are still handed in, and held back.
    Open,
    /// It is sealed, and its tasks run.
    Running,
    Ended,
}

impl BatchState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Running => "running",
            Self::Ended => "ended",
        }
    }

    /// The state of this name; an unknown one is taken for ended.
    pub fn of(name: &str) -> Self {
        match name {
            "open" => Self::Open,
            "running" => Self::Running,
            _ => Self::Ended,
        }
    }
}

/// A queue and what is in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QueueInfo {
    pub name: String,
    #[serde(flatten)]
    pub depth: QueueDepth,
    pub weight: u32,
    /// Such as `100/s`.
    pub rate: Option<String>,
}

/// What is remembered of a schedule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleInfo {
    pub name: String,
    /// Its times up to this one have run, or are not to run any more. Far away while it is switched off.
    pub seen_ms: Option<u64>,
    /// The last time that has run, and the task of it.
    pub fired_ms: Option<u64>,
    pub task: Option<TaskId>,
    pub paused: bool,
}

impl ScheduleInfo {
    /// One of which nothing is known.
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

//! Which tasks an administrative command is about, and what it came to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::task::{BatchId, TaskId};

/// What is new about a schedule; `None` leaves it as it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScheduleNote {
    pub seen_ms: Option<u64>,
    pub fired_ms: Option<u64>,
    pub task: Option<TaskId>,
    pub paused: Option<bool>,
}

/// Which tasks a change is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskSelector {
    Task(TaskId),
    Batch(BatchId),
    /// The failed ones, of this queue only if one is named.
    Failed {
        queue: Option<String>,
    },
}

/// What a change came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdminResult {
    /// What became of the one task that was to be cancelled.
    Cancelled(Cancelled),
    /// So many tasks were changed.
    Tasks(u64),
    /// The id of the new batch.
    Batch(BatchId),
    Done,
}

/// What became of a task that was to be cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cancelled {
    /// It was waiting, and has ended.
    AtOnce,
    /// It was running; the attempt is dropped where it stands.
    Aborted,
    /// It is running and blocks its thread: it was asked to stop, and goes on until it looks.
    Requested,
}

//! What people change about tasks, queues, batches and schedules.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::task::{BatchId, Handler, TaskId};

/// A change on behalf of people.
#[derive(Debug, Clone)]
pub enum AdminCommand {
    /// Ends what waits; asks what runs to stop.
    Cancel(TaskSelector),
    /// Lets ended tasks wait again, with all their attempts before them; done ones are left as they are.
    Retry(TaskSelector),
    /// Removes ended tasks with all that is kept of them; the ledger goes on counting them.
    Forget(TaskSelector),
    /// Cancels what waits in this queue, or in all; nothing of those tasks is kept.
    Flush { queue: Option<String> },
    /// Nothing is taken from this queue until it is resumed, also after a restart.
    Pause { queue: String, paused: bool },
    /// A new batch, whose tasks are held back until it is sealed.
    OpenBatch { name: String, function: String, then: Option<&'static Handler> },
    /// The batch is complete: its tasks may run, and when the last of them has ended, `then` runs.
    SealBatch(BatchId),
    /// Notes something about a schedule.
    Schedule { name: String, note: ScheduleNote },
}

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

//! Administrative commands: the tasks that they select, and their results.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::failures::{FailureCause, FailureFilter};
use crate::task::{BatchId, TaskId};

/// A change of a schedule; fields that are `None` stay as they were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScheduleNote {
    pub seen_ms: Option<u64>,
    pub fired_ms: Option<u64>,
    pub task: Option<TaskId>,
    pub paused: Option<bool>,
}

/// The tasks that a command selects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskSelector {
    Task(TaskId),
    Batch(BatchId),
    /// These of the failed tasks.
    Failed(FailureFilter),
}

/// The id of a change of many tasks, as long as the process lives.
pub type ChangeId = u64;

/// A change of many tasks that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangeInfo {
    #[serde(rename = "change_id")]
    pub id: ChangeId,
    pub kind: ChangeKind,
    /// The batch whose tasks are changed.
    #[serde(rename = "batch_id")]
    pub batch: Option<BatchId>,
    /// The queue whose tasks are changed; `null` when those of all queues are, or of a batch.
    pub queue: Option<String>,
    /// The function whose failed tasks are changed, if only those of one are.
    pub function: Option<String>,
    /// The cause of the failures of the tasks that are changed, if only those of one are.
    pub cause: Option<FailureCause>,
    /// The number of tasks that are changed by now.
    pub changed: u64,
    /// The number of tasks to change; `null` when that is not known.
    pub total: Option<u64>,
}

/// What a change does to its tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    Cancel,
    Retry,
    Forget,
    Flush,
    /// The tasks of a sealed batch are let run.
    Release,
    /// The tasks were not started in time.
    Expire,
}

/// The tasks that a change would change at the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangePreview {
    pub tasks: u64,
    /// The one that was accepted first, and the one that was accepted last.
    pub oldest: Option<PreviewedTask>,
    pub newest: Option<PreviewedTask>,
}

/// One of the tasks that a change would change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PreviewedTask {
    #[serde(rename = "task_id")]
    pub id: TaskId,
    pub accepted_ms: u64,
}

impl ChangePreview {
    /// Adds a task that would be changed.
    pub fn add(&mut self, task: PreviewedTask) {
        self.tasks += 1;
        if self.oldest.is_none_or(|oldest| task.id < oldest.id) {
            self.oldest = Some(task);
        }
        if self.newest.is_none_or(|newest| task.id > newest.id) {
            self.newest = Some(task);
        }
    }
}

/// The result of an administrative command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdminResult {
    /// The one task was cancelled in this way.
    Cancelled(Cancelled),
    /// The number of tasks that were changed.
    Tasks(u64),
    /// The id of the new batch.
    #[serde(rename = "batch_id", alias = "batch")]
    Batch(BatchId),
    Done,
}

/// The way in which a task was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cancelled {
    /// It was waiting and has ended.
    AtOnce,
    /// It was running, and its attempt is aborted.
    Aborted,
    /// It is running and blocks its thread: it was asked to stop, and goes on until it checks for that.
    Requested,
}

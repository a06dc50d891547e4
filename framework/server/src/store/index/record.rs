//! The events that the index records, in their order.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use framework_protocol::task::{BatchId, NewTask, TaskRecord};
use framework_protocol::views::{BatchInfo, State};

/// An event to write to the disk.
#[derive(Debug)]
pub enum Record {
    Ended(EndRecord),
    /// An attempt failed, and the task waits for another one.
    Retry {
        task: Arc<TaskRecord>,
        run: AttemptRun,
        error: String,
        due_ms: Option<u64>,
        pause: Duration,
    },
    /// A task has got another priority and other arguments, and is due unless the next record delays it.
    Revised(Arc<TaskRecord>),
    /// A task to accept together with the record before.
    Follow(FollowUp),
    /// A batch has ended; its counts follow from the tasks that came in and ended.
    Batch(BatchInfo),
}

/// A task that has ended.
#[derive(Debug)]
pub struct EndRecord {
    pub task: Arc<TaskRecord>,
    pub state: State,
    pub at_ms: u64,
    /// The last attempt, if the task ended with one.
    pub run: Option<AttemptRun>,
    /// The result, or the error.
    pub outcome: Result<Bytes, String>,
    /// Whether it is kept for a while.
    pub keep: bool,
}

/// An attempt that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRun {
    pub number: u32,
    pub started_ms: u64,
    /// `None` when nobody saw its end.
    pub ran: Option<Duration>,
    /// The worker elsewhere that ran it.
    pub worker: Option<Arc<str>>,
}

impl AttemptRun {
    /// Its length in microseconds.
    pub fn ran_us(&self) -> Option<i64> {
        self.ran.map(|ran| i64::try_from(ran.as_micros()).unwrap_or(i64::MAX))
    }
}

/// A task to accept.
#[derive(Debug)]
pub struct FollowUp {
    pub new: NewTask,
    /// The batch whose completion it is.
    pub completes: Option<BatchId>,
}

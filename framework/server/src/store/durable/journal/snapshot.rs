//! What a journal has of earlier processes.

use framework_protocol::task::{BatchId, TaskId};
use framework_protocol::views::{BatchInfo, Ledger};

use super::{StoredChange, StoredOptions};
use crate::store::durable::ended_queue::ExpiringRow;

/// Everything that a journal has of earlier processes, except the waiting tasks.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The ended tasks of which nothing else is kept, as far as they are counted.
    pub ledger: Ledger,
    /// No id from this one on was given, as far as that was noted.
    pub next_id: TaskId,
    /// The ended tasks that are kept, in the order of their ends, with their functions where these matter.
    pub ends: Vec<(ExpiringRow, String)>,
    /// The tasks that were cancelled while they ran, also those that have ended since.
    pub cancelled: Vec<TaskId>,
    /// The batches that have not ended, and the last one of all.
    pub batches: Vec<BatchInfo>,
    pub paused_queues: Vec<String>,
    /// The changes of many tasks that are unfinished, the first one first.
    pub changes: Vec<StoredChange>,
}

/// A waiting task as the journal has it, without its arguments.
#[derive(Debug)]
pub struct WaitingRow<'a> {
    pub id: TaskId,
    pub function: &'a str,
    pub queue: &'a str,
    pub priority: u8,
    pub due_ms: Option<u64>,
    pub batch: Option<BatchId>,
    pub options: StoredOptions,
    /// The pause in which it is, if it has attempts behind it.
    pub pause: Option<RetryPause>,
    /// Whether it must not run: it is set aside when its turn comes.
    pub is_damaged: bool,
}

/// The pause of a task between two attempts.
#[derive(Debug, Clone, Copy)]
pub struct RetryPause {
    /// The number of its attempts in which the process died.
    pub crashes: u32,
    /// When it is over; `None`: at once.
    pub due_ms: Option<u64>,
    /// Its length at its beginning.
    pub length_ms: u64,
}

//! What the books have written down, in the order in which it happened.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::store::story::{BatchStory, State};
use crate::task::{BatchId, NewTask, Task};

/// Something that happened, for the disk.
#[derive(Debug)]
pub(in crate::store) enum Record {
    Ended(Ended),
    /// An attempt failed, and the task waits for another one.
    Retry {
        task: Arc<Task>,
        run: Run,
        error: String,
        due_ms: Option<u64>,
        pause: Duration,
    },
    /// A task to accept together with the record before.
    Follow(Follow),
    /// The numbers of a batch have changed, all but its total.
    Batch(BatchStory),
}

/// A task that has ended.
#[derive(Debug)]
pub(in crate::store) struct Ended {
    pub(in crate::store) task: Arc<Task>,
    pub(in crate::store) state: State,
    pub(in crate::store) at_ms: u64,
    /// The last attempt, if the task ended with one.
    pub(in crate::store) run: Option<Run>,
    /// The result, or why there is none.
    pub(in crate::store) outcome: Result<Bytes, String>,
    /// Whether its story is kept for a while.
    pub(in crate::store) keep: bool,
}

/// An attempt that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Run {
    pub(in crate::store) number: u32,
    pub(in crate::store) started_ms: u64,
    /// `None`: nobody saw its end.
    pub(in crate::store) ran: Option<Duration>,
}

/// A task to accept.
#[derive(Debug)]
pub(in crate::store) struct Follow {
    pub(in crate::store) new: NewTask,
    /// The batch whose completion it is.
    pub(in crate::store) completes: Option<BatchId>,
}

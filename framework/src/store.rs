//! Where tasks survive: a handful of verbs, each on a batch.

mod memory;
mod order;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::protocol::Refusal;
use crate::task::{NewTask, Task, TaskId};

pub use memory::Memory;

/// Where tasks survive. Every verb takes a batch, and is atomic for each task of it.
///
/// A store knows what is where and never why: when to try again, how long to wait, whom to tell is decided by
/// the rooms of the server.
pub trait Store: Send + Sync + 'static {
    /// `memory`, `sqlite`, ..
    fn name(&self) -> &'static str;

    /// Whether waiting tasks survive the end of this process.
    fn is_durable(&self) -> bool;

    /// Accepts tasks; each gets its id, in the order given, or is refused on its own.
    /// What is accepted is as durable as the store ever makes it when this returns, and can be taken; who sleeps
    /// in [`Store::ready`] may learn of it only from [`Store::ring`].
    fn push(&self, batch: Vec<NewTask>) -> BoxFuture<'_, Vec<Result<TaskId, Refusal>>>;

    /// Wakes whoever waits for what was pushed. Apart from `push`, so that many pushes can share one waking.
    fn ring(&self);

    /// Waits until there is something to take; `false` when the store is closed and there never will be.
    /// May be cancelled at any time.
    fn ready(&self) -> BoxFuture<'_, bool>;

    /// Leases up to `limit` of the tasks that are due, in the order of work; none if there are none.
    /// Must not be cancelled: a lease taken and dropped is a task that nobody runs.
    fn take(&self, limit: usize) -> BoxFuture<'_, Vec<Lease>>;

    /// Writes what became of leases. `false` for one whose token is not the current one: it changed nothing.
    fn settle(&self, batch: Vec<Settlement>) -> BoxFuture<'_, Vec<bool>>;

    /// How many tasks are where, all counted at one moment.
    fn counts(&self) -> BoxFuture<'_, Counts>;

    /// Accepts nothing any more; tasks that survive the process are not handed out any more either, and others
    /// are until none is due.
    fn close(&self);
}

/// The right to run one attempt of a task.
#[derive(Debug)]
pub struct Lease {
    pub task: Arc<Task>,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// Names this attempt among all others.
    pub token: Token,
}

/// Names one attempt; a settlement with an older one is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token(pub u64);

/// What became of a lease.
#[derive(Debug)]
pub struct Settlement {
    pub task: TaskId,
    pub token: Token,
    pub verdict: Verdict,
}

/// Where a task goes after an attempt.
#[derive(Debug)]
pub enum Verdict {
    /// It has ended with this result.
    Done(Bytes),
    /// It has ended with this error.
    Failed(String),
    /// It waits for another attempt, which may start after this long.
    Retry(Duration),
    /// It waits as before; the attempt does not count.
    Return,
}

impl Verdict {
    /// Whether the task has ended with it.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Done(_) | Self::Failed(_))
    }
}

/// How many tasks are where, all counted at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub ledger: Ledger,
    pub queues: BTreeMap<String, Depth>,
    /// How long the longest waiting of the due tasks has waited, in milliseconds; `null` when none is due.
    pub oldest_waiting_ms: Option<u64>,
}

/// The books: `accepted` is always the sum of all the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    pub accepted: u64,
    pub done: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub expired: u64,
    pub waiting: u64,
    /// Leased: about to run, running, or over and about to be settled.
    pub running: u64,
}

impl Ledger {
    /// What `accepted` has to be.
    pub fn sum(&self) -> u64 {
        self.ended() + self.waiting + self.running
    }

    /// The tasks that have ended, however.
    pub fn ended(&self) -> u64 {
        self.done + self.failed + self.cancelled + self.expired
    }
}

/// How many tasks of one queue have not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Depth {
    /// Waiting, and due.
    pub waiting: u64,
    /// Waiting for their time to come.
    pub delayed: u64,
    pub running: u64,
}

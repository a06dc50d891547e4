//! Where tasks survive: a handful of verbs, each on a batch.

mod wakeups;
mod index;
mod admin;
mod clock;
mod stats;
mod memory;
mod intern;
mod ready_queues;
mod options;
pub mod sqlite;
mod query;
mod view_parts;

use std::sync::Arc;
use std::time::Duration;

pub use admin::AdminCommand;
use bytes::Bytes;
pub use clock::{Clock, Now};
use framework_protocol::task::{NewTask, TaskId, TaskRecord, WaiterId};
use framework_protocol::views::{AdminResult, State};
use framework_protocol::{Durability, RequestError};
use futures_util::future::BoxFuture;
pub use memory::Memory;
pub use options::{Rate, StoreOptions, WorkerGroup};
pub use query::{Query, QueryResult};
pub use sqlite::Sqlite;
pub use stats::StoreStats;

/// Where tasks survive. Every verb takes a batch, and is atomic for each task of it.
///
/// A store knows what is where and never why: when to try again, how long to wait, whom to tell is decided by
/// the rooms of the server.
pub trait Store: Send + Sync + 'static {
    /// `memory`, `sqlite`, ..
    fn name(&self) -> &'static str;

    /// What an accepted task survives.
    fn durability(&self) -> Durability;

    /// Accepts tasks; each gets its id, in the order given, or is refused on its own. One whose `key` was seen
    /// within the window is the first one again, and nothing new.
    ///
    /// What is accepted is as durable as [`Store::durability`] says when this returns, and can be taken; who
    /// sleeps in [`Store::ready`] may learn of it only from [`Store::ring`].
    fn push(&self, batch: Vec<NewTask>) -> BoxFuture<'_, Vec<Result<Accepted, RequestError>>>;

    /// Wakes whoever waits for what was pushed. Apart from `push`, so that many pushes can share one waking.
    fn wake_workers(&self);

    /// Waits until there is something to take for this line of workers (its place in [`StoreOptions::lines`]);
    /// `false` when the store is closed and there never will be. May be cancelled at any time.
    fn ready(&self, line: usize) -> BoxFuture<'_, bool>;

    /// Leases up to `limit` of the line's tasks that are due, in the order of work; none if there are none.
    /// A lease ends after [`StoreOptions::lease`] unless it is renewed, and the task can be taken again.
    ///
    /// Must not be cancelled: a lease taken and dropped is a task that nobody runs.
    fn take(&self, line: usize, limit: usize) -> BoxFuture<'_, Vec<Lease>>;

    /// Prolongs leases by [`StoreOptions::lease`] from now; `false` for one that is not held any more.
    fn renew(&self, leases: Vec<(TaskId, LeaseToken)>) -> BoxFuture<'_, Vec<bool>>;

    /// Writes what became of leases. `false` for one whose token is not the current one: it changed nothing.
    /// What it wrote is durable soon: a crash before that runs the task again.
    fn settle(&self, batch: Vec<Settlement>) -> BoxFuture<'_, Vec<bool>>;

    /// Changes what is there on behalf of people; durable when this returns.
    fn apply(&self, change: AdminCommand) -> BoxFuture<'_, Result<AdminResult, RequestError>>;

    /// Waits for tasks that ended without an attempt of theirs: cancelled while they waited, expired, set aside
    /// because their process died. Each is told once, to one caller. May be cancelled at any time.
    fn next_terminated(&self) -> BoxFuture<'_, Vec<TerminatedTask>>;

    /// Answers a question about what is there; sees everything that happened before it was asked.
    fn query(&self, question: Query) -> BoxFuture<'_, Result<QueryResult, RequestError>>;

    /// How many tasks are where, all counted at one moment.
    fn counts(&self) -> BoxFuture<'_, StoreStats>;

    /// Writes what is still on its way to the disk; all that happened before is durable when this returns, as far
    /// as the disk lets it be.
    fn flush(&self) -> BoxFuture<'_, ()>;

    /// Accepts nothing any more; tasks that survive the process are not handed out any more either, and others
    /// are until none is due.
    fn close(&self);

    /// Lets another process have what survives this one, after [`Store::flush`]: nothing is locked any more when this
    /// returns, and whatever is asked, settled or changed from then on is refused or forgotten. Gives the waiting
    /// tasks that carry a ticket, which only this process knows of.
    fn unlock(&self) -> BoxFuture<'_, Vec<(TaskId, WaiterId)>>;
}

/// What a push came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    pub id: TaskId,
    /// `false`: a task with the same key was there already, and this is its id.
    pub is_new: bool,
}

/// The right to run one attempt of a task.
#[derive(Debug)]
pub struct Lease {
    pub task: Arc<TaskRecord>,
    /// 1 for the first attempt; those in which the process died count.
    pub attempt: u32,
    /// Names this attempt among all others.
    pub token: LeaseToken,
    /// Where the attempt is marked as running.
    pub mark: RunningMarker,
}

/// Where an attempt is marked as running, so that it is known after a crash which ones were.
#[derive(Debug, Default)]
pub struct RunningMarker(Option<(Arc<sqlite::RunningSlots>, u32, TaskId)>);

impl RunningMarker {
    /// Marks the attempt as running, from when it begins until it is settled: for the handlers of tasks that are
    /// only leased have not been called yet.
    pub fn begin(&self) {
        if let Some((slots, slot, id)) = &self.0 {
            slots.mark(*slot, *id);
        }
    }
}

/// Names one attempt; a settlement with an older one is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseToken(pub u64);

/// A task that ended without an attempt of its own.
#[derive(Debug)]
pub struct TerminatedTask {
    pub task: Arc<TaskRecord>,
    /// A terminal one.
    pub state: State,
    /// Why, for people.
    pub error: String,
}

/// What became of a lease.
#[derive(Debug)]
pub struct Settlement {
    pub task: TaskId,
    pub token: LeaseToken,
    pub disposition: Disposition,
    /// When the attempt began, in milliseconds since 1970, and how long it took.
    pub started_ms: u64,
    pub ran: Duration,
    /// Tasks to accept together with this end: either both are written, or neither. Empty unless it is done.
    pub follow: Vec<NewTask>,
}

/// Where a task goes after an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// It has ended with this result.
    Done(Bytes),
    /// It has ended with this error.
    Failed(String),
    /// It has ended because somebody cancelled it while it ran.
    Cancelled,
    /// The attempt failed with this error, and the task waits for another one, which may start after the pause.
    Retry { pause: Duration, error: String },
    /// It waits as before; the attempt does not count.
    Requeue,
}

impl Disposition {
    /// Whether the task has ended with it.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Done(_) | Self::Failed(_) | Self::Cancelled)
    }
}

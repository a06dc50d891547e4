//! The stores, where accepted tasks are kept until they have ended, and for a while after.

mod admin;
mod changes;
mod clock;
pub mod durable;
mod due_heap;
mod failure_groups;
pub mod fake_journal;
mod figure_history;
mod idempotency;
mod index;
mod kinds;
mod memory;
mod options;
mod query;
mod ready_queues;
mod refusals;
mod retention;
mod running_marks;
pub mod sqlite;
mod stats;
mod view_parts;
mod wakeups;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

pub use admin::AdminCommand;
use bytes::Bytes;
pub use clock::{Clock, Now};
use framework_protocol::task::{NewTask, TaskId, TaskRecord};
use framework_protocol::views::{AdminResult, BatchInfo, State};
use framework_protocol::{Durability, RequestError};
use futures_util::future::BoxFuture;
pub use kinds::{StoreEntry, StoreInUse, StoreKind, StoreLocation, store_kind};
pub use memory::Memory;
pub use options::{Rate, RemoteScope, StoreOptions, WorkerGroup};
pub use query::{BacklogPlace, PlannedSelection, Query, QueryResult, QueueBacklog};
use running_marks::RunningMarker;
pub use sqlite::Sqlite;
pub use stats::{DiskFigures, StoreFigures, StoreStats};

/// The attempts of a task that are kept in its history: the first ones, and the last ones before the latest.
pub const FIRST_ATTEMPTS: u32 = 10;
pub const LAST_ATTEMPTS: u32 = 40;

/// The place where tasks are kept. Every verb takes a batch, and is atomic for each task of it.
///
/// A store knows where each task is and never why: retries, pauses, chains and replies are decided by its
/// callers, and events that arise within it (the end of a batch, a lost attempt) by the [`Rules`] it was
/// opened with.
pub trait Store: Send + Sync + 'static {
    /// The name of the kind of store, such as `memory` or `sqlite`.
    fn name(&self) -> &'static str;

    /// The failures that an accepted task survives.
    fn durability(&self) -> Durability;

    /// Accepts tasks; each gets its id, in the order given, or is refused on its own. A task whose function
    /// and `key` an earlier one had is not accepted again: it gets the id of that, or is refused when its
    /// arguments are others. A key is remembered for the window, and as long as its task is kept.
    ///
    /// Accepted tasks are as durable as [`Store::durability`] says when this returns, and can be taken;
    /// callers that sleep in [`Store::ready`] may be woken only by [`Store::wake_workers`].
    fn push(&self, tasks: Vec<NewTask>) -> BoxFuture<'_, Vec<Result<Accepted, RequestError>>> {
        self.push_observed(tasks, Box::new(|_| ()))
    }

    /// Accepts tasks as [`Store::push`] does, and calls `on_accepted` with the ids before any of the tasks
    /// can be taken, so that a caller can register for their ends without missing one. It is dropped when
    /// none is accepted.
    fn push_observed(
        &self,
        tasks: Vec<NewTask>,
        on_accepted: OnAccepted,
    ) -> BoxFuture<'_, Vec<Result<Accepted, RequestError>>>;

    /// Wakes the callers that wait for pushed tasks. Apart from `push`, so that many pushes can share one
    /// wakeup.
    fn wake_workers(&self);

    /// Waits until there is something to take for a group of workers (its index in [`StoreOptions::groups`]);
    /// `false` when the store is closed and there never will be. May be cancelled at any time.
    fn ready(&self, group: usize) -> BoxFuture<'_, bool>;

    /// Leases up to `limit` due tasks of the group, in the order of work; none if there are none. A lease
    /// that is not renewed within [`StoreOptions::lease`] ends at the next [`Store::renew`], and the task can
    /// be taken again.
    ///
    /// Must not be cancelled: a lease taken and dropped is a task that nobody runs.
    fn take(&self, group: usize, limit: usize) -> BoxFuture<'_, Vec<Lease>>;

    /// Waits likewise for a task within one of these scopes, whose functions are not among
    /// [`StoreOptions::local_functions`].
    fn ready_remote(&self, scopes: Arc<[RemoteScope]>) -> BoxFuture<'_, bool>;

    /// Leases likewise up to `limit` due tasks within the scope. The end of the process is no crash of
    /// theirs: [`Lease::begin`] has no effect, and assigning it to a worker has it outlive the process.
    fn take_remote(&self, scope: &RemoteScope, limit: usize) -> BoxFuture<'_, Vec<Lease>>;

    /// Leases one waiting task within the scope, whether it is due or not; `None` when it does not wait, or
    /// may not run beside others of its concurrency key. Must not be cancelled either.
    fn take_task<'a>(&'a self, id: TaskId, scope: &'a RemoteScope) -> BoxFuture<'a, Option<Lease>>;

    /// Notes what is run elsewhere at the moment: all tasks that are not within these scopes, and whose
    /// functions are not among [`StoreOptions::local_functions`], count as parked.
    fn serve_remote(&self, scopes: Vec<RemoteScope>);

    /// The leases that were assigned to workers elsewhere when an earlier process ended,
    /// each once. They are held, and have to be renewed, like any other. A store that does not survive its
    /// process has none.
    fn take_inherited(&self) -> Vec<InheritedLease> {
        Vec::new()
    }

    /// Prolongs leases by [`StoreOptions::lease`] from now, and then ends all that were not renewed in time;
    /// `false` for one that is not held any more.
    ///
    /// Whoever holds leases calls this at least twice within the duration of one, also when it holds none at
    /// the moment. A process that stood still, and renews all of its own when it goes on, loses none.
    fn renew(&self, leases: Vec<(TaskId, LeaseToken)>) -> BoxFuture<'_, Vec<bool>>;

    /// Applies the dispositions of leased tasks, and accepts the tasks that follow them in the same
    /// transaction. `false` for one whose token is not the current one: it changed nothing.
    ///
    /// Settlements are durable soon after: a crash before that runs the task again.
    fn settle(&self, batch: Vec<Settlement>) -> BoxFuture<'_, Vec<bool>>;

    /// Carries out a command of administration; durable when this returns.
    ///
    /// Many tasks are changed in steps, by turns with pushes, and each step leaves all counts true:
    /// [`Query::Changes`] tells how far a change is, and [`AdminCommand::StopChange`] ends it. Tasks that are
    /// accepted after the call are not concerned. In a store that survives its process, the change goes on
    /// when this is dropped, and in the next process if this one dies.
    fn apply(&self, command: AdminCommand) -> BoxFuture<'_, Result<AdminResult, RequestError>>;

    /// Waits for tasks that ended without a settlement: cancelled while they waited, expired, or failed
    /// because their process died. Each is returned once, to one caller. May be cancelled at any time.
    fn next_terminated(&self) -> BoxFuture<'_, Vec<TerminatedTask>>;

    /// Answers a query, which sees everything that happened before it; of many tasks that expire together,
    /// some may end a little later.
    fn query(&self, query: Query) -> BoxFuture<'_, Result<QueryResult, RequestError>>;

    /// Counts the tasks by where they are, all at one moment.
    fn counts(&self) -> BoxFuture<'_, StoreStats>;

    /// The figures since the store was opened.
    fn figures(&self) -> BoxFuture<'_, StoreFigures>;

    /// Writes what is still on its way to the disk; all that happened before is durable when this returns, as
    /// far as the disk lets it be.
    fn flush(&self) -> BoxFuture<'_, ()>;

    /// Accepts nothing from now on. Tasks that survive the process are not leased any more either; others are
    /// until none is due.
    fn close(&self);

    /// Releases the lock on durable tasks for another process, after [`Store::flush`]. Later pushes,
    /// settlements and commands are refused or without effect.
    fn unlock(&self) -> BoxFuture<'_, ()>;
}

/// A callback for the accepted tasks of one push: each with its place in the pushed batch.
pub type OnAccepted = Box<dyn FnOnce(&mut dyn Iterator<Item = (usize, Accepted)>) + Send>;

/// The decisions about events that arise within a store, which applies them in the transaction of the event.
pub trait Rules: Debug + Send + Sync + 'static {
    /// The task that follows the end of a batch.
    fn batch_ended(&self, batch: &BatchInfo) -> Option<NewTask>;

    /// The fate of a task after its `crashes`th attempt whose end nobody saw, for this reason; `was_alone` if
    /// no other was running that can be the cause.
    fn attempt_lost(&self, crashes: u32, was_alone: bool, reason: &str) -> LostAttempt;

    /// The concurrency key of waiting tasks with so many crashes, and how many of these may run at once.
    fn crash_concurrency(&self, crashes: u32) -> Option<(&'static str, u32)>;
}

/// The fate of a task after an attempt whose end nobody saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LostAttempt {
    /// It waits for another attempt; the text is the error of the lost one.
    Retry(String),
    /// It has failed with this error.
    Failed(String),
}

/// The answer to an accepted push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    pub id: TaskId,
    /// The state of the earlier task with the same key, whose id this is then.
    pub duplicate: Option<State>,
}

impl Accepted {
    /// Whether it is a task of its own.
    pub fn is_new(&self) -> bool {
        self.duplicate.is_none()
    }
}

/// The right to run one attempt of a task.
#[derive(Debug)]
pub struct Lease {
    pub task: Arc<TaskRecord>,
    /// 1 for the first attempt; those in which the process died count.
    pub attempt: u32,
    /// Names this attempt among all others.
    pub token: LeaseToken,
    marker: RunningMarker,
}

impl Lease {
    /// A lease of a task that is in no store of this process.
    pub(crate) fn elsewhere(task: Arc<TaskRecord>, attempt: u32, token: LeaseToken) -> Self {
        Self { task, attempt, token, marker: RunningMarker::default() }
    }

    /// Notes that the attempt begins, until it is settled: should the process die from now on, it is counted
    /// as a crash of the task. A task that is only leased has not run.
    pub fn begin(&self) {
        if let Some((marks, slot)) = &self.marker.0 {
            marks.mark(*slot, self.task.id);
        }
    }

    /// Notes who runs the attempt elsewhere, and since when in milliseconds since 1970, until it is settled:
    /// should the process end before, the next one [inherits](Store::take_inherited) the lease. `false` where
    /// that cannot be noted; the task waits then.
    pub(crate) fn assign(&self, holder: &LeaseHolder, started_ms: u64) -> bool {
        let Some((marks, slot)) = &self.marker.0 else { return false };
        marks.assign(*slot, self.task.id, holder, started_ms)
    }
}

/// The worker elsewhere that runs an attempt, and the name by which it knows the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseHolder {
    /// The digest of a secret that only the worker knows.
    pub session: [u8; 16],
    /// The process that has given the lease, and its token there.
    pub epoch: u64,
    pub token: u64,
}

/// A lease of an earlier process, whose worker may still run the attempt.
#[derive(Debug)]
pub struct InheritedLease {
    pub lease: Lease,
    pub holder: LeaseHolder,
    /// When the attempt began, in milliseconds since 1970.
    pub started_ms: u64,
}

/// Names one attempt; a settlement with an older one is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseToken(pub u64);

/// A task that ended without a settlement.
#[derive(Debug)]
pub struct TerminatedTask {
    pub task: Arc<TaskRecord>,
    /// A terminal one.
    pub state: State,
    /// The reason, for people.
    pub error: String,
}

/// The end of a lease.
#[derive(Debug)]
pub struct Settlement {
    pub task: TaskId,
    pub token: LeaseToken,
    pub disposition: Disposition,
    /// The begin of the attempt in milliseconds since 1970, and its length.
    pub started_ms: u64,
    pub ran: Duration,
    /// The worker elsewhere that ran it; `None` for one of this process.
    pub worker: Option<Arc<str>>,
    /// Tasks to accept together with this end: either both are written, or neither. Ignored unless it is
    /// done.
    pub follow: Vec<NewTask>,
}

/// The place of a task after an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// It has ended with this result.
    Done(Bytes),
    /// It has ended with this error.
    Failed(String),
    /// It has ended because it was cancelled while it ran.
    Cancelled,
    /// The attempt failed with this error, and the task waits for another one, which may start after the
    /// pause.
    Retry { pause: Duration, error: String },
    /// It waits as before; the attempt does not count.
    Requeue,
    /// The attempt is over without a result, and counts; it is no failure.
    Release(Box<Release>),
    /// Nobody saw the end of the attempt, for this reason: it counts as a crash of the task, whose fate the
    /// [`Rules`] decide.
    Lost(String),
    /// It waits outside of its queue, because this process does not contain its function; the attempt does
    /// not count. A later process that recovers the task leases it again.
    Park,
}

impl Disposition {
    /// Whether the task has ended with it.
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::Done(_) | Self::Failed(_) | Self::Cancelled => true,
            Self::Release(release) => release.pause.is_none(),
            Self::Retry { .. } | Self::Requeue | Self::Lost(_) | Self::Park => false,
        }
    }
}

/// How a worker puts a task back that it could have finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// The reason, for the history of the task.
    pub reason: String,
    /// The time that it waits before the next attempt; with none it stands in front of those that came later.
    /// `None`: it has failed for the time being, and waits again once it is retried.
    pub pause: Option<Duration>,
    /// Its priority and its arguments from now on; `None`: as they are.
    pub revision: Option<(u8, Bytes)>,
    /// Whether it was an attempt at all; `false` for one that has a pause of zero and was only taken to be
    /// due at once.
    pub counts: bool,
}

#[cfg(test)]
mod tests;

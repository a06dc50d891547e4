//! A store in a SQLite file: acknowledged tasks survive the process, and a power cut.
//!
//! One thread writes. While it syncs a group to the disk, the next one gathers; when the sync is done, the
//! tasks of the group can be taken and every answer goes out. The order of work is in memory, as small as it
//! gets, and rebuilt by one scan at the start; the bodies of tasks are in memory too as long as there is
//! room, and otherwise read back when their turn comes. Ends of tasks are written with the next group, or by
//! themselves shortly after: a lost end means that its task runs again.

mod backlog;
mod query;
mod bulk_insert;
mod batch_counts;
mod chosen;
mod figure_history;
mod selection;
mod ended_tasks;
mod bulk_change;
mod admin;
mod bulk_steps;
mod queue_file;
mod queue_lock;
mod write_queue;
mod checkpoint;
mod commit_counts;
mod reserve;
mod log_check;
mod journal;
mod names;
mod ended_queue;
mod retention;
mod load;
mod inheritance;
mod recovery;
mod repair;
mod row;
mod schema;
mod takers;
mod running_slots;
mod open;
mod write_error;
mod writer;
mod release;

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use framework_protocol::task::{NewTask, TaskId};
use framework_protocol::views::AdminResult;
use framework_protocol::{Durability, ErrorCode, RequestError};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
pub use queue_file::{QueueFile, WaitingTask};
pub use repair::{LostRows, RepairReport, repair};
pub use running_slots::QueueLocked;
use rusqlite::Connection;

use self::commit_counts::CommitCounts;
use self::names::SharedNames;
use self::queue_lock::QueueLock;
use self::running_slots::RunningSlots;
use self::write_error::WriteError;
use self::write_queue::{CommandRequest, WriteQueue, WriteRequest};
use super::changes::RunningChanges;
use super::index::{TakeFrom, TaskIndex};
use super::wakeups::{WakeSet, Wakeups};
use super::{
    Accepted, AdminCommand, Clock, InheritedLease, Lease, LeaseToken, OnAccepted, Query, QueryResult,
    RemoteScope, Settlement, Store, StoreFigures, StoreStats, TerminatedTask,
};

/// A store in a SQLite file.
#[derive(Debug)]
pub struct Sqlite {
    shared: Arc<SqliteShared>,
    /// `None` once the store is unlocked.
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// The options of a file that is opened.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// The file; its folder is made if it is not there.
    pub file: PathBuf,
    /// [`Durability::Fsync`] or [`Durability::Async`].
    pub durability: Durability,
    pub clock: Clock,
    /// The name of a registered SQLite VFS to reach the file by, for tests; `None` is the file system. Then
    /// there is no lock, and no record of what was running.
    pub vfs: Option<String>,
}

impl SqliteOptions {
    /// A file, with every answer on the disk.
    pub fn at(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), durability: Durability::Fsync, clock: Clock::machine(), vfs: None }
    }
}

/// The parts that callers and the thread that writes share.
#[derive(Debug)]
struct SqliteShared {
    state: Mutex<SqliteState>,
    /// Wakes the thread that writes.
    work: Condvar,
    wakeups: Wakeups,
    clock: Clock,
    durability: Durability,
    names: SharedNames,
    /// Reads the bodies of taken tasks.
    reader: Mutex<Connection>,
    /// Answers queries, which may take long.
    queries: Mutex<Connection>,
    slots: Option<Arc<RunningSlots>>,
    commits: CommitCounts,
    /// The last field, because it has to be dropped last.
    lock: Option<QueueLock>,
}

/// The index, and the requests on their way to the disk.
#[derive(Debug)]
struct SqliteState {
    index: TaskIndex,
    write_queue: WriteQueue,
    /// The number of pushed tasks that are on their way to the disk.
    arriving: usize,
    changes: RunningChanges,
    write_error: Option<WriteError>,
    /// What was found at the start, and what fails at present without stopping anything.
    damage: Option<String>,
    checkpoint_error: Option<String>,
    /// The slots in which no attempt is marked as running, here and elsewhere.
    free_slots: Vec<u32>,
    free_remote_slots: Vec<u32>,
    /// The leases of the last process that nobody has asked for yet.
    inherited: Vec<InheritedLease>,
    /// When an error of reading was logged last.
    read_error: Duration,
}

impl Sqlite {
    /// Asks the thread that writes to write the requests on their way and to end; `None` if it was asked
    /// before.
    fn stop(&self) -> Option<JoinHandle<()>> {
        self.shared.state().write_queue.stop();
        self.shared.work.notify_one();
        self.writer.lock().expect("no one panics while holding the thread").take()
    }
}

impl Drop for Sqlite {
    /// Writes the requests on their way, as far as the disk lets them be.
    fn drop(&mut self) {
        let _ = self.stop().map(JoinHandle::join);
    }
}

fn closed() -> RequestError {
    RequestError::new(ErrorCode::ShuttingDown, "The store is closed.")
}

impl Store for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn durability(&self) -> Durability {
        self.shared.durability
    }

    fn push_observed(
        &self,
        tasks: Vec<NewTask>,
        on_accepted: OnAccepted,
    ) -> BoxFuture<'_, Vec<Result<Accepted, RequestError>>> {
        self.shared.push(tasks, on_accepted).boxed()
    }

    /// Without effect: the thread that writes wakes them itself, when a group is on the disk.
    fn wake_workers(&self) {}

    fn ready(&self, group: usize) -> BoxFuture<'_, bool> {
        let look = move || self.shared.look(TakeFrom::Group(group));
        self.shared.wakeups.wait(group, look).boxed()
    }

    fn take(&self, group: usize, limit: usize) -> BoxFuture<'_, Vec<Lease>> {
        std::future::ready(self.shared.take(TakeFrom::Group(group), limit)).boxed()
    }

    fn ready_remote(&self, scopes: Arc<[RemoteScope]>) -> BoxFuture<'_, bool> {
        let look = move || self.shared.look(TakeFrom::Elsewhere(&scopes));
        self.shared.wakeups.wait(WakeSet::REMOTE, look).boxed()
    }

    fn take_remote(&self, scope: &RemoteScope, limit: usize) -> BoxFuture<'_, Vec<Lease>> {
        std::future::ready(self.shared.take(TakeFrom::Elsewhere(std::slice::from_ref(scope)), limit)).boxed()
    }

    fn take_task<'a>(&'a self, id: TaskId, scope: &'a RemoteScope) -> BoxFuture<'a, Option<Lease>> {
        std::future::ready(self.shared.take_task(id, scope)).boxed()
    }

    fn take_inherited(&self) -> Vec<InheritedLease> {
        std::mem::take(&mut self.shared.state().inherited)
    }

    fn serve_remote(&self, scopes: Vec<RemoteScope>) {
        self.shared.state().index.order().serve(scopes);
    }

    fn renew(&self, leases: Vec<(TaskId, LeaseToken)>) -> BoxFuture<'_, Vec<bool>> {
        std::future::ready(self.shared.renew(leases)).boxed()
    }

    fn settle(&self, batch: Vec<Settlement>) -> BoxFuture<'_, Vec<bool>> {
        std::future::ready(self.shared.settle(batch)).boxed()
    }

    fn next_terminated(&self) -> BoxFuture<'_, Vec<TerminatedTask>> {
        let look = move || {
            let now = self.shared.clock.now();
            let mut state = self.shared.state();
            state.wake(now);
            let terminated = state.index.terminated();
            let found =
                if terminated.is_empty() { Err(state.index.next_expiry(now)) } else { Ok(terminated) };
            self.shared.unlock_and_wake(state);
            found
        };
        self.shared.wakeups.wait(WakeSet::TERMINATED, look).boxed()
    }

    fn apply(&self, command: AdminCommand) -> BoxFuture<'_, Result<AdminResult, RequestError>> {
        if let AdminCommand::StopChange(id) = command {
            let stopped = self.shared.state().changes.stop(id);
            return std::future::ready(stopped.map(|()| AdminResult::Done)).boxed();
        }
        let closes = command.closes();
        let close = move |index: &mut TaskIndex| {
            closes.into_iter().for_each(|batch| index.batches().set_closing(batch, true));
        };
        let request = |answer| WriteRequest::Command(CommandRequest { command, answer });
        let result = self.shared.request_with(request, close);
        async { result.await.unwrap_or_else(|| Err(closed())) }.boxed()
    }

    fn query(&self, query: Query) -> BoxFuture<'_, Result<QueryResult, RequestError>> {
        let shared = self.shared.clone();
        async move {
            // All that happened before is on the disk then, where the answer is read.
            shared.request(WriteRequest::Barrier).await;
            let read = move || shared.query(query);
            tokio::task::spawn_blocking(read).await.unwrap_or_else(|_| Err(closed()))
        }
        .boxed()
    }

    fn counts(&self) -> BoxFuture<'_, StoreStats> {
        std::future::ready(self.shared.counts()).boxed()
    }

    fn figures(&self) -> BoxFuture<'_, StoreFigures> {
        let shared = self.shared.clone();
        // It asks the file system.
        let read = tokio::task::spawn_blocking(move || shared.figures());
        async { read.await.unwrap_or_default() }.boxed()
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        self.shared.request(WriteRequest::Barrier).map(drop).boxed()
    }

    fn close(&self) {
        self.shared.state().index.close();
        self.shared.wakeups.notify_all();
    }

    fn unlock(&self) -> BoxFuture<'_, ()> {
        async {
            if let Some(writer) = self.stop() {
                let _ = tokio::task::spawn_blocking(|| writer.join()).await;
            }
            // Callers that wait for what a broken disk did not take are answered by that.
            self.shared.state().write_queue.clear();
            if let Some(slots) = &self.shared.slots {
                slots.release();
            }
            if let Some(lock) = &self.shared.lock {
                lock.release();
            }
        }
        .boxed()
    }
}

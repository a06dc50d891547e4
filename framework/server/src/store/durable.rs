//! A store whose acknowledged tasks survive the process, over any [`Journal`].
//!
//! One thread writes. While the journal takes a group, the next one gathers; when it is written, the tasks of
//! the group can be taken and every answer goes out. The order of work is in memory, as small as it gets, and
//! rebuilt from the journal at the start; the bodies of tasks are in memory too as long as there is room, and
//! otherwise read back when their turn comes. Ends of tasks are written with the next group, or by themselves
//! shortly after: a lost end means that its task runs again.

mod admin;
mod bulk_change;
mod bulk_steps;
mod commit_counts;
mod doubt;
mod ended_queue;
mod free_slots;
mod inheritance;
pub mod journal;
mod outage;
mod queries;
mod slow_queries;
mod recovery;
mod release;
mod retention;
mod start;
mod takers;
mod write_queue;
mod writer;

use std::marker::PhantomData;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

pub use ended_queue::ExpiringRow;
use framework_protocol::task::{NewTask, TaskId};
use framework_protocol::views::AdminResult;
use framework_protocol::{Durability, ErrorCode, RequestError};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
pub use retention::count_in;

use self::commit_counts::CommitCounts;
use self::free_slots::FreeSlots;
use self::journal::{Journal, JournalReader};
use self::outage::Outage;
use self::slow_queries::SlowQueries;
use self::write_queue::{CommandRequest, WriteQueue, WriteRequest};
use super::changes::RunningChanges;
use super::index::{TakeFrom, TaskIndex};
use super::running_marks::RunningMarks;
use super::wakeups::{WakeSet, Wakeups};
use super::{
    Accepted, AdminCommand, Clock, InheritedLease, Lease, LeaseToken, OnAccepted, Query, QueryResult,
    RemoteScope, Settlement, Store, StoreFigures, StoreStats, TerminatedTask,
};

/// A store over a journal.
#[derive(Debug)]
pub struct DurableStore<J: Journal> {
    shared: Arc<DurableShared<J::Reader>>,
    /// `None` once the store is unlocked.
    writer: Mutex<Option<JoinHandle<()>>>,
    journal: PhantomData<fn() -> J>,
}

/// The parts that callers and the thread that writes share.
#[derive(Debug)]
struct DurableShared<R> {
    state: Mutex<DurableState>,
    /// Wakes the thread that writes.
    work: Condvar,
    wakeups: Wakeups,
    clock: Clock,
    durability: Durability,
    marks: Option<Arc<dyn RunningMarks>>,
    commits: CommitCounts,
    slow_queries: SlowQueries,
    reader: R,
}

/// The index, and the requests on their way to the journal.
#[derive(Debug)]
struct DurableState {
    index: TaskIndex,
    write_queue: WriteQueue,
    /// The number of pushed tasks that are on their way to the journal.
    arriving: usize,
    changes: RunningChanges,
    outage: Option<Outage>,
    /// What was found at the start, and what fails at present without stopping anything.
    damage: Option<String>,
    warning: Option<String>,
    /// The slots in which no attempt is marked as running.
    free_slots: FreeSlots,
    /// The leases of the last process that nobody has asked for yet.
    inherited: Vec<InheritedLease>,
    /// When an error of reading was logged last.
    read_error: Duration,
}

impl<J: Journal> DurableStore<J> {
    /// Asks the thread that writes to write the requests on their way and to end; `None` if it was asked
    /// before.
    fn stop(&self) -> Option<JoinHandle<()>> {
        self.shared.state().write_queue.stop();
        self.shared.work.notify_one();
        self.writer.lock().expect("no one panics while holding the thread").take()
    }
}

impl<J: Journal> Drop for DurableStore<J> {
    /// Writes the requests on their way, as far as the journal lets them be.
    fn drop(&mut self) {
        let _ = self.stop().map(JoinHandle::join);
    }
}

fn closed() -> RequestError {
    RequestError::new(ErrorCode::ShuttingDown, "The store is closed.")
}

impl<J: Journal> Store for DurableStore<J> {
    fn name(&self) -> &'static str {
        J::NAME
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

    /// Without effect: the thread that writes wakes them itself, when a group is written.
    fn wake_workers(&self) {}

    fn ready(&self, group: usize) -> BoxFuture<'_, bool> {
        let look = move || self.shared.look(TakeFrom::Group(group));
        self.shared.wakeups.wait(group, look).boxed()
    }

    fn take(&self, group: usize, limit: usize) -> BoxFuture<'_, Vec<Lease>> {
        self.shared.take(TakeFrom::Group(group), limit)
    }

    fn ready_remote(&self, scopes: Arc<[RemoteScope]>) -> BoxFuture<'_, bool> {
        let look = move || self.shared.look(TakeFrom::Elsewhere(&scopes));
        self.shared.wakeups.wait(WakeSet::REMOTE, look).boxed()
    }

    fn take_remote(&self, scope: &RemoteScope, limit: usize) -> BoxFuture<'_, Vec<Lease>> {
        self.shared.take(TakeFrom::Elsewhere(std::slice::from_ref(scope)), limit)
    }

    fn take_task<'a>(&'a self, id: TaskId, scope: &'a RemoteScope) -> BoxFuture<'a, Option<Lease>> {
        self.shared.take_task(id, scope).map(|mut leases| leases.pop()).boxed()
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
        async move {
            // All that happened before is in the journal then, where the answer is read.
            self.shared.request(WriteRequest::Barrier).await;
            self.shared.query(query).await
        }
        .boxed()
    }

    fn counts(&self) -> BoxFuture<'_, StoreStats> {
        self.shared.counts().boxed()
    }

    fn figures(&self) -> BoxFuture<'_, StoreFigures> {
        let shared = self.shared.clone();
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
            // Callers that wait for what a broken journal did not take are answered by that.
            self.shared.state().write_queue.clear();
            let shared = self.shared.clone();
            let _ = tokio::task::spawn_blocking(move || shared.reader.release()).await;
        }
        .boxed()
    }
}

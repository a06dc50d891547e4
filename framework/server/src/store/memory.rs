//! Tasks in memory: as fast as it gets, and gone with the process.

mod history;

use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use framework_protocol::task::{Handlers, NewTask, TaskId, TaskRecord, WaiterId};
use framework_protocol::views::{AdminResult, Cancelled, State, TaskSelector};
use framework_protocol::{Durability, RequestError};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rustc_hash::FxHashSet;

use self::history::History;
pub(super) use self::history::{conflict, no_task, queues};
use super::index::{Insertion, Record, TaskIndex};
use super::wakeups::{WakeSet, Wakeups};
use super::{
    Accepted, AdminCommand, Clock, Lease, LeaseToken, Now, Query, QueryResult, RunningMarker, Settlement,
    Store, StoreOptions, StoreStats, TerminatedTask,
};

/// A store that lasts as long as the process.
#[derive(Debug)]
pub struct Memory {
    clock: Clock,
    handlers: Arc<Handlers>,
    state: Mutex<MemoryState>,
    wakeups: Wakeups,
}

/// The books with all that is kept beside them.
#[derive(Debug)]
struct MemoryState {
    index: TaskIndex,
    archive: History,
    next_id: TaskId,
}

impl Memory {
    /// An empty store.
    pub fn new(policy: StoreOptions, handlers: Arc<Handlers>, clock: Clock) -> Self {
        let wakeups = Wakeups::new(policy.groups.len());
        let archive = History::new(&policy);
        let state =
            Mutex::new(MemoryState { index: TaskIndex::new(policy, usize::MAX), archive, next_id: 0 });
        Self { clock, handlers, state, wakeups }
    }

    fn state(&self) -> MutexGuard<'_, MemoryState> {
        self.state.lock().expect("no one panics while holding the books")
    }

    fn push_now(&self, batch: Vec<NewTask>) -> Vec<Result<Accepted, RequestError>> {
        let (now, at) = (self.clock.now(), Instant::now());
        // All that needs no lock is done before taking it.
        let tasks: Vec<_> =
            batch.into_iter().map(|new| Arc::new(TaskRecord::new(0, new, at, now.wall_ms))).collect();
        let mut state = self.state();
        tasks.into_iter().map(|task| state.accept(task, now)).collect()
    }

    fn take_now(&self, line: usize, limit: usize) -> Vec<Lease> {
        let now = self.clock.now();
        let mut state = self.state();
        state.wake(now);
        let taken = state.index.take(line, limit, now);
        // Each taker wakes the next one, so that one push does not wake them all for nothing.
        let wake_set = if state.index.is_due(line, now) { WakeSet::line(line) } else { WakeSet::default() };
        drop(state);
        self.wakeups.notify(wake_set);
        let lease = |taken: super::index::TakenTasks| {
            let task = taken.task?;
            Some(Lease {
                attempt: task.attempts() + 1,
                token: taken.token,
                mark: RunningMarker::default(),
                task,
            })
        };
        taken.into_iter().filter_map(lease).collect()
    }

    fn settle_now(&self, batch: Vec<Settlement>) -> Vec<bool> {
        let now = self.clock.now();
        let mut records = Vec::new();
        let mut state = self.state();
        let (settled, leftovers) = state.index.settle(batch, &self.handlers, now, &mut records);
        let gone = state.file(records, now);
        let wake_set = state.index.wake_set(now);
        drop(state);
        self.wakeups.notify(wake_set);
        // The last reference to a task frees it: outside of the lock.
        drop((leftovers, gone));
        settled
    }

    fn change_now(&self, change: AdminCommand) -> Result<AdminResult, RequestError> {
        let now = self.clock.now();
        let mut state = self.state();
        let changed = state.change(change, &self.handlers, now);
        let wake_set = state.index.wake_set(now);
        drop(state);
        self.wakeups.notify(wake_set);
        changed
    }
}

impl MemoryState {
    fn accept(&mut self, mut task: Arc<TaskRecord>, now: Now) -> Result<Accepted, RequestError> {
        if let Some(id) = self.archive.known(&task.new, now) {
            return Ok(Accepted { id, is_new: false });
        }
        self.index.check_capacity(&task.new, 0)?;
        let id = self.next_id;
        self.next_id += 1;
        Arc::get_mut(&mut task).expect("nobody else has seen the task").id = id;
        self.archive.remember(&task.new, id, now);
        let arrival = self.index.new_insertion(task, now);
        self.index.count(arrival);
        Ok(Accepted { id, is_new: true })
    }

    /// Moves on with the time.
    fn wake(&mut self, now: Now) {
        let mut records = Vec::new();
        let expired = self.index.wake(now, &mut records);
        if !expired.is_empty() {
            let ids = expired.into_iter().collect();
            self.terminate(&ids, State::Expired, "Nobody started it in time.", true, now, &mut records);
        }
        if !records.is_empty() {
            drop(self.file(records, now));
        }
    }

    /// Ends waiting tasks; how many of these there were.
    fn terminate(
        &mut self,
        ids: &FxHashSet<TaskId>,
        state: State,
        error: &str,
        keep: bool,
        now: Now,
        records: &mut Vec<Record>,
    ) -> u64 {
        let withdrawn = self.index.remove_waiting(ids);
        let count = withdrawn.len() as u64;
        for task in withdrawn.into_iter().filter_map(|waiting| waiting.task) {
            self.index.terminate(task, state, error, keep, now, records);
        }
        self.index.note_batches(now, records);
        count
    }

    /// Puts away what has happened; gives what nobody needs any more.
    fn file(&mut self, records: Vec<Record>, now: Now) -> Vec<Arc<TaskRecord>> {
        let mut gone = Vec::new();
        for record in records {
            match record {
                Record::Ended(ended) => self.archive.keep(ended, &mut gone),
                Record::Retry { task, run, error, .. } => self.archive.note(task.id, run, error),
                Record::Batch(story) => self.archive.batch(story),
                Record::Follow(follow) => {
                    let task = TaskRecord::new(self.next_id, follow.new, Instant::now(), now.wall_ms);
                    self.next_id += 1;
                    if let Some(batch) = follow.completes {
                        self.archive.complete(batch, task.id);
                    }
                    let arrival: Insertion = self.index.new_insertion(Arc::new(task), now);
                    self.index.count(arrival);
                }
            }
        }
        self.archive.trim(now, &mut gone);
        gone
    }

    fn change(
        &mut self,
        change: AdminCommand,
        handlers: &Handlers,
        now: Now,
    ) -> Result<AdminResult, RequestError> {
        self.wake(now);
        let mut records = Vec::new();
        let changed = match change {
            AdminCommand::Cancel(target) => self.cancel(&target, now, &mut records),
            AdminCommand::Retry(target) => self.retry(&target, now),
            AdminCommand::Forget(target) => self.archive.forget(&target, &self.index).map(AdminResult::Tasks),
            AdminCommand::Flush { queue } => {
                let ids = self.index.waiting_ids(queue.as_deref()).into_iter().collect();
                let count = self.terminate(
                    &ids,
                    State::Cancelled,
                    "The queue was flushed.",
                    false,
                    now,
                    &mut records,
                );
                Ok(AdminResult::Tasks(count))
            }
            AdminCommand::Pause { queue, paused } => {
                let known = self.index.order().known(&queue);
                let queue = known.map_or_else(|| handlers.queue(&queue), Ok)?;
                self.index.order().pause(queue, paused);
                Ok(AdminResult::Done)
            }
            AdminCommand::OpenBatch { name, function, then } => {
                let story = self.index.batches().open(name, function, then, now.wall_ms);
                Ok(AdminResult::Batch(story.id))
            }
            AdminCommand::SealBatch(id) => self.index.seal(id, now, &mut records).map(|()| AdminResult::Done),
            AdminCommand::Schedule { name, note } => {
                self.archive.schedule(name, note);
                Ok(AdminResult::Done)
            }
        };
        drop(self.file(records, now));
        changed
    }

    fn cancel(
        &mut self,
        target: &TaskSelector,
        now: Now,
        records: &mut Vec<Record>,
    ) -> Result<AdminResult, RequestError> {
        const WHY: &str = "It was cancelled before it ran.";
        match target {
            TaskSelector::Task(id) => {
                if let Some(cancelled) = self.index.cancel_running(*id) {
                    return Ok(AdminResult::Cancelled(cancelled));
                }
                let ids = std::iter::once(*id).collect();
                match self.terminate(&ids, State::Cancelled, WHY, true, now, records) {
                    0 => Err(self.archive.has_ended(*id)),
                    _ => Ok(AdminResult::Cancelled(Cancelled::AtOnce)),
                }
            }
            TaskSelector::Batch(batch) => {
                if self.index.batches().get(*batch).is_none() {
                    return Err(self.archive.batch_has_ended(*batch));
                }
                let of_batch = |task: Option<&Arc<TaskRecord>>| {
                    task.is_some_and(|task| task.new.batch() == Some(*batch))
                };
                let running = self.index.running().filter(|(_, task)| of_batch(*task));
                let running: Vec<_> = running.map(|(id, _)| id).collect();
                let waiting = self.index.iter().filter(|(_, task, ..)| of_batch(*task));
                let waiting = waiting.map(|(id, ..)| id).collect();
                let asked = running.iter().filter_map(|id| self.index.cancel_running(*id)).count();
                self.index.batches().give_up(*batch);
                let ended = self.terminate(&waiting, State::Cancelled, WHY, true, now, records);
                Ok(AdminResult::Tasks(ended + asked as u64))
            }
            TaskSelector::Failed { .. } => Err(nothing_to_cancel()),
        }
    }

    fn retry(&mut self, target: &TaskSelector, now: Now) -> Result<AdminResult, RequestError> {
        let again = self.archive.take_back(target, &self.index)?;
        let count = again.len() as u64;
        self.index.restore(again, now);
        Ok(AdminResult::Tasks(count))
    }
}

pub(super) fn nothing_to_cancel() -> RequestError {
    RequestError::bad_request("Failed tasks have ended: there is nothing to cancel.")
}

impl Store for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn durability(&self) -> Durability {
        Durability::Memory
    }

    fn push(&self, batch: Vec<NewTask>) -> BoxFuture<'_, Vec<Result<Accepted, RequestError>>> {
        ready(self.push_now(batch)).boxed()
    }

    fn wake_workers(&self) {
        let now = self.clock.now();
        let wake_set = self.state().index.wake_set(now);
        self.wakeups.notify(wake_set);
    }

    fn ready(&self, line: usize) -> BoxFuture<'_, bool> {
        let look = move || {
            let now = self.clock.now();
            let mut state = self.state();
            state.wake(now);
            match state.index.is_due(line, now) {
                true => Ok(true),
                false if state.index.is_closed() => Ok(false),
                false => Err(state.index.next_due(line, now)),
            }
        };
        self.wakeups.wait(line, look).boxed()
    }

    fn take(&self, line: usize, limit: usize) -> BoxFuture<'_, Vec<Lease>> {
        ready(self.take_now(line, limit)).boxed()
    }

    fn renew(&self, leases: Vec<(TaskId, LeaseToken)>) -> BoxFuture<'_, Vec<bool>> {
        let now = self.clock.now();
        let mut state = self.state();
        ready(leases.into_iter().map(|(id, token)| state.index.renew(id, token, now)).collect()).boxed()
    }

    fn settle(&self, batch: Vec<Settlement>) -> BoxFuture<'_, Vec<bool>> {
        ready(self.settle_now(batch)).boxed()
    }

    fn next_terminated(&self) -> BoxFuture<'_, Vec<TerminatedTask>> {
        let look = move || {
            let now = self.clock.now();
            let mut state = self.state();
            state.wake(now);
            let departed = state.index.terminated();
            match departed.is_empty() {
                true => Err(state.index.next_expiry(now)),
                false => Ok(departed),
            }
        };
        self.wakeups.wait_terminated(look).boxed()
    }

    fn apply(&self, change: AdminCommand) -> BoxFuture<'_, Result<AdminResult, RequestError>> {
        ready(self.change_now(change)).boxed()
    }

    fn query(&self, question: Query) -> BoxFuture<'_, Result<QueryResult, RequestError>> {
        let now = self.clock.now();
        let mut state = self.state();
        state.wake(now);
        let MemoryState { index, archive, .. } = &mut *state;
        ready(Ok(archive.query(question, index, now))).boxed()
    }

    fn counts(&self) -> BoxFuture<'_, StoreStats> {
        let now = self.clock.now();
        let mut state = self.state();
        state.wake(now);
        let mut counts = state.index.counts();
        let oldest = state.index.oldest().and_then(|(_, task)| task);
        counts.oldest_waiting_ms = oldest.map(|task| now.wall_ms.saturating_sub(task.accepted_ms));
        ready(counts).boxed()
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }

    fn close(&self) {
        self.state().index.close();
        self.wakeups.notify_all();
    }

    /// Nothing survives this process, and nobody can have it.
    fn unlock(&self) -> BoxFuture<'_, Vec<(TaskId, WaiterId)>> {
        std::future::ready(Vec::new()).boxed()
    }
}

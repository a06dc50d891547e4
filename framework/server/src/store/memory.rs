//! A store in memory, whose tasks end with the process.

mod history;

use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use framework_protocol::task::{NewTask, TaskId, TaskRecord};
use framework_protocol::views::{AdminResult, Cancelled, State, TaskSelector};
use framework_protocol::{Durability, RequestError};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rustc_hash::FxHashSet;

use self::history::History;
pub(super) use self::history::{conflict, no_task, queues};
use super::index::{Record, TakenTask, TaskIndex};
use super::wakeups::{WakeSet, Wakeups};
use super::{
    Accepted, AdminCommand, Clock, Lease, LeaseToken, Now, OnAccepted, Query, QueryResult, Rules,
    RunningMarker, Settlement, Store, StoreOptions, StoreStats, TerminatedTask,
};

/// A store that lasts as long as the process.
#[derive(Debug)]
pub struct Memory {
    clock: Clock,
    state: Mutex<MemoryState>,
    wakeups: Wakeups,
}

/// The index, and the ended tasks.
#[derive(Debug)]
struct MemoryState {
    index: TaskIndex,
    history: History,
    next_id: TaskId,
}

impl Memory {
    /// An empty store.
    pub fn new(options: StoreOptions, rules: Arc<dyn Rules>, clock: Clock) -> Self {
        let wakeups = Wakeups::new(options.groups.len());
        let history = History::new(&options);
        let index = TaskIndex::new(options, usize::MAX, rules);
        Self { clock, state: Mutex::new(MemoryState { index, history, next_id: 0 }), wakeups }
    }

    fn state(&self) -> MutexGuard<'_, MemoryState> {
        self.state.lock().expect("no one panics while holding the state")
    }

    fn push_now(&self, tasks: Vec<NewTask>, on_accepted: OnAccepted) -> Vec<Result<Accepted, RequestError>> {
        let (now, at) = (self.clock.now(), Instant::now());
        // All that needs no lock is done before taking it.
        let tasks: Vec<_> =
            tasks.into_iter().map(|new| Arc::new(TaskRecord::new(0, new, at, now.wall_ms))).collect();
        let mut state = self.state();
        let results: Vec<_> = tasks.into_iter().map(|task| state.accept(task, now)).collect();
        // Within the lock, before the tasks can be taken.
        let accepted = results.iter().enumerate();
        let mut accepted = accepted.filter_map(|(place, result)| Some((place, *result.as_ref().ok()?)));
        if accepted.clone().next().is_some() {
            on_accepted(&mut accepted);
        }
        drop(state);
        results
    }

    fn take_now(&self, group: usize, limit: usize) -> Vec<Lease> {
        let now = self.clock.now();
        let mut state = self.state();
        state.wake(now);
        let taken = state.index.take(group, limit, now);
        // Each worker wakes the next one, so that one push does not wake them all for nothing.
        let is_due = state.index.is_due(group, now);
        let wake_set = if is_due { WakeSet::group(group) } else { WakeSet::default() };
        drop(state);
        self.wakeups.notify(wake_set);
        let lease = |taken: TakenTask| {
            let (task, marker) = (taken.task?, RunningMarker::default());
            Some(Lease { attempt: task.attempts() + 1, token: taken.token, marker, task })
        };
        taken.into_iter().filter_map(lease).collect()
    }

    fn settle_now(&self, batch: Vec<Settlement>) -> Vec<bool> {
        let now = self.clock.now();
        let mut records = Vec::new();
        let mut state = self.state();
        let (settled, effects) = state.index.settle(batch, now, &mut records);
        let dropped = state.record(records, now);
        let wake_set = state.index.wake_set(now);
        drop(state);
        self.wakeups.notify(wake_set);
        // The last reference to a task frees it: outside of the lock.
        drop((effects, dropped));
        settled
    }

    fn apply_now(&self, command: AdminCommand) -> Result<AdminResult, RequestError> {
        let now = self.clock.now();
        let mut state = self.state();
        let result = state.apply(command, now);
        let wake_set = state.index.wake_set(now);
        drop(state);
        self.wakeups.notify(wake_set);
        result
    }
}

impl MemoryState {
    fn accept(&mut self, mut task: Arc<TaskRecord>, now: Now) -> Result<Accepted, RequestError> {
        if let Some(id) = self.history.known(&task.new, now) {
            return Ok(Accepted { id, is_new: false });
        }
        self.index.check_capacity(&task.new, 0)?;
        let id = self.next_id;
        self.next_id += 1;
        Arc::get_mut(&mut task).expect("the task has no other owner yet").id = id;
        self.history.remember(&task.new, id, now);
        let insertion = self.index.new_insertion(task, now);
        self.index.insert_new(insertion);
        Ok(Accepted { id, is_new: true })
    }

    /// Moves on to this time.
    fn wake(&mut self, now: Now) {
        let mut records = Vec::new();
        let expired = self.index.wake(now, &mut records);
        if !expired.is_empty() {
            let ids = expired.into_iter().collect();
            self.terminate(&ids, State::Expired, "Nobody started it in time.", true, now, &mut records);
        }
        if !records.is_empty() {
            let _ = self.record(records, now);
        }
    }

    /// Ends waiting tasks; returns the number of those that there were.
    fn terminate(
        &mut self,
        ids: &FxHashSet<TaskId>,
        state: State,
        error: &str,
        keep: bool,
        now: Now,
        records: &mut Vec<Record>,
    ) -> u64 {
        let removed = self.index.remove_waiting(ids);
        let count = removed.len() as u64;
        for task in removed.into_iter().filter_map(|waiting| waiting.task) {
            self.index.terminate(task, state, error, keep, now, records);
        }
        self.index.note_batches(now, records);
        count
    }

    /// Applies records to the history; returns the tasks that are dropped from it.
    fn record(&mut self, records: Vec<Record>, now: Now) -> Vec<Arc<TaskRecord>> {
        let mut dropped = Vec::new();
        for record in records {
            match record {
                Record::Ended(ended) => self.history.keep(ended, &mut dropped),
                Record::Retry { task, run, error, .. } => self.history.note(task.id, run, error),
                Record::Batch(info) => self.history.batch(info),
                Record::Follow(follow) => {
                    let task = TaskRecord::new(self.next_id, follow.new, Instant::now(), now.wall_ms);
                    self.next_id += 1;
                    if let Some(batch) = follow.completes {
                        self.history.complete(batch, task.id);
                    }
                    let insertion = self.index.new_insertion(Arc::new(task), now);
                    self.index.insert_new(insertion);
                }
            }
        }
        self.history.trim(now, &mut dropped);
        dropped
    }

    fn apply(&mut self, command: AdminCommand, now: Now) -> Result<AdminResult, RequestError> {
        self.wake(now);
        let mut records = Vec::new();
        let result = match command {
            AdminCommand::Cancel(selector) => self.cancel(&selector, now, &mut records),
            AdminCommand::Retry(selector) => self.retry(&selector, now),
            AdminCommand::Forget(selector) => {
                self.history.forget(&selector, &self.index).map(AdminResult::Tasks)
            }
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
                self.index.order().pause(&queue, paused);
                Ok(AdminResult::Done)
            }
            AdminCommand::OpenBatch { name, function, then } => {
                let info = self.index.batches().open(name, function, then, now.wall_ms);
                Ok(AdminResult::Batch(info.id))
            }
            AdminCommand::SealBatch(id) => self.index.seal(id, now, &mut records).map(|()| AdminResult::Done),
            AdminCommand::Schedule { name, note } => {
                self.history.schedule(name, note);
                Ok(AdminResult::Done)
            }
        };
        let _ = self.record(records, now);
        result
    }

    fn cancel(
        &mut self,
        selector: &TaskSelector,
        now: Now,
        records: &mut Vec<Record>,
    ) -> Result<AdminResult, RequestError> {
        const REASON: &str = "It was cancelled before it ran.";
        match selector {
            TaskSelector::Task(id) => {
                if let Some(cancelled) = self.index.cancel_running(*id) {
                    return Ok(AdminResult::Cancelled(cancelled));
                }
                let ids = std::iter::once(*id).collect();
                match self.terminate(&ids, State::Cancelled, REASON, true, now, records) {
                    0 => Err(self.history.has_ended(*id)),
                    _ => Ok(AdminResult::Cancelled(Cancelled::AtOnce)),
                }
            }
            TaskSelector::Batch(batch) => {
                if self.index.batches().get(*batch).is_none() {
                    return Err(self.history.batch_has_ended(*batch));
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
                let ended = self.terminate(&waiting, State::Cancelled, REASON, true, now, records);
                Ok(AdminResult::Tasks(ended + asked as u64))
            }
            TaskSelector::Failed { .. } => Err(nothing_to_cancel()),
        }
    }

    fn retry(&mut self, selector: &TaskSelector, now: Now) -> Result<AdminResult, RequestError> {
        let again = self.history.take_back(selector, &self.index)?;
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

    fn push_observed(
        &self,
        tasks: Vec<NewTask>,
        on_accepted: OnAccepted,
    ) -> BoxFuture<'_, Vec<Result<Accepted, RequestError>>> {
        ready(self.push_now(tasks, on_accepted)).boxed()
    }

    fn wake_workers(&self) {
        let now = self.clock.now();
        let wake_set = self.state().index.wake_set(now);
        self.wakeups.notify(wake_set);
    }

    fn ready(&self, group: usize) -> BoxFuture<'_, bool> {
        let look = move || {
            let now = self.clock.now();
            let mut state = self.state();
            state.wake(now);
            if state.index.is_due(group, now) {
                Ok(true)
            } else if state.index.is_closed() {
                Ok(false)
            } else {
                Err(state.index.next_due(group, now))
            }
        };
        self.wakeups.wait(group, look).boxed()
    }

    fn take(&self, group: usize, limit: usize) -> BoxFuture<'_, Vec<Lease>> {
        ready(self.take_now(group, limit)).boxed()
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
            let terminated = state.index.terminated();
            if terminated.is_empty() { Err(state.index.next_expiry(now)) } else { Ok(terminated) }
        };
        self.wakeups.wait_terminated(look).boxed()
    }

    fn apply(&self, command: AdminCommand) -> BoxFuture<'_, Result<AdminResult, RequestError>> {
        ready(self.apply_now(command)).boxed()
    }

    fn query(&self, query: Query) -> BoxFuture<'_, Result<QueryResult, RequestError>> {
        let now = self.clock.now();
        let mut state = self.state();
        state.wake(now);
        let MemoryState { index, history, .. } = &mut *state;
        ready(Ok(history.query(query, index, now))).boxed()
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

    /// Without effect: no other process can have these tasks.
    fn unlock(&self) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }
}

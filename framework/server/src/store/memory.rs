//! A store in memory, whose tasks end with the process.

mod ended_tasks;
mod idempotency_keys;
mod take;
mod waiting_change;
mod history;
mod query;

use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use framework_protocol::task::{NewTask, TaskId, TaskRecord};
use framework_protocol::views::{AdminResult, Cancelled, TaskSelector};
use framework_protocol::{Durability, RequestError};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use self::history::History;
use self::waiting_change::PlannedChange;
use super::changes::RunningChanges;
use super::figure_history::FigureHistory;
use super::index::{Record, TakeFrom, TaskIndex, WaitingEnd};
use super::refusals::nothing_to_cancel;
use super::wakeups::{WakeSet, Wakeups};
use super::{
    Accepted, AdminCommand, Clock, Lease, LeaseToken, Now, OnAccepted, Query, QueryResult, RemoteScope,
    Rules, Settlement, Store, StoreFigures, StoreOptions, StoreStats, TerminatedTask,
};

/// A store that lasts as long as the process.
#[derive(Debug)]
pub struct Memory {
    clock: Clock,
    state: Mutex<MemoryState>,
    wakeups: Wakeups,
    /// The most tasks that are changed in one step.
    chunk: usize,
}

/// The index, and the ended tasks.
#[derive(Debug)]
struct MemoryState {
    index: TaskIndex,
    history: History,
    next_id: TaskId,
    changes: RunningChanges,
    figures: FigureHistory,
}

/// A command that is carried out already, or the change that it becomes.
enum Applied {
    Done(AdminResult),
    Change(PlannedChange),
}

impl Memory {
    /// An empty store.
    pub fn new(options: StoreOptions, rules: Arc<dyn Rules>, clock: Clock) -> Self {
        let wakeups = Wakeups::new(options.groups.len());
        let (history, chunk, next_id) =
            (History::new(&options), options.change_chunk.max(1), options.first_id);
        let index = TaskIndex::new(options, usize::MAX, rules);
        let state = MemoryState {
            index,
            history,
            next_id,
            changes: RunningChanges::default(),
            figures: FigureHistory::default(),
        };
        Self { clock, state: Mutex::new(state), wakeups, chunk }
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

    /// Whether there is something to take, or never will be; or the time until there may be.
    fn look(&self, from: TakeFrom) -> Result<bool, Option<Duration>> {
        let now = self.clock.now();
        let mut state = self.state();
        state.wake(now);
        if state.index.is_due(from, now) {
            return Ok(true);
        }
        if state.index.is_closed() { Ok(false) } else { Err(state.index.next_due(from, now)) }
    }

    /// The time until a task of this group of workers may be due; `None` if none waits for a time.
    pub(crate) fn next_due(&self, group: usize) -> Option<Duration> {
        self.look(TakeFrom::Group(group)).map_or_else(|pause| pause, |_| Some(Duration::ZERO))
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

    fn renew_now(&self, leases: Vec<(TaskId, LeaseToken)>) -> Vec<bool> {
        let now = self.clock.now();
        let mut records = Vec::new();
        let mut state = self.state();
        let renewed = state.index.renew(leases, now, &mut records);
        let dropped = state.record(records, now);
        let wake_set = state.index.wake_set(now);
        drop(state);
        self.wakeups.notify(wake_set);
        drop(dropped);
        renewed
    }

    fn begin(&self, command: AdminCommand) -> Result<Applied, RequestError> {
        let now = self.clock.now();
        let mut state = self.state();
        let result = state.begin(command, now);
        let wake_set = state.index.wake_set(now);
        drop(state);
        self.wakeups.notify(wake_set);
        result
    }
}

impl MemoryState {
    fn accept(&mut self, mut task: Arc<TaskRecord>, now: Now) -> Result<Accepted, RequestError> {
        if let Some(duplicate) = self.history.duplicate(&task.new, &self.index, now) {
            return duplicate;
        }
        self.index.check_capacity(&task.new, 0)?;
        let id = self.next_id;
        self.next_id += 1;
        Arc::get_mut(&mut task).expect("the task has no other owner yet").id = id;
        self.history.remember(&task, now);
        let insertion = self.index.new_insertion(task, now);
        self.index.insert_new(insertion);
        Ok(Accepted { id, duplicate: None })
    }

    /// Moves on to this time.
    fn wake(&mut self, now: Now) {
        let expired = self.index.wake(now);
        let mut records = Vec::new();
        if !expired.is_empty() {
            self.terminate(&expired, WaitingEnd::EXPIRED, now, &mut records);
        }
        for batch in self.index.idle_batches(now) {
            tracing::warn!(batch, "a batch that was never sealed got no task for too long, and is cancelled");
            self.index.batches().abandon(batch);
            let held = self.index.batches().held_ids(batch, 0, usize::MAX);
            self.terminate(&held, WaitingEnd::CANCELLED, now, &mut records);
        }
        if !records.is_empty() {
            let _ = self.record(records, now);
        }
    }

    /// Ends those of these tasks that wait; returns their number.
    fn terminate(&mut self, ids: &[TaskId], end: WaitingEnd, now: Now, records: &mut Vec<Record>) -> u64 {
        let ended = ids.iter().filter(|id| self.index.end_waiting(**id, None, end, now, records)).count();
        self.index.note_batches(now, records);
        ended as u64
    }

    /// Applies records to the history; returns the tasks that are dropped from it.
    fn record(&mut self, records: Vec<Record>, now: Now) -> Vec<Arc<TaskRecord>> {
        let mut dropped = Vec::new();
        for record in records {
            match record {
                Record::Ended(ended) => self.history.keep(ended, &mut dropped),
                Record::Retry { task, run, error, .. } => self.history.note(task.id, run, error),
                // The index has it.
                Record::Revised(_) => {}
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

    fn begin(&mut self, command: AdminCommand, now: Now) -> Result<Applied, RequestError> {
        self.wake(now);
        let mut records = Vec::new();
        let done = Ok(Applied::Done(AdminResult::Done));
        let begun = match command {
            AdminCommand::Cancel(TaskSelector::Task(id)) => {
                self.cancel(id, now, &mut records).map(Applied::Done)
            }
            AdminCommand::Cancel(TaskSelector::Batch(id)) => self.cancel_batch(id).map(Applied::Change),
            AdminCommand::Cancel(TaskSelector::Failed(_)) => Err(nothing_to_cancel()),
            AdminCommand::Retry(selector) => self.retry(&selector, now).map(Applied::Done),
            AdminCommand::Forget(selector) => {
                let forgotten = self.history.forget(&selector, &mut self.index);
                forgotten.map(|count| Applied::Done(AdminResult::Tasks(count)))
            }
            AdminCommand::Flush { queue } => Ok(Applied::Change(self.flush(queue))),
            AdminCommand::Pause { queue, paused } => {
                self.index.order().pause(&queue, paused);
                done
            }
            AdminCommand::StopChange(id) => self.changes.stop(id).and(done),
            AdminCommand::OpenBatch { name, function, then } => {
                let opened = self.index.batches().open(name, function, then, now);
                opened.map(|info| Applied::Done(AdminResult::Batch(info.id)))
            }
            AdminCommand::SealBatch(id) => self.seal(id).map(Applied::Change),
            // Without effect: no later process has these tasks.
            AdminCommand::KeepFunction(_) | AdminCommand::ForgetFunction { .. } => done,
            AdminCommand::RecordHistory(rows) => {
                self.figures.record(&rows, now.wall_ms);
                done
            }
            AdminCommand::Schedule { name, note } => {
                self.history.schedule(name, note);
                done
            }
        };
        let _ = self.record(records, now);
        begun
    }

    fn cancel(
        &mut self,
        id: TaskId,
        now: Now,
        records: &mut Vec<Record>,
    ) -> Result<AdminResult, RequestError> {
        if let Some(cancelled) = self.index.cancel_running(id) {
            return Ok(AdminResult::Cancelled(cancelled));
        }
        match self.terminate(&[id], WaitingEnd::CANCELLED, now, records) {
            0 => Err(self.history.nothing_to_cancel(id)),
            _ => Ok(AdminResult::Cancelled(Cancelled::AtOnce)),
        }
    }

    fn retry(&mut self, selector: &TaskSelector, now: Now) -> Result<AdminResult, RequestError> {
        let retried = self.history.take_back(selector, &mut self.index)?;
        let count = retried.len() as u64;
        for (mut task, from) in retried {
            let batch = task.new.batch();
            let is_alone = batch.is_some_and(|batch| !self.index.batches().count_back(batch, from));
            if let Some(extra) = task.new.extra.as_mut().filter(|_| is_alone) {
                extra.batch = None;
            }
            self.index.restore(task, from, now);
        }
        Ok(AdminResult::Tasks(count))
    }
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
        self.wakeups.wait(group, move || self.look(TakeFrom::Group(group))).boxed()
    }

    fn take(&self, group: usize, limit: usize) -> BoxFuture<'_, Vec<Lease>> {
        ready(self.take_now(TakeFrom::Group(group), limit)).boxed()
    }

    fn ready_remote(&self, scopes: Arc<[RemoteScope]>) -> BoxFuture<'_, bool> {
        let look = move || self.look(TakeFrom::Elsewhere(&scopes));
        self.wakeups.wait(WakeSet::REMOTE, look).boxed()
    }

    fn take_remote(&self, scope: &RemoteScope, limit: usize) -> BoxFuture<'_, Vec<Lease>> {
        ready(self.take_now(TakeFrom::Elsewhere(std::slice::from_ref(scope)), limit)).boxed()
    }

    fn take_task<'a>(&'a self, id: TaskId, scope: &'a RemoteScope) -> BoxFuture<'a, Option<Lease>> {
        ready(self.take_task_now(id, scope)).boxed()
    }

    fn serve_remote(&self, scopes: Vec<RemoteScope>) {
        self.state().index.order().serve(scopes);
    }

    fn renew(&self, leases: Vec<(TaskId, LeaseToken)>) -> BoxFuture<'_, Vec<bool>> {
        ready(self.renew_now(leases)).boxed()
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
        self.wakeups.wait(WakeSet::TERMINATED, look).boxed()
    }

    fn apply(&self, command: AdminCommand) -> BoxFuture<'_, Result<AdminResult, RequestError>> {
        match self.begin(command) {
            Ok(Applied::Change(change)) => self.carry_out(change).map(Ok).boxed(),
            Ok(Applied::Done(result)) => ready(Ok(result)).boxed(),
            Err(refusal) => ready(Err(refusal)).boxed(),
        }
    }

    fn query(&self, query: Query) -> BoxFuture<'_, Result<QueryResult, RequestError>> {
        let now = self.clock.now();
        let mut state = self.state();
        state.wake(now);
        if let Query::History(filter) = &query {
            let points = state.figures.query(filter, now.wall_ms);
            return ready(Ok(QueryResult::History(points))).boxed();
        }
        let MemoryState { index, history, changes, .. } = &mut *state;
        ready(Ok(history.query(query, index, changes, now))).boxed()
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

    fn figures(&self) -> BoxFuture<'_, StoreFigures> {
        ready(StoreFigures { accepted: self.state().index.accepted(), disk: None }).boxed()
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

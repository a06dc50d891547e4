//! What becomes of leases: settled by their workers, or lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use framework_protocol::task::{Handlers, NewTask, TaskId, TaskRecord};
use framework_protocol::views::State;

use super::{AttemptRun, EndRecord, FollowUp, ReadyAt, Record, RunningTask, SUSPECT, TaskIndex, Waiting};
use crate::store::clock::Now;
use crate::store::{Disposition, LeaseToken, Settlement, TerminatedTask};

/// A task in whose attempts the process died so often is set aside.
const CRASHES_MAX: u32 = 2;
const CANCELLED: &str = "It was cancelled while it ran.";

/// What settling one batch leaves behind, for when the books are open to others again.
#[derive(Debug, Default)]
pub(in crate::store) struct SettleEffects {
    /// The last reference to a task frees it.
    pub(in crate::store) tasks: Vec<Arc<TaskRecord>>,
    /// Where attempts were marked as running.
    pub(in crate::store) slots: Vec<u32>,
    returned: Vec<Waiting>,
}

impl TaskIndex {
    /// Writes down what became of leases; `false` for one that is not held any more.
    pub(in crate::store) fn settle(
        &mut self,
        batch: Vec<Settlement>,
        handlers: &Handlers,
        now: Now,
        records: &mut Vec<Record>,
    ) -> (Vec<bool>, SettleEffects) {
        let mut leftovers = SettleEffects::default();
        let settled = batch
            .into_iter()
            .map(|settlement| self.settle_one(settlement, handlers, now, records, &mut leftovers))
            .collect();
        // The last one first, so that the first one ends up in front.
        leftovers.returned.sort_unstable_by_key(|waiting| std::cmp::Reverse(waiting.id));
        for waiting in leftovers.returned.drain(..) {
            let task = waiting.task.and_then(|task| self.hot.hold(task));
            self.order.push_front(Waiting { task, ..waiting });
        }
        self.batches.note(now.wall_ms, records);
        (settled, leftovers)
    }

    fn settle_one(
        &mut self,
        settlement: Settlement,
        handlers: &Handlers,
        now: Now,
        records: &mut Vec<Record>,
        leftovers: &mut SettleEffects,
    ) -> bool {
        let Settlement { task: id, token, disposition, started_ms, ran, follow } = settlement;
        let Some(RunningTask { task: Some(task), place, slot, .. }) = self.remove_running(id, token) else {
            return false;
        };
        leftovers.slots.push(slot);
        let number = task.attempts() + 1;
        let run = AttemptRun { number, started_ms, ran: Some(ran) };
        let outcome = match disposition {
            // Somebody wants it not to go on, and it does not; its worker does not know of that yet.
            Disposition::Requeue | Disposition::Retry { .. } if task.is_cancel_requested() => {
                let error = CANCELLED.to_owned();
                self.terminated.push(TerminatedTask { task: task.clone(), state: State::Cancelled, error });
                Err(State::Cancelled)
            }
            Disposition::Requeue => {
                self.order.refund_turn(place);
                self.expiries.lease(id, false);
                self.release(id);
                leftovers.returned.push(Waiting { id, task: Some(task), place });
                return true;
            }
            Disposition::Retry { pause, error } => {
                task.failures.fetch_add(1, Ordering::Relaxed);
                task.attempts.store(number, Ordering::Relaxed);
                let due_ms = Some(now.wall_ms.saturating_add(pause.as_millis() as u64));
                records.push(Record::Retry { task: task.clone(), run, error, due_ms, pause });
                self.expiries.remove(id);
                self.release(id);
                let when = ReadyAt::Steady(now.steady.saturating_add(pause));
                let task = self.hot.hold(task);
                self.order.push_later(Waiting { id, task, place }, when);
                return true;
            }
            Disposition::Done(result) => Ok(result),
            Disposition::Failed(error) => {
                self.finish(&task, State::Failed, run, error, now, records);
                leftovers.tasks.push(task);
                return true;
            }
            Disposition::Cancelled => Err(State::Cancelled),
        };
        task.attempts.store(number, Ordering::Relaxed);
        match outcome {
            Ok(result) => {
                let chained = chained(&task, &result, handlers);
                self.end(&task, State::Done);
                let at_ms = now.wall_ms;
                let ended = EndRecord {
                    task: task.clone(),
                    state: State::Done,
                    at_ms,
                    run: Some(run),
                    outcome: Ok(result),
                    keep: true,
                };
                records.push(Record::Ended(ended));
                let all = follow.into_iter().chain(chained);
                records.extend(all.map(|new| Record::Follow(FollowUp { new, completes: None })));
            }
            Err(state) => self.finish(&task, state, run, CANCELLED.to_owned(), now, records),
        }
        leftovers.tasks.push(task);
        true
    }

    fn finish(
        &mut self,
        task: &Arc<TaskRecord>,
        state: State,
        run: AttemptRun,
        error: String,
        now: Now,
        records: &mut Vec<Record>,
    ) {
        task.attempts.store(run.number, Ordering::Relaxed);
        self.end(task, state);
        let (task, at_ms, run) = (task.clone(), now.wall_ms, Some(run));
        records.push(Record::Ended(EndRecord { task, state, at_ms, run, outcome: Err(error), keep: true }));
    }

    /// A task has ended: it is counted, and whatever waited for that goes on.
    pub(super) fn end(&mut self, task: &TaskRecord, state: State) {
        *self.ended_in(state) += 1;
        self.release(task.id);
        self.keys.unregister(task.id);
        self.expiries.remove(task.id);
        if let Some(batch) = task.new.batch() {
            self.batches.count_end(batch, state);
        }
    }

    pub(super) fn ended_in(&mut self, state: State) -> &mut u64 {
        match state {
            State::Done => &mut self.ended.done,
            State::Failed => &mut self.ended.failed,
            State::Cancelled => &mut self.ended.cancelled,
            State::Expired => &mut self.ended.expired,
            State::Waiting | State::Running => {
                unreachable!("a task that has not ended is counted where it is")
            }
        }
    }

    fn release(&mut self, id: TaskId) {
        for waiting in self.keys.release(id) {
            self.order.push_front(waiting);
        }
    }

    fn remove_running(&mut self, id: TaskId, token: LeaseToken) -> Option<RunningTask> {
        let held =
            self.running.get(&id).is_some_and(|running| running.token == token && running.task.is_some());
        held.then(|| self.running.remove(&id)).flatten()
    }

    /// Puts a leased task back whose body could not be read.
    pub(in crate::store) fn fail_unreadable(&mut self, id: TaskId, token: LeaseToken) {
        let held = self.running.get(&id).is_some_and(|running| running.token == token);
        if let Some(RunningTask { place, .. }) = held.then(|| self.running.remove(&id)).flatten() {
            self.release(id);
            self.expiries.lease(id, false);
            self.order.push_front(Waiting { id, task: None, place });
        }
    }

    /// Takes back the leases that nobody renewed.
    pub(super) fn sweep(&mut self, now: Now, records: &mut Vec<Record>) {
        let lost = self.running.iter().filter(|(_, running)| running.until <= now.steady);
        let lost: Vec<_> = lost.map(|(id, running)| (*id, running.token)).collect();
        for (id, token) in lost {
            let Some(RunningTask { task: Some(task), place, slot, .. }) = self.remove_running(id, token)
            else {
                self.fail_unreadable(id, token);
                continue;
            };
            self.lost.push(slot);
            self.release(id);
            let number = task.attempts() + 1;
            let run = AttemptRun { number, started_ms: now.wall_ms, ran: None };
            if self.crashed(&task, run, "The worker was lost.", now, records) {
                self.keys.register(id, SUSPECT, 1);
                let task = self.hot.hold(task);
                self.order.push_front(Waiting { id, task, place });
            }
        }
        self.batches.note(now.wall_ms, records);
    }

    /// Takes in a task of an earlier process that died while it ran.
    pub(in crate::store) fn restore_crashed(
        &mut self,
        task: Arc<TaskRecord>,
        run: AttemptRun,
        error: &str,
        now: Now,
        records: &mut Vec<Record>,
    ) {
        let mut arrival = self.new_insertion(task.clone(), now);
        (arrival.when, arrival.expires) = (ReadyAt::Now, None);
        if self.crashed(&task, run, error, now, records) {
            arrival.is_suspect = true;
            self.insert(arrival);
        }
    }

    /// Notes that nobody saw the end of an attempt; whether the task may have another one. Otherwise it has
    /// failed.
    fn crashed(
        &mut self,
        task: &Arc<TaskRecord>,
        run: AttemptRun,
        error: &str,
        now: Now,
        records: &mut Vec<Record>,
    ) -> bool {
        let crashes = task.crashes.fetch_add(1, Ordering::Relaxed) + 1;
        self.expiries.remove(task.id);
        if task.is_cancel_requested() {
            let error = format!("It was cancelled. {error}");
            self.finish(task, State::Cancelled, run, error.clone(), now, records);
            self.terminated.push(TerminatedTask { task: task.clone(), state: State::Cancelled, error });
            return false;
        }
        if crashes < CRASHES_MAX {
            task.attempts.store(run.number, Ordering::Relaxed);
            let (task, error) = (task.clone(), error.to_owned());
            records.push(Record::Retry { task, run, error, due_ms: None, pause: std::time::Duration::ZERO });
            return true;
        }
        let error = format!("{error} That was so {crashes} times: the task is set aside.");
        self.finish(task, State::Failed, run, error.clone(), now, records);
        self.terminated.push(TerminatedTask { task: task.clone(), state: State::Failed, error });
        false
    }
}

/// The task that a done one asked for, with its result as arguments.
fn chained(task: &TaskRecord, result: &bytes::Bytes, handlers: &Handlers) -> Option<NewTask> {
    let rare = task.new.extra.as_deref()?;
    let (first, rest) = rare.then.split_first()?;
    let mut new = match handlers.find(first) {
        Ok(handler) => NewTask::with_defaults(handler, result.clone()),
        Err(refusal) => {
            // Names are checked when the task is accepted; a newer program may have lost one.
            tracing::error!("task {} cannot be followed: {refusal}", task.id);
            return None;
        }
    };
    if !rest.is_empty() {
        new.extra_mut().then = rest.to_vec();
    }
    Some(new)
}

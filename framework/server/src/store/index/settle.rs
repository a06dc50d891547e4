//! Leases that are settled by their workers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use framework_protocol::task::{NewTask, TaskId, TaskRecord};
use framework_protocol::views::State;

use super::{AttemptRun, EndRecord, FollowUp, Record, RunningTask, TaskIndex, Waiting};
use crate::store::clock::Now;
use crate::store::due_heap::ReadyAt;
use crate::store::ready_queues::QueuePosition;
use crate::store::{Disposition, LeaseToken, Release, Settlement, TerminatedTask};

pub(super) const CANCELLED: &str = "It was cancelled while it ran.";

/// The remains of a settled batch, for when the index is unlocked.
#[derive(Debug, Default)]
pub(in crate::store) struct SettleEffects {
    /// Ended tasks, which are freed with their last reference.
    pub(in crate::store) tasks: Vec<Arc<TaskRecord>>,
    /// The slots in which attempts were marked as running.
    pub(in crate::store) slots: Vec<u32>,
    requeued: Vec<Waiting>,
}

impl TaskIndex {
    /// Applies settlements; `false` for one whose lease is not held any more.
    pub(in crate::store) fn settle(
        &mut self,
        batch: Vec<Settlement>,
        now: Now,
        records: &mut Vec<Record>,
    ) -> (Vec<bool>, SettleEffects) {
        let mut effects = SettleEffects::default();
        let settled = batch
            .into_iter()
            .map(|settlement| self.settle_one(settlement, now, records, &mut effects))
            .collect();
        // The last one first, so that the first one ends up in front.
        effects.requeued.sort_unstable_by_key(|waiting| std::cmp::Reverse(waiting.id));
        effects.requeued.drain(..).for_each(|waiting| self.order.push_front(waiting));
        self.note_batches(now, records);
        (settled, effects)
    }

    fn settle_one(
        &mut self,
        settlement: Settlement,
        now: Now,
        records: &mut Vec<Record>,
        effects: &mut SettleEffects,
    ) -> bool {
        let Settlement { task: id, token, disposition, started_ms, ran, worker, follow } = settlement;
        let Some(RunningTask { task: Some(task), place, slot, .. }) = self.remove_running(id, token) else {
            return false;
        };
        effects.slots.push(slot);
        let run = AttemptRun { number: task.attempts() + 1, started_ms, ran: Some(ran), worker };
        if !disposition.is_terminal() && task.is_cancel_requested() {
            // It was cancelled after its worker had decided that it goes on.
            let (state, error) = (State::Cancelled, CANCELLED.to_owned());
            self.terminated.push(TerminatedTask { task: task.clone(), state, error: error.clone() });
            self.finish(&task, state, run, error, now, records);
            effects.tasks.push(task);
            return true;
        }
        match disposition {
            Disposition::Requeue => {
                let waiting = self.take_back(task, place);
                let task = waiting.task.and_then(|task| self.bodies.hold(task));
                effects.requeued.push(Waiting { task, ..waiting });
            }
            Disposition::Release(release) => {
                let ended = self.put_back((task, place), run, *release, now, records, effects);
                effects.tasks.extend(ended);
            }
            Disposition::Lost(reason) => {
                self.lose((task.clone(), place), run, &reason, now, records);
                effects.tasks.push(task);
            }
            Disposition::Park => {
                let Waiting { task, .. } = self.take_back(task, place);
                let task = task.and_then(|task| self.bodies.hold(task));
                self.parked.insert(id, Waiting { id, task, place });
            }
            Disposition::Retry { pause, error } => {
                self.retry((task, place), run, pause, error, now, records);
            }
            Disposition::Done(result) => {
                self.complete_task(&task, run, result, follow, now, records);
                effects.tasks.push(task);
            }
            Disposition::Failed(error) => {
                self.finish(&task, State::Failed, run, error, now, records);
                effects.tasks.push(task);
            }
            Disposition::Cancelled => {
                self.finish(&task, State::Cancelled, run, CANCELLED.to_owned(), now, records);
                effects.tasks.push(task);
            }
        }
        true
    }

    /// Undoes the lease of a task that has not begun.
    fn take_back(&mut self, task: Arc<TaskRecord>, place: QueuePosition) -> Waiting {
        let id = task.id;
        self.order.refund_turn(place);
        self.expiries.lease(id, false);
        self.release(id);
        Waiting { id, task: Some(task), place }
    }

    /// Counts an attempt that was no failure, and lets the task wait for the next one, or ends it as failed.
    /// Returns it if it has ended.
    fn put_back(
        &mut self,
        (task, place): (Arc<TaskRecord>, QueuePosition),
        run: AttemptRun,
        release: Release,
        now: Now,
        records: &mut Vec<Record>,
        effects: &mut SettleEffects,
    ) -> Option<Arc<TaskRecord>> {
        let Release { reason: error, pause, revision, counts } = release;
        let is_revised = revision.is_some();
        let (task, place) = match revision {
            None => (task, place),
            Some((priority, args)) => {
                let task = Arc::new(task.revised(priority, args));
                records.push(Record::Revised(task.clone()));
                let place = self.order.place(&task.new.queue, &task.new.function, priority);
                (task, place)
            }
        };
        let Some(pause) = pause else {
            self.finish(&task, State::Failed, run, error, now, records);
            return Some(task);
        };
        let id = task.id;
        if !counts {
            let waiting = self.take_back(task.clone(), place);
            effects.requeued.push(Waiting { task: Some(self.bodies.keep(task)), ..waiting });
            return None;
        }
        task.attempts.store(run.number, Ordering::Relaxed);
        let due_ms = (!pause.is_zero()).then(|| now.wall_ms.saturating_add(pause.as_millis() as u64));
        records.push(Record::Retry { task: task.clone(), run, error, due_ms, pause });
        self.expiries.remove(id);
        self.release(id);
        // The disk may not have what is new of it when its turn comes.
        let task = if is_revised { Some(self.bodies.keep(task)) } else { self.bodies.hold(task) };
        if pause.is_zero() {
            effects.requeued.push(Waiting { id, task, place });
        } else {
            let when = ReadyAt::Steady(now.steady.saturating_add(pause));
            self.order.push_later(Waiting { id, task, place }, when);
        }
        None
    }

    /// Counts a failed attempt, and lets the task wait for the next one.
    fn retry(
        &mut self,
        (task, place): (Arc<TaskRecord>, QueuePosition),
        run: AttemptRun,
        pause: Duration,
        error: String,
        now: Now,
        records: &mut Vec<Record>,
    ) {
        let id = task.id;
        task.failures.fetch_add(1, Ordering::Relaxed);
        task.attempts.store(run.number, Ordering::Relaxed);
        let due_ms = Some(now.wall_ms.saturating_add(pause.as_millis() as u64));
        records.push(Record::Retry { task: task.clone(), run, error, due_ms, pause });
        self.expiries.remove(id);
        self.release(id);
        let task = self.bodies.hold(task);
        let when = ReadyAt::Steady(now.steady.saturating_add(pause));
        self.order.push_later(Waiting { id, task, place }, when);
    }

    /// Ends a task with a result, together with the tasks that follow it.
    fn complete_task(
        &mut self,
        task: &Arc<TaskRecord>,
        run: AttemptRun,
        result: Bytes,
        follow: Vec<NewTask>,
        now: Now,
        records: &mut Vec<Record>,
    ) {
        self.finish_with(task, State::Done, run, Ok(result), now, records);
        records.extend(follow.into_iter().map(|new| Record::Follow(FollowUp { new, completes: None })));
    }

    /// Ends a task with an error.
    pub(super) fn finish(
        &mut self,
        task: &Arc<TaskRecord>,
        state: State,
        run: AttemptRun,
        error: String,
        now: Now,
        records: &mut Vec<Record>,
    ) {
        self.finish_with(task, state, run, Err(error), now, records);
    }

    fn finish_with(
        &mut self,
        task: &Arc<TaskRecord>,
        state: State,
        run: AttemptRun,
        outcome: Result<Bytes, String>,
        now: Now,
        records: &mut Vec<Record>,
    ) {
        task.attempts.store(run.number, Ordering::Relaxed);
        self.end(task, state);
        let (task, at_ms, run) = (task.clone(), now.wall_ms, Some(run));
        records.push(Record::Ended(EndRecord { task, state, at_ms, run, outcome, keep: true }));
    }

    /// Counts the end of a task, and removes it from all that it was part of.
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

    pub(super) fn release(&mut self, id: TaskId) {
        for waiting in self.keys.release(id) {
            self.order.push_front(waiting);
        }
    }

    pub(super) fn remove_running(&mut self, id: TaskId, token: LeaseToken) -> Option<RunningTask> {
        let is_held =
            self.running.get(&id).is_some_and(|running| running.token == token && running.task.is_some());
        is_held.then(|| self.running.remove(&id)).flatten()
    }
}

//! Tasks that come back into the index: of an earlier process, of a lost worker, or retried by hand.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use framework_protocol::task::{TaskId, TaskRecord};
use framework_protocol::views::{Ledger, State};

use super::{AttemptRun, EndRecord, Insertion, Record, RunningTask, TaskIndex, Waiting, WaitingEnd};
use crate::store::clock::Now;
use crate::store::due_heap::ReadyAt;
use crate::store::ready_queues::QueuePosition;
use crate::store::{LeaseToken, LostAttempt, TerminatedTask};

/// The time after which a body that could not be read is read again.
const READ_AGAIN: Duration = Duration::from_secs(1);

impl TaskIndex {
    /// Goes on with the ledger of an earlier process.
    pub(in crate::store) fn resume(&mut self, ended: Ledger) {
        self.ended = ended;
    }

    /// Lets an ended task wait again, with all its attempts before it. Its batch has
    /// [counted it back](super::batches::Batches::count_back).
    pub(in crate::store) fn restore(&mut self, task: TaskRecord, from: State, now: Now) {
        let ended = self.ended_in(from);
        *ended = ended.saturating_sub(1);
        let insertion = self.new_insertion(Arc::new(task), now);
        self.insert(insertion);
    }

    /// Inserts a task of an earlier process that died while it ran, alone or among others; it waits again, or
    /// has failed.
    pub(in crate::store) fn restore_crashed(
        &mut self,
        task: Arc<TaskRecord>,
        run: AttemptRun,
        (reason, was_alone): (&str, bool),
        now: Now,
        records: &mut Vec<Record>,
    ) {
        let mut insertion = self.new_insertion(task.clone(), now);
        (insertion.when, insertion.expires) = (ReadyAt::Now, None);
        if self.count_crash(&task, run, (reason, was_alone), now, records) {
            insertion.crashes = task.crashes();
            self.insert(insertion);
        }
    }

    /// Leases a task of an earlier process again that a worker elsewhere may still run; `None` when it has to
    /// wait, because others of its concurrency key run.
    pub(in crate::store) fn restore_leased(
        &mut self,
        task: &Arc<TaskRecord>,
        now: Now,
    ) -> Option<LeaseToken> {
        let Insertion { id, place, concurrency, .. } = self.new_insertion(task.clone(), now);
        self.register_keys(id, concurrency, task.crashes());
        // Its body is on the disk.
        let Waiting { place, .. } = self.keys.acquire(Waiting { id, task: None, place })?;
        let token = LeaseToken(self.next_token);
        self.next_token += 1;
        let (until, task) = (now.steady + self.lease, Some(task.clone()));
        let running = RunningTask { token, place, until, slot: u32::MAX, is_unwanted: false, task };
        self.running.insert(id, running);
        Some(token)
    }

    /// Ends a task of an earlier process that was cancelled while it ran.
    pub(in crate::store) fn restore_cancelled(
        &mut self,
        task: Arc<TaskRecord>,
        now: Now,
        records: &mut Vec<Record>,
    ) {
        let end = WaitingEnd { reason: super::settle::CANCELLED, ..WaitingEnd::CANCELLED };
        self.terminate(task, end, now, records);
    }

    /// Lets a leased task whose body could not be read wait for another try; returns its slot.
    pub(in crate::store) fn postpone(&mut self, id: TaskId, token: LeaseToken, now: Now) -> Option<u32> {
        let RunningTask { place, slot, .. } = self.remove_unread(id, token)?;
        self.order.refund_turn(place);
        self.release(id);
        self.expiries.lease(id, false);
        let when = ReadyAt::Steady(now.steady + READ_AGAIN);
        self.order.push_later(Waiting { id, task: None, place }, when);
        Some(slot)
    }

    /// Ends a leased task as failed whose body is damaged, so that it must not run; returns its slot.
    pub(in crate::store) fn set_aside(
        &mut self,
        token: LeaseToken,
        task: Arc<TaskRecord>,
        reason: &str,
        keep: bool,
        now: Now,
        records: &mut Vec<Record>,
    ) -> Option<u32> {
        let RunningTask { place, slot, is_unwanted, .. } = self.remove_unread(task.id, token)?;
        self.order.refund_turn(place);
        let state = if is_unwanted { State::Cancelled } else { State::Failed };
        self.end(&task, state);
        self.terminated.push(TerminatedTask { task: task.clone(), state, error: reason.to_owned() });
        let (at_ms, outcome) = (now.wall_ms, Err(reason.to_owned()));
        records.push(Record::Ended(EndRecord { task, state, at_ms, run: None, outcome, keep }));
        self.note_batches(now, records);
        Some(slot)
    }

    fn remove_unread(&mut self, id: TaskId, token: LeaseToken) -> Option<RunningTask> {
        let is_held = self.running.get(&id).is_some_and(|running| running.token == token);
        is_held.then(|| self.running.remove(&id)).flatten()
    }

    /// Ends the leases that were not renewed in time.
    pub(super) fn sweep(&mut self, now: Now, records: &mut Vec<Record>) {
        let lost = self.running.iter().filter(|(_, running)| running.until <= now.steady);
        let lost: Vec<_> = lost.map(|(id, running)| (*id, running.token)).collect();
        for (id, token) in lost {
            let Some(RunningTask { task: Some(task), place, slot, .. }) = self.remove_running(id, token)
            else {
                let slot = self.postpone(id, token, now);
                self.lost_slots.extend(slot);
                continue;
            };
            self.lost_slots.push(slot);
            let run =
                AttemptRun { number: task.attempts() + 1, started_ms: now.wall_ms, ran: None, worker: None };
            self.lose((task, place), run, "The worker was lost.", now, records);
        }
        self.note_batches(now, records);
    }

    /// Counts an attempt whose worker was lost; its task waits again, or has failed.
    pub(super) fn lose(
        &mut self,
        (task, place): (Arc<TaskRecord>, QueuePosition),
        run: AttemptRun,
        reason: &str,
        now: Now,
        records: &mut Vec<Record>,
    ) {
        let id = task.id;
        self.release(id);
        // A worker that is lost says which task it ran.
        if self.count_crash(&task, run, (reason, true), now, records) {
            self.register_crashed(id, task.crashes());
            let task = self.bodies.hold(task);
            self.order.push_front(Waiting { id, task, place });
        }
    }

    /// Counts an attempt whose end nobody saw. `true` when the task is to have another one; otherwise it has
    /// ended.
    fn count_crash(
        &mut self,
        task: &Arc<TaskRecord>,
        run: AttemptRun,
        (reason, was_alone): (&str, bool),
        now: Now,
        records: &mut Vec<Record>,
    ) -> bool {
        let crashes = task.crashes.fetch_add(1, Ordering::Relaxed) + 1;
        self.expiries.remove(task.id);
        let (state, error) = if task.is_cancel_requested() {
            (State::Cancelled, format!("It was cancelled. {reason}"))
        } else {
            match self.rules.attempt_lost(crashes, was_alone, reason) {
                LostAttempt::Failed(error) => (State::Failed, error),
                LostAttempt::Retry(error) => {
                    task.attempts.store(run.number, Ordering::Relaxed);
                    let (task, pause) = (task.clone(), Duration::ZERO);
                    records.push(Record::Retry { task, run, error, due_ms: None, pause });
                    return true;
                }
            }
        };
        self.finish(task, state, run, error.clone(), now, records);
        self.terminated.push(TerminatedTask { task: task.clone(), state, error });
        false
    }
}

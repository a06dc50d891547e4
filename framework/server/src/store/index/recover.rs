//! Tasks that come back into the index: of an earlier process, of a lost worker, or retried by hand.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use framework_protocol::task::{TaskId, TaskRecord};
use framework_protocol::views::{Ledger, State};
use rustc_hash::FxHashSet;

use super::{AttemptRun, Record, RunningTask, TaskIndex, Waiting};
use crate::store::clock::Now;
use crate::store::due_heap::ReadyAt;
use crate::store::{LeaseToken, LostAttempt, TerminatedTask};

impl TaskIndex {
    /// Goes on with the ledger of an earlier process.
    pub(in crate::store) fn resume(&mut self, ended: Ledger) {
        self.ended = ended;
    }

    /// Lets ended tasks wait again, with all their attempts before them.
    pub(in crate::store) fn restore(&mut self, tasks: Vec<(TaskRecord, State)>, now: Now) {
        let ids: FxHashSet<_> = tasks.iter().map(|(task, _)| task.id).collect();
        self.order.drop_tombstones(&ids);
        for (mut task, from) in tasks {
            let ended = self.ended_in(from);
            *ended = ended.saturating_sub(1);
            let is_alone = task.new.batch().is_some_and(|batch| !self.batches.count_back(batch, from));
            if let Some(extra) = task.new.extra.as_mut().filter(|_| is_alone) {
                extra.batch = None;
            }
            let insertion = self.new_insertion(Arc::new(task), now);
            self.insert(insertion);
        }
    }

    /// Inserts a task of an earlier process that died while it ran; it waits again, or has failed.
    pub(in crate::store) fn restore_crashed(
        &mut self,
        task: Arc<TaskRecord>,
        run: AttemptRun,
        reason: &str,
        now: Now,
        records: &mut Vec<Record>,
    ) {
        let mut insertion = self.new_insertion(task.clone(), now);
        (insertion.when, insertion.expires) = (ReadyAt::Now, None);
        if self.count_crash(&task, run, reason, now, records) {
            insertion.crashes = task.crashes();
            self.insert(insertion);
        }
    }

    /// Ends a task of an earlier process that was cancelled while it ran.
    pub(in crate::store) fn restore_cancelled(
        &mut self,
        task: Arc<TaskRecord>,
        now: Now,
        records: &mut Vec<Record>,
    ) {
        self.departing += 1;
        self.terminate(task, State::Cancelled, "It was cancelled while it ran.", true, now, records);
    }

    /// Puts a leased task back whose body could not be read.
    pub(in crate::store) fn requeue_unreadable(&mut self, id: TaskId, token: LeaseToken) {
        let is_held = self.running.get(&id).is_some_and(|running| running.token == token);
        if let Some(RunningTask { place, .. }) = is_held.then(|| self.running.remove(&id)).flatten() {
            self.release(id);
            self.expiries.lease(id, false);
            self.order.push_front(Waiting { id, task: None, place });
        }
    }

    /// Ends the leases that were not renewed in time.
    pub(super) fn sweep(&mut self, now: Now, records: &mut Vec<Record>) {
        let lost = self.running.iter().filter(|(_, running)| running.until <= now.steady);
        let lost: Vec<_> = lost.map(|(id, running)| (*id, running.token)).collect();
        for (id, token) in lost {
            let Some(RunningTask { task: Some(task), place, slot, .. }) = self.remove_running(id, token)
            else {
                self.requeue_unreadable(id, token);
                continue;
            };
            self.lost_slots.push(slot);
            self.release(id);
            let run = AttemptRun { number: task.attempts() + 1, started_ms: now.wall_ms, ran: None };
            if self.count_crash(&task, run, "The worker was lost.", now, records) {
                self.register_crashed(id, task.crashes());
                let task = self.bodies.hold(task);
                self.order.push_front(Waiting { id, task, place });
            }
        }
        self.note_batches(now, records);
    }

    /// Counts an attempt whose end nobody saw. `true` when the task is to have another one; otherwise it has
    /// ended.
    fn count_crash(
        &mut self,
        task: &Arc<TaskRecord>,
        run: AttemptRun,
        reason: &str,
        now: Now,
        records: &mut Vec<Record>,
    ) -> bool {
        let crashes = task.crashes.fetch_add(1, Ordering::Relaxed) + 1;
        self.expiries.remove(task.id);
        let (state, error) = if task.is_cancel_requested() {
            (State::Cancelled, format!("It was cancelled. {reason}"))
        } else {
            match self.rules.attempt_lost(crashes, reason) {
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

//! Changes of many waiting tasks in memory: in steps, between which other callers have their turn.

use std::collections::VecDeque;
use std::sync::Arc;

use framework_protocol::RequestError;
use framework_protocol::task::{BatchId, TaskId, TaskRecord};
use framework_protocol::views::{AdminResult, BatchState, ChangeId, ChangeKind};

use super::{Memory, MemoryState};
use crate::store::Now;
use crate::store::changes::{ChangeProgress, ChangeSubject};
use crate::store::index::WaitingEnd;
use crate::store::refusals::{being_cancelled, is_sealed};

/// A change of many waiting tasks, which is listed until it is dropped.
struct WaitingChange<'a> {
    store: &'a Memory,
    id: ChangeId,
    kind: WaitingChangeKind,
    progress: Arc<ChangeProgress>,
}

#[derive(Debug)]
enum WaitingChangeKind {
    /// Ends these tasks; so many others were asked to stop.
    End(WaitingEnd, VecDeque<TaskId>, u64),
    /// Cancels the tasks of an abandoned batch.
    Empty(BatchId),
    /// Lets the tasks of a sealed batch run.
    Release(BatchId),
}

/// A change that is about to begin.
pub(super) struct PlannedChange {
    kind: WaitingChangeKind,
    subject: ChangeSubject,
    /// The number of tasks that are to be changed; 0 when that is not known.
    total: usize,
}

impl Memory {
    /// Carries out a change step by step.
    pub(super) fn carry_out(&self, planned: PlannedChange) -> impl Future<Output = AdminResult> + Send + '_ {
        let PlannedChange { kind, subject, total } = planned;
        let progress = Arc::<ChangeProgress>::default();
        progress.set_total(total as u64);
        let id = self.state().changes.begin(subject, &progress);
        let mut change = WaitingChange { store: self, id, kind, progress };
        async move {
            while change.take_step() && !change.progress.is_stopped() {
                tokio::task::yield_now().await;
            }
            match change.kind {
                WaitingChangeKind::Release(_) => AdminResult::Done,
                WaitingChangeKind::End(..) | WaitingChangeKind::Empty(_) => {
                    AdminResult::Tasks(change.progress.changed())
                }
            }
        }
    }
}

impl WaitingChange<'_> {
    /// Takes one step; `true` when another one is to follow.
    fn take_step(&mut self) -> bool {
        let now = self.store.clock.now();
        let mut state = self.store.state();
        let has_more = state.step(&mut self.kind, self.store.chunk, &self.progress, now);
        let wake_set = state.index.wake_set(now);
        drop(state);
        self.store.wakeups.notify(wake_set);
        has_more
    }
}

impl Drop for WaitingChange<'_> {
    /// Completes a change of a batch whose caller is gone: nobody else would.
    fn drop(&mut self) {
        while !matches!(self.kind, WaitingChangeKind::End(..)) && self.take_step() {}
        self.store.state().changes.end(self.id);
    }
}

impl MemoryState {
    pub(super) fn cancel_batch(&mut self, id: BatchId) -> Result<PlannedChange, RequestError> {
        let subject = |may_stop| ChangeSubject::of_batch(ChangeKind::Cancel, id, may_stop);
        let batches = self.index.batches();
        let state = batches.get(id).map(|batch| batch.state).ok_or_else(|| batches.gone(id))?;
        if state != BatchState::Running {
            batches.abandon(id);
            let total = batches.held_ids(id, 0, usize::MAX).len();
            let kind = WaitingChangeKind::Empty(id);
            return Ok(PlannedChange { kind, subject: subject(false), total });
        }
        let running = self.index.running().filter(|(_, task)| is_of(*task, id));
        let running: Vec<_> = running.map(|(id, _)| id).collect();
        let asked = running.iter().filter(|id| self.index.cancel_running(**id).is_some()).count();
        let waiting = self.index.iter().filter(|(_, task, ..)| is_of(*task, id));
        let waiting: VecDeque<_> = waiting.map(|(id, ..)| id).collect();
        let total = asked + waiting.len();
        let kind = WaitingChangeKind::End(WaitingEnd::CANCELLED, waiting, asked as u64);
        Ok(PlannedChange { kind, subject: subject(true), total })
    }

    pub(super) fn seal(&mut self, id: BatchId) -> Result<PlannedChange, RequestError> {
        let batches = self.index.batches();
        match batches.get(id).map(|batch| batch.state) {
            Some(BatchState::Open) => batches.seal(id),
            Some(BatchState::Abandoned) => return Err(being_cancelled(id)),
            Some(BatchState::Running | BatchState::Ended) => return Err(is_sealed(id)),
            None => return Err(batches.gone(id)),
        }
        let subject = ChangeSubject::of_batch(ChangeKind::Release, id, false);
        Ok(PlannedChange { kind: WaitingChangeKind::Release(id), subject, total: 0 })
    }

    pub(super) fn flush(&mut self, queue: Option<String>) -> PlannedChange {
        let ids: VecDeque<_> = self.index.waiting_ids(queue.as_deref()).into();
        let total = ids.len();
        let subject = ChangeSubject::of_queue(ChangeKind::Flush, queue);
        PlannedChange { kind: WaitingChangeKind::End(WaitingEnd::FLUSHED, ids, 0), subject, total }
    }

    fn step(
        &mut self,
        kind: &mut WaitingChangeKind,
        chunk: usize,
        progress: &ChangeProgress,
        now: Now,
    ) -> bool {
        let mut records = Vec::new();
        let has_more = match kind {
            WaitingChangeKind::End(end, ids, asked) => {
                progress.add(std::mem::take(asked));
                let some: Vec<_> = ids.drain(..ids.len().min(chunk)).collect();
                progress.add(self.terminate(&some, *end, now, &mut records));
                !ids.is_empty()
            }
            WaitingChangeKind::Empty(batch) => {
                let some = self.index.batches().held_ids(*batch, 0, chunk);
                progress.add(self.terminate(&some, WaitingEnd::CANCELLED, now, &mut records));
                some.len() == chunk
            }
            WaitingChangeKind::Release(batch) => {
                let released = self.index.release_held(*batch, chunk);
                self.index.note_batches(now, &mut records);
                released == chunk
            }
        };
        let _ = self.record(records, now);
        has_more
    }
}

fn is_of(task: Option<&Arc<TaskRecord>>, batch: BatchId) -> bool {
    task.is_some_and(|task| task.new.batch() == Some(batch))
}

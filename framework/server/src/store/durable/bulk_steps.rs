//! The steps of changes of many tasks. Each is a transaction that leaves the ledger and the counts of batches
//! true.

use std::time::{Duration, Instant};

use framework_protocol::RequestError;
use framework_protocol::task::{BatchId, TaskId};
use framework_protocol::views::{BatchState, TaskSelector};
use rustc_hash::FxHashMap;

use super::admin::{CommandResult, unread};
use super::bulk_change::{BulkChange, BulkKind};
use super::journal::{Cursor, Journal, JournalChange, RetriedTask, Selected, StoredChange, TaskSelection};
use super::writer::Writer;
use crate::store::index::WaitingEnd;
use crate::store::refusals::being_cancelled;

/// A step that takes longer is followed by smaller ones.
const STEP_MAX: Duration = Duration::from_millis(20);

/// Whether a change may need another step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    More,
    Last,
}

impl Step {
    fn before(has_more: bool) -> Self {
        if has_more { Self::More } else { Self::Last }
    }
}

impl<J: Journal> Writer<J> {
    /// Begins a change with its first step; [`Writer::advance`] takes the others.
    pub(super) fn begin_change(&mut self, change: BulkChange) {
        let total = change.kind.total(&mut self.shared.state().index);
        change.progress.set_total(total);
        self.take_step(change);
    }

    /// Lets a change wait for its next step.
    fn put_off(&mut self, mut change: BulkChange) {
        if change.id.is_none() {
            let subject = change.kind.subject();
            change.id = Some(self.shared.state().changes.begin(subject, &change.progress));
        }
        self.changes.push_back(change);
    }

    /// Takes up the changes that an earlier process has left unfinished.
    pub(super) fn resume_changes(&mut self, unfinished: Vec<StoredChange>) {
        self.last_bulk = unfinished.iter().map(|change| change.id).max().unwrap_or(0);
        let mut changes: Vec<_> = unfinished.into_iter().filter_map(BulkChange::from_stored).collect();
        let next_id = self.journal.next_id();
        let mut state = self.shared.state();
        for BulkChange { kind, cursor, progress, .. } in &mut changes {
            if let BulkKind::Flush(queue, ids) = kind {
                let waiting = state.index.waiting_ids(queue.as_deref()).into_iter();
                ids.extend(waiting.filter(|id| *id < cursor.before));
            }
            progress.set_total(kind.total(&mut state.index));
        }
        let abandoned = state.index.batches().iter().filter(|batch| batch.state == BatchState::Abandoned);
        changes.extend(abandoned.map(|batch| BulkChange::unasked(BulkKind::Empty(batch.id), next_id)));
        drop(state);
        if !changes.is_empty() {
            tracing::info!(changes = changes.len(), "changes of many tasks that were unfinished go on");
        }
        changes.into_iter().for_each(|change| self.put_off(change));
    }

    /// Takes a step of the change that has waited longest for one.
    pub(super) fn advance(&mut self) {
        let now = self.shared.clock.now();
        let refuses = self.shared.state().outage.as_ref().is_some_and(|outage| outage.refuses(now));
        if refuses {
            return;
        }
        if let Some(change) = self.changes.pop_front() {
            self.take_step(change);
        }
    }

    fn take_step(&mut self, mut change: BulkChange) {
        let begin = Instant::now();
        let step = if change.progress.is_stopped() { Ok(Step::Last) } else { self.step(&mut change) };
        self.fit_steps(begin.elapsed());
        match step {
            Ok(Step::Last) => self.finish_change(change),
            Ok(Step::More) => self.put_off(change),
            Err(refusal) => {
                change.refuse(refusal);
                if change.is_durable() {
                    self.put_off(change);
                } else {
                    self.end_change(change);
                }
            }
        }
    }

    /// Fits the size of steps to the machine: pushes wait for one of them.
    fn fit_steps(&mut self, took: Duration) {
        if took > STEP_MAX {
            self.chunk = (self.chunk / 2).max(self.chunk_max / 8).max(1);
        } else if took < STEP_MAX / 4 {
            self.chunk = (self.chunk * 2).min(self.chunk_max);
        }
    }

    /// Ends a change that is carried out. It stays under way until that is written: the next process would
    /// change tasks again that others have changed since.
    fn finish_change(&mut self, mut change: BulkChange) {
        match change.stored.map_or(Ok(()), |id| self.change(&JournalChange::EndBulk { id })) {
            Ok(()) => self.end_change(change),
            Err(refusal) => {
                change.refuse(refusal);
                self.put_off(change);
            }
        }
    }

    fn end_change(&mut self, change: BulkChange) {
        change.id.into_iter().for_each(|id| self.shared.state().changes.end(id));
        change.finish();
    }

    /// Answers the callers of all changes, which are no longer under way. Most go on in the next process.
    pub(super) fn leave_changes(&mut self, refusal: &RequestError) {
        for mut change in std::mem::take(&mut self.changes) {
            change.refuse(refusal.clone());
            change.id.into_iter().for_each(|id| self.shared.state().changes.end(id));
        }
    }

    fn step(&mut self, change: &mut BulkChange) -> CommandResult<Step> {
        let (chunk, cursor) = (self.chunk, change.cursor);
        match &mut change.kind {
            BulkKind::End(end, ids) => {
                let (end, some) = (*end, ids.drain(..ids.len().min(chunk)).collect::<Vec<_>>());
                let step = Step::before(!ids.is_empty());
                self.end_step(change, &some, end, step)
            }
            BulkKind::Flush(_, ids) => {
                let some: Vec<_> = ids.drain(..ids.len().min(chunk)).collect();
                let step = Step::before(!ids.is_empty());
                self.end_step(change, &some, WaitingEnd::FLUSHED, step)
            }
            BulkKind::Empty(batch) => {
                let from = (cursor.after + 1).unsigned_abs();
                let some = self.shared.state().index.batches().held_ids(*batch, from, chunk);
                change.cursor.after = some.last().map_or(cursor.after, |last| *last as i64);
                self.end_step(change, &some, WaitingEnd::CANCELLED, Step::before(some.len() == chunk))
            }
            BulkKind::Release(batch) => {
                let batch = *batch;
                self.release_step(batch)
            }
            BulkKind::Cancel(batch) => {
                let some = self.select(&TaskSelection::OpenOfBatch(*batch), cursor)?;
                self.cancel_step(change, some)
            }
            BulkKind::Retry(selector) => {
                let wanted = selection(selector, false);
                let some = self.select(&wanted, cursor)?;
                self.retry_step(change, some)
            }
            BulkKind::Forget(selector) => {
                let wanted = selection(selector, true);
                let some = self.select(&wanted, cursor)?;
                self.forget_step(change, some)
            }
        }
    }

    fn select(&mut self, wanted: &TaskSelection, cursor: Cursor) -> CommandResult<Selected> {
        self.journal.select(wanted, cursor, self.chunk).map_err(unread)
    }

    /// Writes a change, unless this is its only step.
    fn store(&mut self, change: &mut BulkChange, step: Step) -> CommandResult<()> {
        if step == Step::More && change.stored.is_none() {
            if let Some(stored) = change.to_stored(self.last_bulk + 1) {
                self.change(&JournalChange::BeginBulk(&stored))?;
                self.last_bulk = stored.id;
                change.stored = Some(stored.id);
            }
        }
        Ok(())
    }

    fn end_step(
        &mut self,
        change: &mut BulkChange,
        ids: &[TaskId],
        end: WaitingEnd,
        step: Step,
    ) -> CommandResult<Step> {
        self.store(change, step)?;
        let (ended, written) = self.end_waiting(ids, end);
        change.progress.add(ended);
        written.map(|()| step)
    }

    /// Ends those of these tasks that wait; returns their number. They have ended also when that could not be
    /// written yet.
    pub(super) fn end_waiting(&mut self, ids: &[TaskId], end: WaitingEnd) -> (u64, CommandResult<()>) {
        let now = self.shared.clock.now();
        let cold: Vec<_> = {
            let state = self.shared.state();
            let is_cold = |id: &TaskId| matches!(state.index.waiting_body(*id), Some(None));
            ids.iter().copied().filter(is_cold).collect()
        };
        let read = self.journal.tasks(&cold, now.wall_ms).unwrap_or_else(|error| {
            tracing::error!("waiting tasks cannot be read: {error}");
            Vec::new()
        });
        let mut read: FxHashMap<_, _> = read.into_iter().map(|task| (task.record.id, task.record)).collect();
        let mut records = Vec::with_capacity(ids.len() + 1);
        let mut state = self.shared.state();
        let index = &mut state.index;
        let ended = ids.iter().filter(|id| index.end_waiting(**id, read.remove(id), end, now, &mut records));
        let ended = ended.count() as u64;
        index.note_batches(now, &mut records);
        let wake_set = index.wake_set(now);
        // Behind the ends that others have noted, which a batch that ends now has counted.
        state.write_queue.note(records);
        drop(state);
        self.shared.wakeups.notify(wake_set);
        (ended, self.write_now())
    }

    fn release_step(&mut self, batch: BatchId) -> CommandResult<Step> {
        let now = self.shared.clock.now();
        let mut records = Vec::new();
        let mut state = self.shared.state();
        let released = state.index.release_held(batch, self.chunk);
        state.index.note_batches(now, &mut records);
        let wake_set = state.index.wake_set(now);
        state.write_queue.note(records);
        drop(state);
        self.shared.wakeups.notify(wake_set);
        self.write_now()?;
        Ok(Step::before(released == self.chunk))
    }

    /// Ends what waits, and asks what runs to stop.
    fn cancel_step(&mut self, change: &mut BulkChange, selected: Selected) -> CommandResult<Step> {
        let step = Step::before(selected.has_more);
        self.store(change, step)?;
        let ids: Vec<_> = selected.tasks.iter().map(|(id, _)| *id).collect();
        let runs = ids.iter().any(|id| self.shared.state().index.is_running(*id));
        if runs && ids.len() > 1 {
            // What runs and what waits are written one after the other: the next process has to go on, too.
            self.store(change, Step::More)?;
        }
        let stopped = self.stop_running(&ids)?;
        change.cursor.after = selected.last;
        change.progress.add(stopped.len() as u64);
        self.end_step(change, &ids, WaitingEnd::CANCELLED, step)
    }

    fn retry_step(&mut self, change: &mut BulkChange, selected: Selected) -> CommandResult<Step> {
        let step = Step::before(selected.has_more);
        self.store(change, step)?;
        let now = self.shared.clock.now();
        let retried = self.retried(&selected, now.wall_ms)?;
        if let (BulkKind::Retry(TaskSelector::Task(_)), Some(RetriedTask { batch: Some(batch), .. })) =
            (&change.kind, retried.iter().find(|retried| retried.is_abandoned))
        {
            return Err(being_cancelled(*batch));
        }
        let retried: Vec<_> = retried.into_iter().filter(|retried| !retried.is_abandoned).collect();
        let (bulk, after) = (change.stored, selected.last);
        let written = self.change(&JournalChange::Retry { tasks: &retried, bulk, after });
        if written.is_err() {
            self.count_again(&retried);
        }
        written?;
        change.cursor.after = selected.last;
        change.progress.add(retried.len() as u64);
        let ended =
            retried.iter().map(|RetriedTask { task, from, .. }| (task.id, &*task.new.function, *from));
        self.retention.remove(ended);
        let mut state = self.shared.state();
        for retried in retried {
            state.index.restore(retried.again(), retried.from, now);
        }
        let wake_set = state.index.wake_set(now);
        drop(state);
        self.shared.wakeups.notify(wake_set);
        Ok(step)
    }

    /// Reads the tasks that are to be retried; their batches count them back from now on.
    fn retried(&mut self, selected: &Selected, now_ms: u64) -> CommandResult<Vec<RetriedTask>> {
        let ids: Vec<_> = selected.tasks.iter().map(|(id, _)| *id).collect();
        let tasks = self.journal.tasks(&ids, now_ms).map_err(unread)?;
        let states: FxHashMap<_, _> = selected.tasks.iter().copied().collect();
        let mut state = self.shared.state();
        let batches = state.index.batches();
        let retried = |task: framework_protocol::task::TaskRecord| {
            let from = states.get(&task.id).copied().flatten()?;
            let batch = task.new.batch();
            let known = batch.and_then(|batch| batches.get(batch)).map(|batch| batch.state);
            let is_abandoned = known == Some(BatchState::Abandoned);
            let counts = |batch: &BatchId| is_abandoned || batches.count_back(*batch, from);
            let counted = batch.filter(counts);
            Some(RetriedTask { is_alone: batch != counted, batch: counted, task, from, is_abandoned })
        };
        Ok(tasks.into_iter().map(|task| task.record).filter_map(retried).collect())
    }

    /// Takes back that the batches of these tasks have counted them back.
    fn count_again(&mut self, retried: &[RetriedTask]) {
        let now = self.shared.clock.now();
        let mut records = Vec::new();
        let mut state = self.shared.state();
        for RetriedTask { batch, from, .. } in retried {
            batch.iter().for_each(|batch| state.index.batches().count_end(*batch, *from));
        }
        state.index.note_batches(now, &mut records);
        state.write_queue.note(records);
    }

    fn forget_step(&mut self, change: &mut BulkChange, selected: Selected) -> CommandResult<Step> {
        let step = Step::before(selected.has_more);
        self.store(change, step)?;
        let functions = self.functions(&selected)?;
        let (bulk, after) = (change.stored, selected.last);
        self.change(&JournalChange::Forget { tasks: &selected.tasks, bulk, after })?;
        change.cursor.after = selected.last;
        change.progress.add(selected.tasks.len() as u64);
        let function = |id: &TaskId| functions.get(id).map_or("", String::as_str);
        let ended = selected.tasks.iter().filter_map(|(id, state)| Some((*id, function(id), (*state)?)));
        self.retention.remove(ended);
        Ok(step)
    }

    /// The functions of tasks that are to be forgotten; none where functions do not matter.
    fn functions(&mut self, selected: &Selected) -> CommandResult<FxHashMap<TaskId, String>> {
        if !self.retention.has_functions() {
            return Ok(FxHashMap::default());
        }
        let ids: Vec<_> = selected.tasks.iter().map(|(id, _)| *id).collect();
        self.journal.functions(&ids).map_err(unread)
    }
}

/// The tasks that are retried or forgotten.
fn selection(selector: &TaskSelector, with_done: bool) -> TaskSelection {
    match selector {
        TaskSelector::Task(id) => TaskSelection::Ended(*id),
        TaskSelector::Batch(batch) => TaskSelection::EndedOfBatch { batch: *batch, with_done },
        TaskSelector::Failed(filter) => TaskSelection::Failed(filter.clone()),
    }
}

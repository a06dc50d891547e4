//! Groups in the tables of the fake journal.

use std::sync::atomic::Ordering;

use framework_protocol::RequestError;
use framework_protocol::task::{BatchId, NewTask, TaskId, TaskRecord};
use framework_protocol::views::{BatchInfo, BatchState, State};

use super::tables::{FakeEnd, FakeRetry, FakeTables, FakeTask};
use crate::store::durable::count_in;
use crate::store::durable::journal::{
    AttemptRun, EndRecord, Entry, FollowUp, OptionsEncoder, Record, RetriedTask, WriteGroup, Written,
};
use crate::store::idempotency::check_duplicate;
use crate::store::view_parts::{attempt, ms_of};
use crate::store::{Accepted, FIRST_ATTEMPTS, LAST_ATTEMPTS};

impl FakeTables {
    pub(super) fn write(
        &mut self,
        group: &WriteGroup<'_>,
        next_id: &mut TaskId,
        key_ms: u64,
        batches_kept: usize,
    ) -> Written {
        let mut written = Written::default();
        for entry in group.entries() {
            match entry {
                Entry::Tasks(tasks) => {
                    let accepted = tasks.iter().map(|new| self.accept(new, next_id, group.now_ms, key_ms));
                    written.accepted.extend(accepted);
                }
                Entry::Record(Record::Follow(FollowUp { new, completes })) => {
                    let id = self.insert(new, next_id, group.now_ms);
                    written.followed.push(id);
                    let batch = completes.as_ref().and_then(|batch| self.batches.get_mut(batch));
                    batch.into_iter().for_each(|batch| batch.then_task = Some(id));
                }
                Entry::Record(record) => self.record(record, *next_id, batches_kept),
            }
        }
        for end in group.expired {
            self.forget(end.id, Some(end.state), *next_id);
        }
        written
    }

    fn accept(
        &mut self,
        new: &NewTask,
        next_id: &mut TaskId,
        now_ms: u64,
        key_ms: u64,
    ) -> Result<Accepted, RequestError> {
        let key = new.extra.as_ref().and_then(|extra| extra.key.as_deref());
        let key = key.map(|key| (new.function.to_string(), key.to_owned()));
        let owner = key.as_ref().and_then(|key| self.keys.get(key));
        let owner = owner.filter(|(_, until_ms)| *until_ms > now_ms).map(|(id, _)| *id);
        if let Some((id, task)) = owner.and_then(|id| Some((id, self.tasks.get(&id)?))) {
            check_duplicate(new, id, &task.args)?;
            return Ok(Accepted { id, duplicate: self.state(id) });
        }
        let id = self.insert(new, next_id, now_ms);
        key.into_iter().for_each(|key| {
            self.keys.insert(key, (id, now_ms.saturating_add(key_ms)));
        });
        Ok(Accepted { id, duplicate: None })
    }

    fn insert(&mut self, new: &NewTask, next_id: &mut TaskId, now_ms: u64) -> TaskId {
        let id = *next_id;
        *next_id += 1;
        let task = FakeTask {
            function: new.function.clone(),
            queue: new.queue.clone(),
            priority: new.priority,
            accepted_ms: now_ms,
            due_ms: ms_of(new.due, now_ms),
            batch: new.batch(),
            options: OptionsEncoder::default().encode(new, now_ms).map(str::to_owned),
            args: new.args.clone(),
        };
        self.tasks.insert(id, task);
        new.batch().into_iter().for_each(|batch| self.count(batch, |batch| batch.total += 1));
        id
    }

    fn record(&mut self, record: &Record, next_id: TaskId, batches_kept: usize) {
        match record {
            Record::Ended(ended) => self.end(ended, next_id),
            Record::Retry { task, run, error, due_ms, pause } => {
                self.note_attempt(task.id, run, error);
                self.note_progress(task);
                let (due_ms, pause_ms) = (*due_ms, pause.as_millis() as u64);
                self.retries.insert(task.id, FakeRetry { due_ms, pause_ms, ..counters(task, run.number) });
            }
            Record::Revised(task) => {
                if let Some(known) = self.tasks.get_mut(&task.id) {
                    (known.priority, known.due_ms) = (task.new.priority, None);
                    known.args = task.new.args.clone();
                }
                self.retries.insert(task.id, counters(task, task.attempts()));
            }
            Record::Batch(info) => self.end_batch(info, batches_kept),
            Record::Follow(_) => unreachable!("it gets an id before"),
        }
    }

    fn end(&mut self, ended: &EndRecord, next_id: TaskId) {
        let EndRecord { task, state, at_ms, run, outcome, keep } = ended;
        task.new.batch().into_iter().for_each(|batch| self.count_end(batch, *state, 1));
        if !keep {
            return self.forget(task.id, Some(*state), next_id);
        }
        let last = run.clone().map(|run| attempt(run, outcome.as_ref().err().cloned()));
        let end = FakeEnd { state: *state, ended_ms: *at_ms, last, outcome: outcome.clone() };
        self.ends.insert(task.id, end);
        let is_unseen = run.as_ref().is_some_and(|run| run.ran.is_none());
        if is_unseen || *state == State::Failed && task.crashes() > 0 {
            self.retries.insert(task.id, counters(task, task.attempts()));
        }
        self.note_progress(task);
    }

    fn note_attempt(&mut self, id: TaskId, run: &AttemptRun, error: &str) {
        self.attempts.insert((id, run.number), attempt(run.clone(), Some(error.to_owned())));
        self.bound_attempts(id, run.number);
    }

    fn note_progress(&mut self, task: &TaskRecord) {
        if let Some(log) = task.progress_log() {
            self.notes.insert(task.id, *log);
        }
    }

    /// Deletes the attempts in the middle of a long history, of which `last` is the latest.
    fn bound_attempts(&mut self, id: TaskId, last: u32) {
        if let Some(surplus) = last.checked_sub(LAST_ATTEMPTS).filter(|surplus| *surplus > FIRST_ATTEMPTS) {
            let is_kept = |number: u32| number <= FIRST_ATTEMPTS || number > surplus;
            self.attempts.retain(|(task, number), _| *task != id || is_kept(*number));
        }
    }

    /// Changes the counts of a batch that has not ended.
    fn count(&mut self, id: BatchId, change: impl FnOnce(&mut BatchInfo)) {
        if let Some(batch) = self.batches.get_mut(&id).filter(|batch| batch.state != BatchState::Ended) {
            change(batch);
        }
    }

    fn count_end(&mut self, id: BatchId, state: State, count: i64) {
        self.count(id, |batch| {
            let ended = match state {
                State::Done => &mut batch.done,
                State::Failed => &mut batch.failed,
                State::Cancelled => &mut batch.cancelled,
                State::Expired => &mut batch.expired,
                State::Waiting | State::Running => return,
            };
            *ended = ended.saturating_add_signed(count);
        });
    }

    fn end_batch(&mut self, info: &BatchInfo, kept: usize) {
        if let Some(batch) = self.batches.get_mut(&info.id) {
            (batch.state, batch.ended_ms, batch.then) = (info.state, info.ended_ms, info.then.clone());
        }
        let last = self.batches.keys().last().copied().unwrap_or(0);
        let is_old = |id: BatchId| id.saturating_add(kept.max(1) as u64) <= last && id != info.id;
        self.batches.retain(|id, batch| batch.state != BatchState::Ended || !is_old(*id));
    }

    /// Deletes all that is kept of a task, and counts it if it has ended.
    pub(super) fn forget(&mut self, id: TaskId, state: Option<State>, next_id: TaskId) {
        state.into_iter().for_each(|state| count_in(&mut self.ledger, state));
        self.next_id = next_id;
        self.tasks.remove(&id);
        self.ends.remove(&id);
        self.attempts.retain(|(task, _), _| *task != id);
        self.retries.remove(&id);
        self.notes.remove(&id);
        self.cancels.remove(&id);
        self.keys.retain(|_, (task, _)| *task != id);
    }

    /// Lets an ended task wait again.
    pub(super) fn retry(&mut self, retried: &RetriedTask) {
        let RetriedTask { task, from, batch, is_alone, .. } = retried;
        let id = task.id;
        if let Some(task) = self.tasks.get_mut(&id).filter(|_| *is_alone) {
            task.batch = None;
        }
        let last = self.ends.remove(&id).and_then(|end| end.last);
        if let Some(last) = last {
            self.attempts.insert((id, last.number), last);
        }
        self.cancels.remove(&id);
        let last = self.attempts.range((id, 0)..=(id, u32::MAX)).next_back();
        let attempts = last.map_or(0, |((_, number), _)| *number);
        self.retries.insert(id, FakeRetry { attempts, ..FakeRetry::default() });
        self.bound_attempts(id, attempts);
        task.attempts.store(attempts, Ordering::Relaxed);
        batch.iter().for_each(|batch| self.count_end(*batch, *from, -1));
    }
}

fn counters(task: &TaskRecord, attempts: u32) -> FakeRetry {
    let (failures, crashes) = (task.failures(), task.crashes());
    FakeRetry { attempts, failures, crashes, ..FakeRetry::default() }
}

//! The history of the memory store: ended tasks for a while, idempotency keys, batches and schedules.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use framework_protocol::task::{BatchId, NewTask, TaskId, TaskRecord};
use framework_protocol::views::{
    AttemptInfo, BatchInfo, BatchState, ScheduleInfo, ScheduleNote, State, TaskSelector,
};
use framework_protocol::{ErrorCode, RequestError};
use rustc_hash::FxHashMap;

use super::ended_tasks::{EndedTasks, selects, size};
use super::idempotency_keys::IdempotencyKeys;
use crate::store::clock::Now;
use crate::store::idempotency::check_duplicate;
use crate::store::index::{AttemptRun, EndRecord, TaskIndex};
use crate::store::options::StoreOptions;
use crate::store::refusals::{being_cancelled, has_ended, has_not_ended, is_done, no_task};
use crate::store::retention::{FailedRemovalWarning, RetentionClasses, RetentionLimit, is_failed};
use crate::store::view_parts::attempt;
use crate::store::{Accepted, FIRST_ATTEMPTS, LAST_ATTEMPTS};

#[derive(Debug)]
pub(super) struct History {
    classes: RetentionClasses,
    /// The ended tasks of each class.
    pub(super) ended: Vec<EndedTasks>,
    warning: FailedRemovalWarning,
    /// The bytes that these take, about, and the most they may take.
    bytes: usize,
    max_bytes: usize,
    /// The attempts that were followed by another one.
    pub(super) attempts: FxHashMap<TaskId, Vec<AttemptInfo>>,
    keys: IdempotencyKeys,
    pub(super) batches: VecDeque<BatchInfo>,
    batches_max: usize,
    pub(super) schedules: BTreeMap<String, ScheduleInfo>,
}

impl History {
    pub(super) fn new(options: &StoreOptions) -> Self {
        let classes = RetentionClasses::new(options);
        Self {
            ended: classes.limits().iter().map(|_| EndedTasks::default()).collect(),
            classes,
            warning: FailedRemovalWarning::default(),
            bytes: 0,
            max_bytes: options.max_memory / 4,
            attempts: FxHashMap::default(),
            keys: IdempotencyKeys::new(options.idempotency_window),
            batches: VecDeque::new(),
            batches_max: options.batch_retention_count,
            schedules: BTreeMap::new(),
        }
    }

    /// The answer to a task whose key belongs to an earlier one.
    pub(super) fn duplicate(
        &self,
        new: &NewTask,
        index: &TaskIndex,
        now: Now,
    ) -> Option<Result<Accepted, RequestError>> {
        let first = self.keys.owner(new, now.wall_ms)?;
        let state = match self.ended(first.id) {
            Some(ended) => ended.state,
            None if index.is_running(first.id) => State::Running,
            None => State::Waiting,
        };
        let checked = check_duplicate(new, first.id, &first.new.args);
        Some(checked.map(|()| Accepted { id: first.id, duplicate: Some(state) }))
    }

    pub(super) fn remember(&mut self, task: &Arc<TaskRecord>, now: Now) {
        self.keys.add(task, now.wall_ms);
    }

    /// Removes all that is kept of a task beside its end.
    fn forget_task(&mut self, task: &TaskRecord) {
        if !self.attempts.is_empty() {
            self.attempts.remove(&task.id);
        }
        self.keys.remove(task);
    }

    /// Keeps a task that has ended, or adds it to the dropped ones.
    pub(super) fn keep(&mut self, ended: EndRecord, dropped: &mut Vec<Arc<TaskRecord>>) {
        if ended.keep {
            self.bytes += size(&ended);
            let class = self.classes.class(&ended.task.new.function, ended.state);
            self.ended[class].push(ended);
        } else {
            self.forget_task(&ended.task);
            dropped.push(ended.task);
        }
    }

    /// Keeps an attempt that is followed by another one.
    pub(super) fn note(&mut self, id: TaskId, run: AttemptRun, error: String) {
        let attempts = self.attempts.entry(id).or_default();
        if attempts.len() >= (FIRST_ATTEMPTS + LAST_ATTEMPTS) as usize {
            attempts.remove(FIRST_ATTEMPTS as usize);
        }
        attempts.push(attempt(run, Some(error)));
    }

    /// Drops the tasks that have been kept long enough, and when there is no room, the oldest; failed ones
    /// last.
    pub(super) fn trim(&mut self, now: Now, dropped: &mut Vec<Arc<TaskRecord>>) {
        let mut early = 0;
        for class in 0..self.ended.len() {
            let RetentionLimit { time_ms, count } = self.classes.limits()[class];
            let since = now.wall_ms.saturating_sub(time_ms);
            self.ended[class].correct_future(now.wall_ms);
            while let Some(first) = self.ended[class].tasks.front() {
                let is_over = first.at_ms < since;
                if !is_over && self.ended[class].tasks.len() <= count {
                    break;
                }
                early += usize::from(is_failed(class) && !is_over);
                self.drop_oldest(class, dropped);
            }
        }
        let order = (0..self.ended.len()).step_by(2).chain((1..self.ended.len()).step_by(2));
        for class in order {
            while self.bytes > self.max_bytes && self.drop_oldest(class, dropped) {
                early += usize::from(is_failed(class));
            }
        }
        self.warning.note(early, now.wall_ms);
    }

    fn drop_oldest(&mut self, class: usize, dropped: &mut Vec<Arc<TaskRecord>>) -> bool {
        let Some(ended) = self.ended[class].pop() else { return false };
        self.bytes = self.bytes.saturating_sub(size(&ended));
        self.forget_task(&ended.task);
        dropped.push(ended.task);
        true
    }

    pub(super) fn batch(&mut self, batch: BatchInfo) {
        if batch.ended_ms.is_some() {
            self.batches.push_back(batch);
            if self.batches.len() > self.batches_max {
                self.batches.pop_front();
            }
        }
    }

    /// Notes the task that follows a batch.
    pub(super) fn complete(&mut self, id: BatchId, task: TaskId) {
        if let Some(batch) = self.batches.iter_mut().rev().find(|batch| batch.id == id) {
            batch.then_task = Some(task);
        }
    }

    pub(super) fn schedule(&mut self, name: String, note: ScheduleNote) {
        let known = self.schedules.entry(name.clone());
        known.or_insert_with(|| ScheduleInfo::new(name)).note(note);
    }

    /// The error for a cancel of a task that neither waits nor runs.
    pub(super) fn nothing_to_cancel(&self, id: TaskId) -> RequestError {
        match self.ended(id) {
            Some(ended) => has_ended(id, ended.state),
            None => no_task(id),
        }
    }

    /// Removes ended tasks; returns their number.
    pub(super) fn forget(
        &mut self,
        selector: &TaskSelector,
        index: &mut TaskIndex,
    ) -> Result<u64, RequestError> {
        match selector {
            TaskSelector::Task(id) => self.check_ended(*id, index)?,
            TaskSelector::Batch(id) => check_batch(*id, index)?,
            TaskSelector::Failed(_) => {}
        }
        let forgotten = self.extract(|ended| selects(selector, ended));
        forgotten.iter().for_each(|ended| self.forget_task(&ended.task));
        Ok(forgotten.len() as u64)
    }

    /// Removes the ended tasks that are to wait again, each with the state in which it had ended.
    pub(super) fn take_back(
        &mut self,
        selector: &TaskSelector,
        index: &mut TaskIndex,
    ) -> Result<Vec<(TaskRecord, State)>, RequestError> {
        match selector {
            TaskSelector::Task(id) => self.check_retried(*id, index)?,
            TaskSelector::Batch(id) if is_abandoned(*id, index) => return Err(being_cancelled(*id)),
            TaskSelector::Batch(id) => check_batch(*id, index)?,
            TaskSelector::Failed(_) => {}
        }
        let selected = self.extract(|ended| {
            let batch = ended.task.new.batch();
            ended.state != State::Done
                && selects(selector, ended)
                && !batch.is_some_and(|batch| is_abandoned(batch, index))
        });
        let mut again = Vec::with_capacity(selected.len());
        for ended in selected {
            self.attempts.entry(ended.task.id).or_default().extend(ended.attempt());
            again.push((TaskRecord::again(&ended.task), ended.state));
        }
        again.sort_by_key(|(task, _)| task.id);
        Ok(again)
    }

    /// Removes the ended tasks that are selected.
    fn extract(&mut self, mut is_selected: impl FnMut(&EndRecord) -> bool) -> Vec<EndRecord> {
        let mut extracted = Vec::new();
        for ended in &mut self.ended {
            let all = std::mem::take(&mut ended.tasks);
            let (selected, kept): (Vec<_>, Vec<_>) = all.into_iter().partition(|ended| is_selected(ended));
            *ended = kept.into_iter().collect();
            extracted.extend(selected);
        }
        self.bytes = self.ended.iter().flat_map(|ended| &ended.tasks).map(size).sum();
        extracted
    }

    pub(super) fn ended(&self, id: TaskId) -> Option<&EndRecord> {
        self.ended.iter().find_map(|ended| ended.find(id))
    }

    fn check_retried(&self, id: TaskId, index: &mut TaskIndex) -> Result<(), RequestError> {
        self.check_ended(id, index)?;
        let ended = self.ended(id);
        if ended.is_some_and(|ended| ended.state == State::Done) {
            return Err(is_done(id));
        }
        let batch = ended.and_then(|ended| ended.task.new.batch());
        match batch.filter(|batch| is_abandoned(*batch, index)) {
            Some(batch) => Err(being_cancelled(batch)),
            None => Ok(()),
        }
    }

    fn check_ended(&self, id: TaskId, index: &TaskIndex) -> Result<(), RequestError> {
        if index.is_running(id) || index.waiting_body(id).is_some() {
            return Err(has_not_ended(id));
        }
        self.ended(id).map(|_| ()).ok_or_else(|| no_task(id))
    }
}

fn is_abandoned(batch: BatchId, index: &mut TaskIndex) -> bool {
    index.batches().get(batch).is_some_and(|batch| batch.state == BatchState::Abandoned)
}

/// # Errors
/// When there never was such a batch.
fn check_batch(id: BatchId, index: &mut TaskIndex) -> Result<(), RequestError> {
    match index.batches().gone(id) {
        error if error.code == ErrorCode::UnknownTask => Err(error),
        _ => Ok(()),
    }
}

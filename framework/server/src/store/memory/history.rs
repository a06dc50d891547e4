//! What the memory store keeps beside the books: ended tasks for a while, keys, and notes of all kinds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use framework_protocol::task::{BatchId, NewTask, TaskId, TaskRecord};
use framework_protocol::views::{
    AttemptInfo, BatchInfo, Filter, QueueInfo, ScheduleInfo, ScheduleNote, State, TaskSelector, TaskSummary,
};
use framework_protocol::{ErrorCode, RequestError};
use rustc_hash::FxHashMap;

use crate::store::clock::Now;
use crate::store::index::{AttemptRun, EndRecord, ReadyAt, TaskIndex, no_batch};
use crate::store::options::StoreOptions;
use crate::store::query::admits;
use crate::store::view_parts::{TaskViewParts, story, summary};
use crate::store::{Query, QueryResult};

/// How many ended batches are remembered.
const BATCHES_MAX: usize = 1_000;
/// What a story takes beside arguments and outcome, about, in bytes.
const OVERHEAD: usize = 512;

#[derive(Debug)]
pub(super) struct History {
    keep_ms: u64,
    retention_count: usize,
    key_ms: u64,
    /// In the order of their ends.
    ended: VecDeque<EndRecord>,
    /// Their ids, close together: one among many is found without a look at the others.
    ids: VecDeque<TaskId>,
    /// About how many bytes these take, and may take.
    bytes: usize,
    bytes_max: usize,
    /// Attempts that were followed by another one.
    history: FxHashMap<TaskId, Vec<AttemptInfo>>,
    keys: FxHashMap<Box<str>, (TaskId, u64)>,
    key_order: VecDeque<(Box<str>, u64)>,
    batches: VecDeque<BatchInfo>,
    schedules: BTreeMap<String, ScheduleInfo>,
}

impl History {
    pub(super) fn new(policy: &StoreOptions) -> Self {
        Self {
            keep_ms: policy.retention_time.as_millis() as u64,
            retention_count: policy.retention_count,
            key_ms: policy.idempotency_window.as_millis() as u64,
            ended: VecDeque::new(),
            ids: VecDeque::new(),
            bytes: 0,
            bytes_max: policy.max_memory / 4,
            history: FxHashMap::default(),
            keys: FxHashMap::default(),
            key_order: VecDeque::new(),
            batches: VecDeque::new(),
            schedules: BTreeMap::new(),
        }
    }

    /// The task that a key belongs to already.
    pub(super) fn known(&self, new: &NewTask, now: Now) -> Option<TaskId> {
        let key = new.extra.as_ref()?.key.as_ref()?;
        self.keys.get(key).filter(|(_, until)| *until > now.wall_ms).map(|(id, _)| *id)
    }

    pub(super) fn remember(&mut self, new: &NewTask, id: TaskId, now: Now) {
        let Some(key) = new.extra.as_ref().and_then(|rare| rare.key.clone()) else { return };
        let until = now.wall_ms.saturating_add(self.key_ms);
        self.keys.insert(key.clone(), (id, until));
        self.key_order.push_back((key, until));
    }

    /// Keeps the story of a task that has ended.
    pub(super) fn keep(&mut self, ended: EndRecord, gone: &mut Vec<Arc<TaskRecord>>) {
        if ended.keep {
            self.bytes += size(&ended);
            self.ids.push_back(ended.task.id);
            self.ended.push_back(ended);
        } else {
            self.history.remove(&ended.task.id);
            gone.push(ended.task);
        }
    }

    /// Keeps the story of an attempt that is followed by another one.
    pub(super) fn note(&mut self, id: TaskId, run: AttemptRun, error: String) {
        self.history.entry(id).or_default().push(attempt(run, Some(error)));
    }

    /// Lets go of what has been kept long enough.
    pub(super) fn trim(&mut self, now: Now, gone: &mut Vec<Arc<TaskRecord>>) {
        let since = now.wall_ms.saturating_sub(self.keep_ms);
        while self.ended.len() > self.retention_count
            || self.bytes > self.bytes_max
            || self.ended.front().is_some_and(|first| first.at_ms < since)
        {
            let Some(ended) = self.ended.pop_front() else { break };
            self.ids.pop_front();
            self.bytes = self.bytes.saturating_sub(size(&ended));
            if !self.history.is_empty() {
                self.history.remove(&ended.task.id);
            }
            gone.push(ended.task);
        }
        while let Some((key, until)) = self.key_order.front().filter(|(_, until)| *until <= now.wall_ms) {
            // A key may have been used again since.
            if self.keys.get(key).is_some_and(|(_, known)| known == until) {
                self.keys.remove(key);
            }
            self.key_order.pop_front();
        }
    }

    pub(super) fn batch(&mut self, story: BatchInfo) {
        if story.ended_ms.is_some() {
            self.batches.push_back(story);
            if self.batches.len() > BATCHES_MAX {
                self.batches.pop_front();
            }
        }
    }

    /// Notes which task the completion of a batch is.
    pub(super) fn complete(&mut self, batch: BatchId, task: TaskId) {
        if let Some(story) = self.batches.iter_mut().rev().find(|story| story.id == batch) {
            story.then_task = Some(task);
        }
    }

    pub(super) fn schedule(&mut self, name: String, note: ScheduleNote) {
        let known = self.schedules.entry(name.clone());
        known.or_insert_with(|| ScheduleInfo::new(name)).note(note);
    }

    /// Why a task cannot be changed that neither waits nor runs.
    pub(super) fn has_ended(&self, id: TaskId) -> RequestError {
        match self.ended(id) {
            Some(ended) => conflict(format!("Task {id} has ended already: it is {}.", ended.state.name())),
            None => no_task(id),
        }
    }

    pub(super) fn batch_has_ended(&self, id: BatchId) -> RequestError {
        match self.batches.iter().any(|story| story.id == id) {
            true => conflict(format!("Batch {id} has ended already.")),
            false => no_batch(id),
        }
    }

    /// Removes ended tasks; how many these were.
    pub(super) fn forget(&mut self, target: &TaskSelector, index: &TaskIndex) -> Result<u64, RequestError> {
        let before = self.ended.len();
        if let TaskSelector::Task(id) = target {
            self.is_over(*id, index)?;
        }
        let history = &mut self.history;
        self.ended.retain(|ended| {
            let is_meant = is_target(target, ended);
            if is_meant {
                history.remove(&ended.task.id);
            }
            !is_meant
        });
        self.weigh();
        Ok((before - self.ended.len()) as u64)
    }

    /// Gives ended tasks that are to wait again, and how they had ended.
    pub(super) fn take_back(
        &mut self,
        target: &TaskSelector,
        index: &TaskIndex,
    ) -> Result<Vec<(TaskRecord, State)>, RequestError> {
        if let TaskSelector::Task(id) = target {
            self.is_over(*id, index)?;
            if self.ended(*id).is_some_and(|ended| ended.state == State::Done) {
                return Err(conflict(format!("Task {id} is done: there is nothing to try again.")));
            }
        }
        let mut again = Vec::new();
        let mut kept = VecDeque::with_capacity(self.ended.len());
        for ended in self.ended.drain(..) {
            if ended.state != State::Done && is_target(target, &ended) {
                let attempts = self.history.entry(ended.task.id).or_default();
                attempts.extend(ended.attempt());
                again.push((TaskRecord::again(&ended.task), ended.state));
            } else {
                kept.push_back(ended);
            }
        }
        self.ended = kept;
        self.weigh();
        again.sort_by_key(|(task, _)| task.id);
        Ok(again)
    }

    fn weigh(&mut self) {
        self.bytes = self.ended.iter().map(size).sum();
        self.ids = self.ended.iter().map(|ended| ended.task.id).collect();
    }

    fn ended(&self, id: TaskId) -> Option<&EndRecord> {
        self.ids.iter().position(|there| *there == id).and_then(|place| self.ended.get(place))
    }

    fn is_over(&self, id: TaskId, index: &TaskIndex) -> Result<(), RequestError> {
        let waits = || index.iter().any(|(waiting, ..)| waiting == id);
        if index.is_running(id) || waits() {
            return Err(conflict(format!("Task {id} has not ended yet.")));
        }
        self.ended(id).map(|_| ()).ok_or_else(|| no_task(id))
    }

    pub(super) fn query(&self, question: Query, index: &mut TaskIndex, now: Now) -> QueryResult {
        match question {
            Query::Task(id) => {
                let over = self.ended(id).map(TaskSource::Over);
                let found = over.or_else(|| alive(index, now).find(|known| known.task().id == id));
                let told =
                    |known: TaskSource| QueryResult::Task(Box::new(story(known.task(), self.view(&known))));
                found.map_or(QueryResult::Nothing, told)
            }
            Query::Tasks(filter) => QueryResult::Tasks(self.list(&filter, index, now)),
            Query::Batch(id) => {
                let ended = self.batches.iter().find(|story| story.id == id);
                let found = index.batches().get(id).or(ended);
                found.map_or(QueryResult::Nothing, |story| QueryResult::Batch(Box::new(story.clone())))
            }
            Query::Batches { limit } => {
                let mut all: Vec<_> = index.batches().iter().chain(&self.batches).cloned().collect();
                all.sort_by_key(|story| std::cmp::Reverse(story.id));
                all.truncate(limit);
                QueryResult::Batches(all)
            }
            Query::Queues => QueryResult::Queues(queues(index)),
            Query::Schedules => QueryResult::Schedules(self.schedules.values().cloned().collect()),
        }
    }

    fn list(&self, filter: &Filter, index: &TaskIndex, now: Now) -> Vec<TaskSummary> {
        let all = alive(index, now).chain(self.ended.iter().map(TaskSource::Over));
        let mut found: Vec<_> =
            all.filter(|known| admits(filter, known.task(), Some(known.state()))).collect();
        found.sort_unstable_by_key(|known| std::cmp::Reverse(known.task().id));
        found.truncate(filter.limit);
        found.iter().map(|known| summary(known.task(), &self.view(known))).collect()
    }

    fn view(&self, known: &TaskSource) -> TaskViewParts {
        let mut history = self.history.get(&known.task().id).cloned().unwrap_or_default();
        match known {
            TaskSource::Alive { task, state, due_ms } => TaskViewParts {
                state: Some(*state),
                due_ms: *due_ms,
                attempts: task.attempts() + u32::from(*state == State::Running),
                error: history.last().and_then(|attempt| attempt.error.clone()),
                history,
                notes: task.notes(),
                ..TaskViewParts::default()
            },
            TaskSource::Over(ended) => {
                history.extend(ended.attempt());
                let result = ended.outcome.as_ref().ok();
                TaskViewParts {
                    state: Some(ended.state),
                    ended_ms: Some(ended.at_ms),
                    attempts: ended.run.map_or(ended.task.attempts(), |run| run.number),
                    error: ended.outcome.as_ref().err().cloned(),
                    history,
                    notes: ended.task.notes(),
                    result: result.and_then(|result| serde_json::from_slice(result).ok()),
                    due_ms: None,
                }
            }
        }
    }
}

/// A task of which there is something to tell.
enum TaskSource<'a> {
    Alive { task: &'a Arc<TaskRecord>, state: State, due_ms: Option<u64> },
    Over(&'a EndRecord),
}

impl TaskSource<'_> {
    fn task(&self) -> &Arc<TaskRecord> {
        match self {
            Self::Alive { task, .. } => task,
            Self::Over(ended) => &ended.task,
        }
    }

    fn state(&self) -> State {
        match self {
            Self::Alive { state, .. } => *state,
            Self::Over(ended) => ended.state,
        }
    }
}

/// Every task that has not ended.
fn alive(index: &TaskIndex, now: Now) -> impl Iterator<Item = TaskSource<'_>> {
    let waiting = index.iter().filter_map(move |(_, task, _, when)| {
        let due_ms = if when == ReadyAt::Now { None } else { when.ms(now) };
        Some(TaskSource::Alive { task: task?, state: State::Waiting, due_ms })
    });
    let running = index.running();
    let running = running
        .filter_map(|(_, task)| Some(TaskSource::Alive { task: task?, state: State::Running, due_ms: None }));
    waiting.chain(running)
}

fn attempt(run: AttemptRun, error: Option<String>) -> AttemptInfo {
    AttemptInfo {
        number: run.number,
        started_ms: run.started_ms,
        ran_ms: run.ran.map(|ran| ran.as_secs_f64() * 1000.0),
        pid: std::process::id(),
        error,
    }
}

/// About how many bytes the story of a task takes.
fn size(ended: &EndRecord) -> usize {
    let outcome = ended.outcome.as_ref().map_or_else(String::len, |result| result.len());
    ended.task.new.args.len() + outcome + OVERHEAD
}

fn is_target(target: &TaskSelector, ended: &EndRecord) -> bool {
    match target {
        TaskSelector::Task(id) => ended.task.id == *id,
        TaskSelector::Batch(batch) => ended.task.new.batch() == Some(*batch),
        TaskSelector::Failed { queue } => {
            let queue = queue.as_deref();
            ended.state == State::Failed && queue.is_none_or(|queue| queue == ended.task.new.queue)
        }
    }
}

/// Every queue with what is in it.
pub(in crate::store) fn queues(index: &mut TaskIndex) -> Vec<QueueInfo> {
    let depths = index.counts().queues;
    let shares = index.order().shares();
    let story = |(name, weight, rate): (&'static str, u32, Option<crate::store::Rate>)| QueueInfo {
        name: name.to_owned(),
        depth: depths.get(name).copied().unwrap_or_default(),
        weight,
        rate: rate.map(|rate| rate.to_string()),
    };
    let mut all: Vec<_> = shares.map(story).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

pub(in crate::store) fn no_task(id: TaskId) -> RequestError {
    RequestError::unknown_task(id)
}

pub(in crate::store) fn conflict(message: String) -> RequestError {
    RequestError::new(ErrorCode::Conflict, message)
}

//! The history of the memory store: ended tasks for a while, idempotency keys, batches and schedules.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use framework_protocol::task::{BatchId, NewTask, TaskId, TaskRecord};
use framework_protocol::views::{
    AttemptInfo, BatchInfo, Filter, QueueInfo, ScheduleInfo, ScheduleNote, State, TaskSelector, TaskSummary,
};
use framework_protocol::{ErrorCode, RequestError};
use rustc_hash::FxHashMap;

use crate::store::clock::Now;
use crate::store::index::{AttemptRun, EndRecord, TaskIndex, no_batch};
use crate::store::options::StoreOptions;
use crate::store::query::matches;
use crate::store::view_parts::{TaskViewParts, attempt, details, summary};
use crate::store::{Query, QueryResult};

/// The number of ended batches that are kept.
const BATCHES_MAX: usize = 1_000;
/// The memory of an ended task beside its arguments and outcome, about, in bytes.
const OVERHEAD: usize = 512;

#[derive(Debug)]
pub(super) struct History {
    keep_ms: u64,
    retention_count: usize,
    key_ms: u64,
    /// The ended tasks in the order of their ends.
    ended: VecDeque<EndRecord>,
    /// Their ids, close together in memory: one among many is found without a look at the tasks.
    ids: VecDeque<TaskId>,
    /// The bytes that these take, about, and the most they may take.
    bytes: usize,
    max_bytes: usize,
    /// The attempts that were followed by another one.
    attempts: FxHashMap<TaskId, Vec<AttemptInfo>>,
    /// The idempotency keys, each with its task and the end of its window. Clients choose the keys, so that
    /// the hash is seeded.
    keys: HashMap<Box<str>, (TaskId, u64)>,
    key_order: VecDeque<(Box<str>, u64)>,
    batches: VecDeque<BatchInfo>,
    schedules: BTreeMap<String, ScheduleInfo>,
}

impl History {
    pub(super) fn new(options: &StoreOptions) -> Self {
        Self {
            keep_ms: options.retention_time.as_millis() as u64,
            retention_count: options.retention_count,
            key_ms: options.idempotency_window.as_millis() as u64,
            ended: VecDeque::new(),
            ids: VecDeque::new(),
            bytes: 0,
            max_bytes: options.max_memory / 4,
            attempts: FxHashMap::default(),
            keys: HashMap::default(),
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
        let Some(key) = new.extra.as_ref().and_then(|extra| extra.key.clone()) else { return };
        let until = now.wall_ms.saturating_add(self.key_ms);
        self.keys.insert(key.clone(), (id, until));
        self.key_order.push_back((key, until));
    }

    /// Keeps a task that has ended, or adds it to the dropped ones.
    pub(super) fn keep(&mut self, ended: EndRecord, dropped: &mut Vec<Arc<TaskRecord>>) {
        if ended.keep {
            self.bytes += size(&ended);
            self.ids.push_back(ended.task.id);
            self.ended.push_back(ended);
        } else {
            self.attempts.remove(&ended.task.id);
            dropped.push(ended.task);
        }
    }

    /// Keeps an attempt that is followed by another one.
    pub(super) fn note(&mut self, id: TaskId, run: AttemptRun, error: String) {
        self.attempts.entry(id).or_default().push(attempt(run, Some(error)));
    }

    /// Drops the tasks and keys that have been kept long enough.
    pub(super) fn trim(&mut self, now: Now, dropped: &mut Vec<Arc<TaskRecord>>) {
        let since = now.wall_ms.saturating_sub(self.keep_ms);
        while self.ended.len() > self.retention_count
            || self.bytes > self.max_bytes
            || self.ended.front().is_some_and(|first| first.at_ms < since)
        {
            let Some(ended) = self.ended.pop_front() else { break };
            self.ids.pop_front();
            self.bytes = self.bytes.saturating_sub(size(&ended));
            if !self.attempts.is_empty() {
                self.attempts.remove(&ended.task.id);
            }
            dropped.push(ended.task);
        }
        while let Some((key, until)) = self.key_order.front().filter(|(_, until)| *until <= now.wall_ms) {
            // A key may have been used again since.
            if self.keys.get(key).is_some_and(|(_, known)| known == until) {
                self.keys.remove(key);
            }
            self.key_order.pop_front();
        }
    }

    pub(super) fn batch(&mut self, batch: BatchInfo) {
        if batch.ended_ms.is_some() {
            self.batches.push_back(batch);
            if self.batches.len() > BATCHES_MAX {
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

    /// The error for a command on a task that neither waits nor runs.
    pub(super) fn has_ended(&self, id: TaskId) -> RequestError {
        match self.ended(id) {
            Some(ended) => conflict(format!("Task {id} has ended already: it is {}.", ended.state.name())),
            None => no_task(id),
        }
    }

    pub(super) fn batch_has_ended(&self, id: BatchId) -> RequestError {
        if self.batches.iter().any(|batch| batch.id == id) {
            conflict(format!("Batch {id} has ended already."))
        } else {
            no_batch(id)
        }
    }

    /// Removes ended tasks; returns their number.
    pub(super) fn forget(&mut self, selector: &TaskSelector, index: &TaskIndex) -> Result<u64, RequestError> {
        let before = self.ended.len();
        if let TaskSelector::Task(id) = selector {
            self.check_ended(*id, index)?;
        }
        let attempts = &mut self.attempts;
        self.ended.retain(|ended| {
            let is_selected = selects(selector, ended);
            if is_selected {
                attempts.remove(&ended.task.id);
            }
            !is_selected
        });
        self.recount();
        Ok((before - self.ended.len()) as u64)
    }

    /// Removes the ended tasks that are to wait again, each with the state in which it had ended.
    pub(super) fn take_back(
        &mut self,
        selector: &TaskSelector,
        index: &TaskIndex,
    ) -> Result<Vec<(TaskRecord, State)>, RequestError> {
        if let TaskSelector::Task(id) = selector {
            self.check_ended(*id, index)?;
            if self.ended(*id).is_some_and(|ended| ended.state == State::Done) {
                return Err(conflict(format!("Task {id} is done: there is nothing to try again.")));
            }
        }
        let mut again = Vec::new();
        let mut kept = VecDeque::with_capacity(self.ended.len());
        for ended in self.ended.drain(..) {
            if ended.state != State::Done && selects(selector, &ended) {
                let attempts = self.attempts.entry(ended.task.id).or_default();
                attempts.extend(ended.attempt());
                again.push((TaskRecord::again(&ended.task), ended.state));
            } else {
                kept.push_back(ended);
            }
        }
        self.ended = kept;
        self.recount();
        again.sort_by_key(|(task, _)| task.id);
        Ok(again)
    }

    fn recount(&mut self) {
        self.bytes = self.ended.iter().map(size).sum();
        self.ids = self.ended.iter().map(|ended| ended.task.id).collect();
    }

    fn ended(&self, id: TaskId) -> Option<&EndRecord> {
        self.ids.iter().position(|there| *there == id).and_then(|place| self.ended.get(place))
    }

    fn check_ended(&self, id: TaskId, index: &TaskIndex) -> Result<(), RequestError> {
        let waits = || index.iter().any(|(waiting, ..)| waiting == id);
        if index.is_running(id) || waits() {
            return Err(conflict(format!("Task {id} has not ended yet.")));
        }
        self.ended(id).map(|_| ()).ok_or_else(|| no_task(id))
    }

    pub(super) fn query(&self, query: Query, index: &mut TaskIndex, now: Now) -> QueryResult {
        match query {
            Query::Task(id) => {
                let over = self.ended(id).map(TaskSource::Ended);
                let found = over.or_else(|| alive(index, now).find(|known| known.task().id == id));
                let view = |known: TaskSource| {
                    QueryResult::Task(Box::new(details(known.task(), self.view_parts(&known))))
                };
                found.map_or(QueryResult::Nothing, view)
            }
            Query::Tasks(filter) => QueryResult::Tasks(self.list(&filter, index, now)),
            Query::Batch(id) => {
                let ended = self.batches.iter().find(|batch| batch.id == id);
                let found = index.batches().get(id).or(ended);
                found.map_or(QueryResult::Nothing, |batch| QueryResult::Batch(Box::new(batch.clone())))
            }
            Query::Batches { limit } => {
                let mut all: Vec<_> = index.batches().iter().chain(&self.batches).cloned().collect();
                all.sort_by_key(|batch| std::cmp::Reverse(batch.id));
                all.truncate(limit);
                QueryResult::Batches(all)
            }
            Query::Queues => QueryResult::Queues(queues(index)),
            Query::Schedules => QueryResult::Schedules(self.schedules.values().cloned().collect()),
        }
    }

    fn list(&self, filter: &Filter, index: &TaskIndex, now: Now) -> Vec<TaskSummary> {
        let all = alive(index, now).chain(self.ended.iter().map(TaskSource::Ended));
        let mut found: Vec<_> =
            all.filter(|known| matches(filter, known.task(), Some(known.state()))).collect();
        found.sort_unstable_by_key(|known| std::cmp::Reverse(known.task().id));
        found.truncate(filter.limit);
        found.iter().map(|known| summary(known.task(), &self.view_parts(known))).collect()
    }

    fn view_parts(&self, known: &TaskSource) -> TaskViewParts {
        let mut history = self.attempts.get(&known.task().id).cloned().unwrap_or_default();
        match known {
            TaskSource::Alive { task, state, due_ms, parked } => TaskViewParts {
                state: Some(*state),
                due_ms: *due_ms,
                parked: *parked,
                attempts: task.attempts() + u32::from(*state == State::Running),
                error: history.last().and_then(|attempt| attempt.error.clone()),
                history,
                notes: task.progress_log(),
                ..TaskViewParts::default()
            },
            TaskSource::Ended(ended) => {
                history.extend(ended.attempt());
                let result = ended.outcome.as_ref().ok();
                TaskViewParts {
                    state: Some(ended.state),
                    ended_ms: Some(ended.at_ms),
                    attempts: ended.run.map_or(ended.task.attempts(), |run| run.number),
                    error: ended.outcome.as_ref().err().cloned(),
                    history,
                    notes: ended.task.progress_log(),
                    result: result.and_then(|result| serde_json::from_slice(result).ok()),
                    ..TaskViewParts::default()
                }
            }
        }
    }
}

/// A task that views show.
enum TaskSource<'a> {
    Alive { task: &'a Arc<TaskRecord>, state: State, due_ms: Option<u64>, parked: bool },
    Ended(&'a EndRecord),
}

impl TaskSource<'_> {
    fn task(&self) -> &Arc<TaskRecord> {
        match self {
            Self::Alive { task, .. } => task,
            Self::Ended(ended) => &ended.task,
        }
    }

    fn state(&self) -> State {
        match self {
            Self::Alive { state, .. } => *state,
            Self::Ended(ended) => ended.state,
        }
    }
}

/// Every task that has not ended.
fn alive(index: &TaskIndex, now: Now) -> impl Iterator<Item = TaskSource<'_>> {
    let waiting = index.iter().filter_map(move |(id, task, _, when)| {
        let (due_ms, parked) = (when.ms(now), index.is_parked(id));
        Some(TaskSource::Alive { task: task?, state: State::Waiting, due_ms, parked })
    });
    let running = index.running().filter_map(|(_, task)| {
        Some(TaskSource::Alive { task: task?, state: State::Running, due_ms: None, parked: false })
    });
    waiting.chain(running)
}

/// The bytes that an ended task takes, about.
fn size(ended: &EndRecord) -> usize {
    let outcome = ended.outcome.as_ref().map_or_else(String::len, |result| result.len());
    ended.task.new.args.len() + outcome + OVERHEAD
}

fn selects(selector: &TaskSelector, ended: &EndRecord) -> bool {
    match selector {
        TaskSelector::Task(id) => ended.task.id == *id,
        TaskSelector::Batch(batch) => ended.task.new.batch() == Some(*batch),
        TaskSelector::Failed { queue } => {
            let queue = queue.as_deref();
            ended.state == State::Failed && queue.is_none_or(|queue| queue == &*ended.task.new.queue)
        }
    }
}

/// Every queue with its depth.
pub(in crate::store) fn queues(index: &mut TaskIndex) -> Vec<QueueInfo> {
    let depths = index.counts().queues;
    let shares = index.order().shares();
    let info = |(name, weight, rate): (&str, u32, Option<crate::store::Rate>)| QueueInfo {
        name: name.to_owned(),
        depth: depths.get(name).copied().unwrap_or_default(),
        weight,
        rate: rate.map(|rate| rate.to_string()),
    };
    let mut all: Vec<_> = shares.map(info).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

pub(in crate::store) fn no_task(id: TaskId) -> RequestError {
    RequestError::unknown_task(id)
}

pub(in crate::store) fn conflict(message: String) -> RequestError {
    RequestError::new(ErrorCode::Conflict, message)
}

//! What the memory store keeps beside the books: ended tasks for a while, keys, and notes of all kinds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::protocol::{Code, Refusal};
use crate::store::books::{Books, Ended, Run, When, no_batch};
use crate::store::clock::Now;
use crate::store::policy::Policy;
use crate::store::story::{
    AttemptStory, BatchStory, Filter, Found, Question, QueueStory, ScheduleStory, State, Summary,
};
use crate::store::telling::{Telling, story, summary};
use crate::store::{ScheduleNote, Target};
use crate::task::{BatchId, NewTask, Task, TaskId};

/// How many ended batches are remembered.
const BATCHES_MAX: usize = 1_000;
/// What a story takes beside arguments and outcome, about, in bytes.
const OVERHEAD: usize = 512;

#[derive(Debug)]
pub(super) struct Archive {
    keep_ms: u64,
    keep_count: usize,
    key_ms: u64,
    /// In the order of their ends.
    ended: VecDeque<Ended>,
    /// Their ids, close together: one among many is found without a look at the others.
    ids: VecDeque<TaskId>,
    /// About how many bytes these take, and may take.
    bytes: usize,
    bytes_max: usize,
    /// Attempts that were followed by another one.
    history: FxHashMap<TaskId, Vec<AttemptStory>>,
    keys: FxHashMap<Box<str>, (TaskId, u64)>,
    key_order: VecDeque<(Box<str>, u64)>,
    batches: VecDeque<BatchStory>,
    schedules: BTreeMap<String, ScheduleStory>,
}

impl Archive {
    pub(super) fn new(policy: &Policy) -> Self {
        Self {
            keep_ms: policy.keep_time.as_millis() as u64,
            keep_count: policy.keep_count,
            key_ms: policy.key_window.as_millis() as u64,
            ended: VecDeque::new(),
            ids: VecDeque::new(),
            bytes: 0,
            bytes_max: policy.memory_max / 4,
            history: FxHashMap::default(),
            keys: FxHashMap::default(),
            key_order: VecDeque::new(),
            batches: VecDeque::new(),
            schedules: BTreeMap::new(),
        }
    }

    /// The task that a key belongs to already.
    pub(super) fn known(&self, new: &NewTask, now: Now) -> Option<TaskId> {
        let key = new.rare.as_ref()?.key.as_ref()?;
        self.keys.get(key).filter(|(_, until)| *until > now.wall_ms).map(|(id, _)| *id)
    }

    pub(super) fn remember(&mut self, new: &NewTask, id: TaskId, now: Now) {
        let Some(key) = new.rare.as_ref().and_then(|rare| rare.key.clone()) else { return };
        let until = now.wall_ms.saturating_add(self.key_ms);
        self.keys.insert(key.clone(), (id, until));
        self.key_order.push_back((key, until));
    }

    /// Keeps the story of a task that has ended.
    pub(super) fn keep(&mut self, ended: Ended, gone: &mut Vec<Arc<Task>>) {
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
    pub(super) fn note(&mut self, id: TaskId, run: Run, error: String) {
        self.history.entry(id).or_default().push(attempt(run, Some(error)));
    }

    /// Lets go of what has been kept long enough.
    pub(super) fn trim(&mut self, now: Now, gone: &mut Vec<Arc<Task>>) {
        let since = now.wall_ms.saturating_sub(self.keep_ms);
        while self.ended.len() > self.keep_count
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

    pub(super) fn batch(&mut self, story: BatchStory) {
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
        known.or_insert_with(|| ScheduleStory::new(name)).note(note);
    }

    /// Why a task cannot be changed that neither waits nor runs.
    pub(super) fn has_ended(&self, id: TaskId) -> Refusal {
        match self.ended(id) {
            Some(ended) => conflict(format!("Task {id} has ended already: it is {}.", ended.state.name())),
            None => no_task(id),
        }
    }

    pub(super) fn batch_has_ended(&self, id: BatchId) -> Refusal {
        match self.batches.iter().any(|story| story.id == id) {
            true => conflict(format!("Batch {id} has ended already.")),
            false => no_batch(id),
        }
    }

    /// Removes ended tasks; how many these were.
    pub(super) fn forget(&mut self, target: &Target, books: &Books) -> Result<u64, Refusal> {
        let before = self.ended.len();
        if let Target::Task(id) = target {
            self.is_over(*id, books)?;
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
        target: &Target,
        books: &Books,
    ) -> Result<Vec<(Task, State)>, Refusal> {
        if let Target::Task(id) = target {
            self.is_over(*id, books)?;
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
                again.push((Task::again(&ended.task), ended.state));
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

    fn ended(&self, id: TaskId) -> Option<&Ended> {
        self.ids.iter().position(|there| *there == id).and_then(|place| self.ended.get(place))
    }

    fn is_over(&self, id: TaskId, books: &Books) -> Result<(), Refusal> {
        let waits = || books.iter().any(|(waiting, ..)| waiting == id);
        if books.is_running(id) || waits() {
            return Err(conflict(format!("Task {id} has not ended yet.")));
        }
        self.ended(id).map(|_| ()).ok_or_else(|| no_task(id))
    }

    pub(super) fn find(&self, question: Question, books: &mut Books, now: Now) -> Found {
        match question {
            Question::Task(id) => {
                let over = self.ended(id).map(Known::Over);
                let found = over.or_else(|| alive(books, now).find(|known| known.task().id == id));
                let told = |known: Known| Found::Task(Box::new(story(known.task(), self.tell(&known))));
                found.map_or(Found::Nothing, told)
            }
            Question::Tasks(filter) => Found::Tasks(self.list(&filter, books, now)),
            Question::Batch(id) => {
                let ended = self.batches.iter().find(|story| story.id == id);
                let found = books.batches().get(id).or(ended);
                found.map_or(Found::Nothing, |story| Found::Batch(Box::new(story.clone())))
            }
            Question::Batches { limit } => {
                let mut all: Vec<_> = books.batches().iter().chain(&self.batches).cloned().collect();
                all.sort_by_key(|story| std::cmp::Reverse(story.id));
                all.truncate(limit);
                Found::Batches(all)
            }
            Question::Queues => Found::Queues(queues(books)),
            Question::Schedules => Found::Schedules(self.schedules.values().cloned().collect()),
        }
    }

    fn list(&self, filter: &Filter, books: &Books, now: Now) -> Vec<Summary> {
        let all = alive(books, now).chain(self.ended.iter().map(Known::Over));
        let mut found: Vec<_> =
            all.filter(|known| filter.admits(known.task(), Some(known.state()))).collect();
        found.sort_unstable_by_key(|known| std::cmp::Reverse(known.task().id));
        found.truncate(filter.limit);
        found.iter().map(|known| summary(known.task(), &self.tell(known))).collect()
    }

    fn tell(&self, known: &Known) -> Telling {
        let mut history = self.history.get(&known.task().id).cloned().unwrap_or_default();
        match known {
            Known::Alive { task, state, due_ms } => Telling {
                state: Some(*state),
                due_ms: *due_ms,
                attempts: task.attempts() + u32::from(*state == State::Running),
                error: history.last().and_then(|attempt| attempt.error.clone()),
                history,
                notes: task.notes(),
                ..Telling::default()
            },
            Known::Over(ended) => {
                history.extend(ended.attempt());
                let result = ended.outcome.as_ref().ok();
                Telling {
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
enum Known<'a> {
    Alive { task: &'a Arc<Task>, state: State, due_ms: Option<u64> },
    Over(&'a Ended),
}

impl Known<'_> {
    fn task(&self) -> &Arc<Task> {
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
fn alive(books: &Books, now: Now) -> impl Iterator<Item = Known<'_>> {
    let waiting = books.iter().filter_map(move |(_, task, _, when)| {
        let due_ms = if when == When::Now { None } else { when.ms(now) };
        Some(Known::Alive { task: task?, state: State::Waiting, due_ms })
    });
    let running = books.running();
    let running = running
        .filter_map(|(_, task)| Some(Known::Alive { task: task?, state: State::Running, due_ms: None }));
    waiting.chain(running)
}

fn attempt(run: Run, error: Option<String>) -> AttemptStory {
    AttemptStory {
        number: run.number,
        started_ms: run.started_ms,
        ran_ms: run.ran.map(|ran| ran.as_secs_f64() * 1000.0),
        pid: std::process::id(),
        error,
    }
}

/// About how many bytes the story of a task takes.
fn size(ended: &Ended) -> usize {
    let outcome = ended.outcome.as_ref().map_or_else(String::len, |result| result.len());
    ended.task.new.args.len() + outcome + OVERHEAD
}

fn is_target(target: &Target, ended: &Ended) -> bool {
    match target {
        Target::Task(id) => ended.task.id == *id,
        Target::Batch(batch) => ended.task.new.batch() == Some(*batch),
        Target::Failed { queue } => {
            let queue = queue.as_deref();
            ended.state == State::Failed && queue.is_none_or(|queue| queue == ended.task.new.queue)
        }
    }
}

/// Every queue with what is in it.
pub(in crate::store) fn queues(books: &mut Books) -> Vec<QueueStory> {
    let depths = books.counts().queues;
    let shares = books.order().shares();
    let story = |(name, weight, rate): (&'static str, u32, Option<crate::store::Rate>)| QueueStory {
        name: name.to_owned(),
        depth: depths.get(name).copied().unwrap_or_default(),
        weight,
        rate: rate.map(|rate| rate.to_string()),
    };
    let mut all: Vec<_> = shares.map(story).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

pub(in crate::store) fn no_task(id: TaskId) -> Refusal {
    Refusal::new(Code::UnknownTask, format!("There is no task {id}, or it is not kept any more."))
}

pub(in crate::store) fn conflict(message: String) -> Refusal {
    Refusal::new(Code::Conflict, message)
}

//! The statements that a group becomes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use framework_protocol::RequestError;
use framework_protocol::task::{BatchId, NewTask, TaskId, TaskRecord};
use framework_protocol::views::{BatchInfo, State};
use framework_server::store::Accepted;
use framework_server::store::durable::journal::{
    AttemptRun, EndRecord, Entry, FollowUp, Record, Written, check_duplicate,
};
use rustc_hash::FxHashMap;

use crate::inserts::{
    Retry, delete, insert_attempts, insert_ends, insert_keys, insert_retries, insert_tags, insert_tasks,
    revise,
};
use crate::link::Call;

/// A function and a key, and the task that they belong to.
pub(crate) type KnownKeys = FxHashMap<(Arc<str>, Box<str>), KnownKey>;

/// The task of a key.
pub(crate) struct KnownKey {
    pub(crate) id: TaskId,
    pub(crate) args: Bytes,
    pub(crate) state: State,
}

/// The rows of one transaction.
#[derive(Default)]
pub(crate) struct GroupRows<'a> {
    tasks: Vec<(TaskId, &'a NewTask)>,
    keys: Vec<(&'a NewTask, &'a str, TaskId)>,
    ends: Vec<&'a EndRecord>,
    attempts: BTreeMap<(TaskId, u32), (&'a AttemptRun, &'a str)>,
    retries: BTreeMap<TaskId, Retry>,
    revised: BTreeMap<TaskId, &'a TaskRecord>,
    notes: BTreeMap<TaskId, String>,
    completed: Vec<(BatchId, TaskId)>,
    counts: BTreeMap<BatchId, [i64; 5]>,
    /// Changes of batches in their order, each behind the counts that led to it.
    batches: Vec<Call<'a>>,
    forgotten: Vec<(TaskId, Option<State>)>,
}

/// What holds for all rows of a group.
pub(crate) struct GroupOptions {
    pub(crate) now_ms: u64,
    pub(crate) key_ms: u64,
    pub(crate) batches_kept: usize,
}

/// The key of a task, with its function.
pub(crate) fn key_of(new: &NewTask) -> Option<&str> {
    new.extra.as_ref()?.key.as_deref()
}

impl<'a> GroupRows<'a> {
    /// Adds entries, and gives ids to their tasks. `known` has the keys among them that belong to tasks.
    pub(crate) fn add(
        &mut self,
        entries: impl Iterator<Item = Entry<'a>>,
        mut known: KnownKeys,
        next_id: &mut TaskId,
        options: &GroupOptions,
    ) -> Written {
        let mut written = Written::default();
        for entry in entries {
            match entry {
                Entry::Tasks(tasks) => {
                    let accepted = tasks.iter().map(|new| self.accept(new, &mut known, next_id));
                    written.accepted.extend(accepted);
                }
                Entry::Record(Record::Follow(FollowUp { new, completes })) => {
                    let id = self.task(new, next_id);
                    written.followed.push(id);
                    self.completed.extend(completes.map(|batch| (batch, id)));
                }
                Entry::Record(record) => self.record(record, options),
            }
        }
        written
    }

    /// Deletes all that is kept of tasks; those that have ended go on being counted.
    pub(crate) fn forget(&mut self, tasks: impl IntoIterator<Item = (TaskId, Option<State>)>) {
        self.forgotten.extend(tasks);
    }

    fn accept(
        &mut self,
        new: &'a NewTask,
        known: &mut KnownKeys,
        next_id: &mut TaskId,
    ) -> Result<Accepted, RequestError> {
        let Some(key) = key_of(new) else {
            return Ok(Accepted { id: self.task(new, next_id), duplicate: None });
        };
        let name = (new.function.clone(), Box::from(key));
        if let Some(first) = known.get(&name) {
            check_duplicate(new, first.id, &first.args)?;
            return Ok(Accepted { id: first.id, duplicate: Some(first.state) });
        }
        let id = self.task(new, next_id);
        self.keys.push((new, key, id));
        known.insert(name, KnownKey { id, args: new.args.clone(), state: State::Waiting });
        Ok(Accepted { id, duplicate: None })
    }

    fn task(&mut self, new: &'a NewTask, next_id: &mut TaskId) -> TaskId {
        let id = *next_id;
        *next_id += 1;
        self.tasks.push((id, new));
        new.batch().into_iter().for_each(|batch| self.counts.entry(batch).or_default()[0] += 1);
        id
    }

    fn record(&mut self, record: &'a Record, options: &GroupOptions) {
        match record {
            Record::Ended(ended) => self.end(ended),
            Record::Retry { task, run, error, due_ms, pause } => {
                self.attempts.insert((task.id, run.number), (run, error));
                self.note(task);
                let (due_ms, pause_ms) = (*due_ms, pause.as_millis() as u64);
                self.retries.insert(task.id, Retry { due_ms, pause_ms, ..Retry::of(task, run.number) });
            }
            Record::Revised(task) => {
                self.revised.insert(task.id, task);
                self.retries.insert(task.id, Retry::of(task, task.attempts()));
            }
            Record::Batch(info) => self.end_batch(info, options.batches_kept),
            // It got an id before.
            Record::Follow(_) => {}
        }
    }

    fn end(&mut self, ended: &'a EndRecord) {
        let EndRecord { task, state, run, keep, .. } = ended;
        task.new.batch().into_iter().for_each(|batch| self.count_end(batch, *state, 1));
        if !keep {
            return self.forgotten.push((task.id, Some(*state)));
        }
        self.ends.push(ended);
        let is_unseen = run.as_ref().is_some_and(|run| run.ran.is_none());
        if is_unseen || *state == State::Failed && task.crashes() > 0 {
            // The crash that ended the task counts, too.
            self.retries.insert(task.id, Retry::of(task, task.attempts()));
        }
        self.note(task);
    }

    fn note(&mut self, task: &TaskRecord) {
        if let Some(log) = task.progress_log() {
            self.notes.insert(task.id, serde_json::to_string(&log).expect("texts and numbers are JSON"));
        }
    }

    /// Counts a task of a batch that has ended, or with -1 waits again.
    pub(crate) fn count_end(&mut self, batch: BatchId, state: State, count: i64) {
        let place = match state {
            State::Done => 1,
            State::Failed => 2,
            State::Cancelled => 3,
            State::Expired => 4,
            State::Waiting | State::Running => return,
        };
        self.counts.entry(batch).or_default()[place] += count;
    }

    fn flush_counts(&mut self) {
        let counts = std::mem::take(&mut self.counts);
        if counts.is_empty() {
            return;
        }
        let column = |place: usize| counts.values().map(move |counts| counts[place]).collect::<Vec<_>>();
        let update = Call::new(
            "UPDATE batches b SET total = b.total + c.total, done = b.done + c.done, \
             failed = b.failed + c.failed, cancelled = b.cancelled + c.cancelled, \
             expired = b.expired + c.expired FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], \
             $4::bigint[], $5::bigint[], $6::bigint[]) c(id, total, done, failed, cancelled, expired) \
             WHERE b.id = c.id AND b.state <> 'ended'",
        );
        let ids: Vec<_> = counts.keys().map(|id| *id as i64).collect();
        let update = (0..5).fold(update.with(ids), |update, place| update.with(column(place)));
        self.batches.push(update);
    }

    fn end_batch(&mut self, info: &'a BatchInfo, kept: usize) {
        self.flush_counts();
        let end = Call::new("UPDATE batches SET state = $2, ended_ms = $3, then_function = $4 WHERE id = $1");
        let ended_ms = info.ended_ms.map(|at_ms| at_ms as i64);
        let end = end.with(info.id as i64).with(info.state.name()).with(ended_ms).with(info.then.clone());
        // The last one of all stays: its id must not be given again.
        let trim = Call::new(
            "DELETE FROM batches WHERE id <= (SELECT max(id) FROM batches) - greatest($1::bigint, 1) AND id <> $2 \
             AND state = 'ended'",
        );
        let trim = trim.with(i64::try_from(kept).unwrap_or(i64::MAX)).with(info.id as i64);
        self.batches.extend([end, trim]);
    }

    /// The statements, in an order in which each finds what it needs.
    pub(crate) fn into_calls(mut self, next_id: TaskId, options: &GroupOptions) -> Vec<Call<'a>> {
        self.flush_counts();
        let mut calls = Vec::new();
        calls.extend(insert_tasks(&self.tasks, options.now_ms));
        calls.extend(insert_tags(&self.tasks));
        let until_ms = options.now_ms.saturating_add(options.key_ms);
        calls.extend(insert_keys(&self.keys, until_ms));
        calls.extend(insert_ends(&self.ends));
        calls.extend(insert_attempts(&self.attempts));
        calls.extend(insert_retries(&self.retries));
        calls.extend(revise(&self.revised));
        if !self.notes.is_empty() {
            let (ids, notes): (Vec<_>, Vec<_>) =
                self.notes.into_iter().map(|(id, notes)| (id as i64, notes)).unzip();
            let insert = Call::new(
                "INSERT INTO notes SELECT * FROM unnest($1::bigint[], $2::text[]) \
                 ON CONFLICT (task) DO UPDATE SET notes = excluded.notes",
            );
            calls.push(insert.with(ids).with(notes));
        }
        calls.append(&mut self.batches);
        for (batch, task) in self.completed {
            let complete = Call::new("UPDATE batches SET then_task = $2 WHERE id = $1");
            calls.push(complete.with(batch as i64).with(task as i64));
        }
        calls.extend(delete(&self.forgotten, next_id));
        calls
    }
}

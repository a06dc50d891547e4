//! Batches: many tasks that belong together, and what runs when the last of them has ended.

use bytes::Bytes;
use framework_protocol::task::{BatchId, Handler, NewTask, TaskId};
use framework_protocol::views::{BatchInfo, BatchState, State};
use framework_protocol::{ErrorCode, RequestError};
use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;

use super::record::{FollowUp, Record};
use crate::store::ready_queues::{ReadyAt, Waiting};

/// The batches that have not ended.
#[derive(Debug, Default)]
pub(in crate::store) struct Batches {
    all: FxHashMap<BatchId, Batch>,
    last: BatchId,
    /// Whose numbers have changed since they were written down.
    touched: Vec<BatchId>,
}

#[derive(Debug)]
struct Batch {
    story: BatchInfo,
    then: Option<&'static Handler>,
    /// Its tasks, until it is sealed.
    held: Vec<(Waiting, ReadyAt)>,
}

/// What the completion of a batch is told.
#[derive(Serialize)]
struct Completion<'a> {
    batch: BatchId,
    name: &'a str,
    function: &'a str,
    total: u64,
    done: u64,
    failed: u64,
    cancelled: u64,
    expired: u64,
}

impl Batches {
    /// A batch of an earlier process goes on.
    pub(in crate::store) fn resume(&mut self, story: BatchInfo, then: Option<&'static Handler>) {
        self.last = self.last.max(story.id);
        if story.state != BatchState::Ended {
            self.all.insert(story.id, Batch { story, then, held: Vec::new() });
        }
    }

    /// Opens a new batch.
    pub(in crate::store) fn open(
        &mut self,
        name: String,
        function: String,
        then: Option<&'static Handler>,
        now_ms: u64,
    ) -> BatchInfo {
        self.last += 1;
        let story = BatchInfo {
            id: self.last,
            name,
            function,
            state: BatchState::Open,
            total: 0,
            done: 0,
            failed: 0,
            cancelled: 0,
            expired: 0,
            opened_ms: now_ms,
            ended_ms: None,
            then: then.map(|handler| handler.name.to_owned()),
            then_task: None,
        };
        self.resume(story.clone(), then);
        story
    }

    /// Takes back a batch that could not be written down.
    pub(in crate::store) fn forget(&mut self, id: BatchId) {
        self.all.remove(&id);
    }

    /// # Errors
    /// When the batch takes no tasks: it is sealed, or there is none.
    pub(super) fn is_open(&self, id: BatchId) -> Result<(), RequestError> {
        match self.all.get(&id).map(|batch| batch.story.state) {
            Some(BatchState::Open) => Ok(()),
            Some(_) => Err(RequestError::bad_request(format!("Batch {id} is sealed already."))),
            None => Err(no_batch(id)),
        }
    }

    pub(super) fn holds(&self, id: BatchId) -> bool {
        self.all.get(&id).is_some_and(|batch| batch.story.state == BatchState::Open)
    }

    pub(super) fn hold(&mut self, id: BatchId, waiting: Waiting, when: ReadyAt) {
        if let Some(batch) = self.all.get_mut(&id) {
            batch.held.push((waiting, when));
        }
    }

    pub(super) fn count_in(&mut self, id: BatchId) {
        if let Some(batch) = self.all.get_mut(&id) {
            batch.story.total += 1;
        }
    }

    /// Gives the tasks that were held back.
    ///
    /// # Errors
    /// When it is sealed already, or there is none.
    pub(super) fn seal(&mut self, id: BatchId) -> Result<Vec<(Waiting, ReadyAt)>, RequestError> {
        self.is_open(id)?;
        let batch = self.all.get_mut(&id).ok_or_else(|| no_batch(id))?;
        batch.story.state = BatchState::Running;
        self.touched.push(id);
        Ok(std::mem::take(&mut batch.held))
    }

    /// One of its tasks has ended.
    pub(super) fn count_end(&mut self, id: BatchId, state: State) {
        self.count(id, state, |count| count + 1);
    }

    /// One of its ended tasks waits again; `false` when the batch is over, and the task on its own.
    pub(super) fn count_back(&mut self, id: BatchId, state: State) -> bool {
        self.count(id, state, |count| count.saturating_sub(1))
    }

    fn count(&mut self, id: BatchId, state: State, change: impl FnOnce(u64) -> u64) -> bool {
        let Some(Batch { story, .. }) = self.all.get_mut(&id) else { return false };
        let count = match state {
            State::Done => &mut story.done,
            State::Failed => &mut story.failed,
            State::Cancelled => &mut story.cancelled,
            State::Expired => &mut story.expired,
            State::Waiting | State::Running => return true,
        };
        *count = change(*count);
        self.touched.push(id);
        true
    }

    /// Writes down what has changed, and ends the batches that are complete.
    pub(super) fn note(&mut self, now_ms: u64, records: &mut Vec<Record>) {
        if self.touched.is_empty() {
            return;
        }
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        for id in touched {
            let Some(Batch { story, then, .. }) = self.all.get_mut(&id) else { continue };
            let is_over = story.state == BatchState::Running && story.ended() >= story.total;
            if is_over {
                story.state = BatchState::Ended;
                story.ended_ms = Some(now_ms);
            }
            let completion = then.filter(|_| is_over).map(|handler| completion(story, handler));
            records.push(Record::Batch(story.clone()));
            records.extend(completion.map(Record::Follow));
            if is_over {
                self.all.remove(&id);
            }
        }
    }

    /// A batch that has not ended.
    pub(in crate::store) fn get(&self, id: BatchId) -> Option<&BatchInfo> {
        self.all.get(&id).map(|batch| &batch.story)
    }

    /// Those that have not ended.
    pub(in crate::store) fn iter(&self) -> impl Iterator<Item = &BatchInfo> {
        self.all.values().map(|batch| &batch.story)
    }

    /// How many tasks are held back.
    pub(super) fn held_count(&self) -> usize {
        self.all.values().map(|batch| batch.held.len()).sum()
    }

    /// The tasks that are held back.
    pub(super) fn held(&self) -> impl Iterator<Item = &(Waiting, ReadyAt)> {
        self.all.values().flat_map(|batch| &batch.held)
    }

    /// Removes tasks that are held back.
    pub(super) fn remove(&mut self, ids: &FxHashSet<TaskId>) -> Vec<Waiting> {
        let mut removed = Vec::new();
        for held in self.all.values_mut().map(|batch| &mut batch.held).filter(|held| !held.is_empty()) {
            let all = std::mem::take(held).into_iter();
            let (gone, kept): (Vec<_>, Vec<_>) = all.partition(|(waiting, _)| ids.contains(&waiting.id));
            *held = kept;
            removed.extend(gone.into_iter().map(|(waiting, _)| waiting));
        }
        removed
    }

    /// A batch that is cancelled before it is complete ends with its tasks, and nothing runs then.
    pub(in crate::store) fn give_up(&mut self, id: BatchId) {
        if let Some(batch) = self.all.get_mut(&id).filter(|batch| batch.story.state == BatchState::Open) {
            batch.story.state = BatchState::Running;
            (batch.then, batch.story.then) = (None, None);
            self.touched.push(id);
        }
    }
}

fn completion(story: &BatchInfo, handler: &'static Handler) -> FollowUp {
    let BatchInfo { id, name, function, total, done, failed, cancelled, expired, .. } = story;
    let args = Completion {
        batch: *id,
        name,
        function,
        total: *total,
        done: *done,
        failed: *failed,
        cancelled: *cancelled,
        expired: *expired,
    };
    let args = serde_json::to_vec(&args).expect("texts and numbers are JSON");
    FollowUp { new: NewTask::with_defaults(handler, Bytes::from(args)), completes: Some(*id) }
}

pub(in crate::store) fn no_batch(id: BatchId) -> RequestError {
    RequestError::new(ErrorCode::UnknownTask, format!("There is no batch {id}."))
}

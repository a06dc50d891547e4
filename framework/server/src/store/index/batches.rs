//! Batches: tasks that belong together, counted until the last of them has ended.

use framework_protocol::task::{BatchId, TaskId};
use framework_protocol::views::{BatchInfo, BatchState, State};
use framework_protocol::{ErrorCode, RequestError};
use rustc_hash::{FxHashMap, FxHashSet};

use super::record::{FollowUp, Record};
use crate::store::Rules;
use crate::store::due_heap::ReadyAt;
use crate::store::ready_queues::Waiting;

/// The batches that have not ended.
#[derive(Debug, Default)]
pub(in crate::store) struct Batches {
    all: FxHashMap<BatchId, Batch>,
    last: BatchId,
    /// The batches whose counters have changed since they were recorded.
    touched: Vec<BatchId>,
}

#[derive(Debug)]
struct Batch {
    info: BatchInfo,
    /// Its tasks, until it is sealed.
    held: Vec<(Waiting, ReadyAt)>,
}

impl Batches {
    /// Restores a batch of an earlier process.
    pub(in crate::store) fn restore(&mut self, info: BatchInfo) {
        self.last = self.last.max(info.id);
        if info.state != BatchState::Ended {
            self.all.insert(info.id, Batch { info, held: Vec::new() });
        }
    }

    /// Opens a new batch.
    pub(in crate::store) fn open(
        &mut self,
        name: String,
        function: String,
        then: Option<String>,
        now_ms: u64,
    ) -> BatchInfo {
        self.last += 1;
        let info = BatchInfo {
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
            then,
            then_task: None,
        };
        self.restore(info.clone());
        info
    }

    /// Removes a batch that could not be written.
    pub(in crate::store) fn forget(&mut self, id: BatchId) {
        self.all.remove(&id);
    }

    /// # Errors
    /// When the batch takes no tasks, because it is sealed or there is none.
    pub(super) fn check_open(&self, id: BatchId) -> Result<(), RequestError> {
        match self.all.get(&id).map(|batch| batch.info.state) {
            Some(BatchState::Open) => Ok(()),
            Some(_) => Err(RequestError::bad_request(format!("Batch {id} is sealed already."))),
            None => Err(no_batch(id)),
        }
    }

    pub(super) fn holds(&self, id: BatchId) -> bool {
        self.all.get(&id).is_some_and(|batch| batch.info.state == BatchState::Open)
    }

    pub(super) fn hold(&mut self, id: BatchId, waiting: Waiting, when: ReadyAt) {
        if let Some(batch) = self.all.get_mut(&id) {
            batch.held.push((waiting, when));
        }
    }

    pub(super) fn count_in(&mut self, id: BatchId) {
        if let Some(batch) = self.all.get_mut(&id) {
            batch.info.total += 1;
        }
    }

    /// Seals a batch, and returns the tasks that were held back.
    ///
    /// # Errors
    /// When the batch is sealed already, or there is none.
    pub(super) fn seal(&mut self, id: BatchId) -> Result<Vec<(Waiting, ReadyAt)>, RequestError> {
        self.check_open(id)?;
        let batch = self.all.get_mut(&id).ok_or_else(|| no_batch(id))?;
        batch.info.state = BatchState::Running;
        self.touched.push(id);
        Ok(std::mem::take(&mut batch.held))
    }

    /// Counts the end of one of its tasks.
    pub(super) fn count_end(&mut self, id: BatchId, state: State) {
        self.count(id, state, |count| count + 1);
    }

    /// Counts back an ended task that waits again; `false` when the batch has ended, and the task is on its
    /// own.
    pub(super) fn count_back(&mut self, id: BatchId, state: State) -> bool {
        self.count(id, state, |count| count.saturating_sub(1))
    }

    fn count(&mut self, id: BatchId, state: State, change: impl FnOnce(u64) -> u64) -> bool {
        let Some(Batch { info, .. }) = self.all.get_mut(&id) else { return false };
        let count = match state {
            State::Done => &mut info.done,
            State::Failed => &mut info.failed,
            State::Cancelled => &mut info.cancelled,
            State::Expired => &mut info.expired,
            State::Waiting | State::Running => return true,
        };
        *count = change(*count);
        self.touched.push(id);
        true
    }

    /// Records the changes, and ends the batches that are complete, each together with the task that follows
    /// it.
    pub(super) fn note(&mut self, rules: &dyn Rules, now_ms: u64, records: &mut Vec<Record>) {
        if self.touched.is_empty() {
            return;
        }
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        for id in touched {
            let Some(Batch { info, .. }) = self.all.get_mut(&id) else { continue };
            let is_over = info.state == BatchState::Running && info.ended() >= info.total;
            if !is_over {
                records.push(Record::Batch(info.clone()));
                continue;
            }
            info.state = BatchState::Ended;
            info.ended_ms = Some(now_ms);
            records.push(Record::Batch(info.clone()));
            let next = rules.batch_ended(info);
            records.extend(next.map(|new| Record::Follow(FollowUp { new, completes: Some(id) })));
            self.all.remove(&id);
        }
    }

    /// A batch that has not ended.
    pub(in crate::store) fn get(&self, id: BatchId) -> Option<&BatchInfo> {
        self.all.get(&id).map(|batch| &batch.info)
    }

    /// The batches that have not ended.
    pub(in crate::store) fn iter(&self) -> impl Iterator<Item = &BatchInfo> {
        self.all.values().map(|batch| &batch.info)
    }

    /// The number of tasks that are held back.
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

    /// Lets a cancelled batch end with its tasks, without the task that would follow it.
    pub(in crate::store) fn give_up(&mut self, id: BatchId) {
        if let Some(batch) = self.all.get_mut(&id).filter(|batch| batch.info.state == BatchState::Open) {
            batch.info.state = BatchState::Running;
            batch.info.then = None;
            self.touched.push(id);
        }
    }
}

pub(in crate::store) fn no_batch(id: BatchId) -> RequestError {
    RequestError::new(ErrorCode::UnknownTask, format!("There is no batch {id}."))
}

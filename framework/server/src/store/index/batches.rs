//! Batches: tasks that belong together, counted until the last of them has ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use framework_protocol::task::{BatchId, TaskId, TaskRecord};
use framework_protocol::views::{BatchInfo, BatchState, State};
use framework_protocol::{ErrorCode, RequestError};
use rustc_hash::FxHashMap;

use super::record::{FollowUp, Record};
use crate::store::Rules;
use crate::store::clock::Now;
use crate::store::due_heap::ReadyAt;
use crate::store::options::StoreOptions;
use crate::store::ready_queues::{QueuePosition, Waiting};

/// The longest time between two looks for open batches that get no tasks.
const LOOK_INTERVAL_MAX: Duration = Duration::from_secs(60);

/// The batches that have not ended.
#[derive(Debug)]
pub(in crate::store) struct Batches {
    all: FxHashMap<BatchId, Batch>,
    /// The number of those that are open, and the most there may be.
    open: usize,
    open_max: usize,
    /// The time after which an open batch that gets no task is abandoned; zero is never.
    idle_time: Duration,
    /// The time of the last look for such batches.
    looked: Duration,
    last: BatchId,
    /// The batches that may be complete, or whose state is to be recorded.
    touched: Vec<BatchId>,
    /// The number of tasks that are held back, by the indices of their queues.
    held: Vec<usize>,
}

#[derive(Debug)]
struct Batch {
    info: BatchInfo,
    /// Its tasks, until it is sealed or they are cancelled.
    held: BTreeMap<TaskId, (Waiting, ReadyAt)>,
    /// The number of requests on their way that close it.
    closing: u32,
    /// Its total when that was seen to change last, and the time of that.
    seen: (u64, Duration),
}

impl Batches {
    pub(super) fn new(options: &StoreOptions) -> Self {
        Self {
            all: FxHashMap::default(),
            open: 0,
            open_max: options.max_open_batches,
            idle_time: options.batch_idle_time,
            looked: Duration::ZERO,
            last: 0,
            touched: Vec::new(),
            held: Vec::new(),
        }
    }

    /// Restores a batch of an earlier process.
    pub(in crate::store) fn restore(&mut self, info: BatchInfo, now: Now) {
        self.last = self.last.max(info.id);
        if info.state != BatchState::Ended {
            self.open += usize::from(info.state == BatchState::Open);
            let (id, seen) = (info.id, (info.total, now.steady));
            self.all.insert(id, Batch { info, held: BTreeMap::new(), closing: 0, seen });
            self.touched.push(id);
        }
    }

    /// Opens a new batch.
    ///
    /// # Errors
    /// `busy` when too many are open.
    pub(in crate::store) fn open(
        &mut self,
        name: String,
        function: String,
        then: Option<String>,
        now: Now,
    ) -> Result<BatchInfo, RequestError> {
        if self.open >= self.open_max {
            let message = format!(
                "{} batches are open already (max_open_batches): seal some, or cancel those that nobody \
                 continues; task:batches shows them.",
                self.open
            );
            return Err(RequestError::new(ErrorCode::Busy, message));
        }
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
            opened_ms: now.wall_ms,
            ended_ms: None,
            then,
            then_task: None,
        };
        self.restore(info.clone(), now);
        Ok(info)
    }

    /// Removes an open batch that could not be written.
    pub(in crate::store) fn forget(&mut self, id: BatchId) {
        self.open -= usize::from(self.all.remove(&id).is_some());
    }

    /// The open batches that have got no task for too long; no request on its way closes them.
    pub(super) fn idle(&mut self, now: Now) -> Vec<BatchId> {
        let Some(pause) = self.look_interval() else { return Vec::new() };
        if now.steady.saturating_sub(self.looked) < pause {
            return Vec::new();
        }
        self.looked = now.steady;
        let mut idle = Vec::new();
        for (id, batch) in self.all.iter_mut().filter(|(_, batch)| batch.info.state == BatchState::Open) {
            if batch.info.total != batch.seen.0 {
                batch.seen = (batch.info.total, now.steady);
            } else if now.steady.saturating_sub(batch.seen.1) >= self.idle_time && batch.closing == 0 {
                idle.push(*id);
            }
        }
        idle
    }

    /// The time from now until open batches are to be looked at; `None` when there are none.
    pub(super) fn next_look(&self, now: Now) -> Option<Duration> {
        self.look_interval().map(|pause| (self.looked + pause).saturating_sub(now.steady))
    }

    fn look_interval(&self) -> Option<Duration> {
        let looks = self.open > 0 && !self.idle_time.is_zero();
        looks.then(|| (self.idle_time / 8).min(LOOK_INTERVAL_MAX))
    }

    /// # Errors
    /// When the batch takes no tasks, because it is sealed, cancelled or over, or there is none.
    pub(in crate::store) fn check_open(&self, id: BatchId) -> Result<(), RequestError> {
        let why = match self.all.get(&id) {
            Some(batch) if batch.info.state == BatchState::Open && batch.closing == 0 => return Ok(()),
            Some(batch) if batch.info.state == BatchState::Abandoned => "was cancelled",
            Some(_) => "is sealed already",
            None => return Err(self.gone(id)),
        };
        Err(RequestError::new(ErrorCode::Conflict, format!("Batch {id} {why}: it takes no more tasks.")))
    }

    /// The error for a change of a batch that has ended, or was never there.
    pub(in crate::store) fn gone(&self, id: BatchId) -> RequestError {
        if (1..=self.last).contains(&id) {
            RequestError::new(ErrorCode::Conflict, format!("Batch {id} has ended already."))
        } else {
            RequestError::unknown_batch(id)
        }
    }

    /// Lets an open batch take no more tasks, or takes that back when it could not be closed. Those that were
    /// accepted before are still on their way.
    pub(in crate::store) fn set_closing(&mut self, id: BatchId, is_closing: bool) {
        if let Some(batch) = self.all.get_mut(&id) {
            batch.closing = if is_closing { batch.closing + 1 } else { batch.closing.saturating_sub(1) };
        }
    }

    pub(super) fn holds(&self, id: BatchId) -> bool {
        let state = self.all.get(&id).map(|batch| batch.info.state);
        matches!(state, Some(BatchState::Open | BatchState::Abandoned))
    }

    pub(super) fn hold(&mut self, id: BatchId, waiting: Waiting, when: ReadyAt) {
        if let Some(batch) = self.all.get_mut(&id) {
            let queue = queue_index(waiting.place);
            if self.held.len() <= queue {
                self.held.resize(queue + 1, 0);
            }
            self.held[queue] += 1;
            batch.held.insert(waiting.id, (waiting, when));
        }
    }

    pub(super) fn count_in(&mut self, id: BatchId) {
        if let Some(batch) = self.all.get_mut(&id) {
            batch.info.total += 1;
        }
    }

    /// Marks an open batch as sealed: [`Batches::next_held`] returns its tasks from now on.
    pub(in crate::store) fn seal(&mut self, id: BatchId) {
        self.close(id, BatchState::Running);
    }

    /// Marks an open batch as abandoned: none of its tasks ever runs, and no task follows its end.
    pub(in crate::store) fn abandon(&mut self, id: BatchId) {
        self.close(id, BatchState::Abandoned);
        if let Some(batch) = self.all.get_mut(&id).filter(|batch| batch.info.state == BatchState::Abandoned) {
            batch.info.then = None;
        }
    }

    fn close(&mut self, id: BatchId, state: BatchState) {
        if let Some(batch) = self.all.get_mut(&id).filter(|batch| batch.info.state == BatchState::Open) {
            batch.info.state = state;
            self.open -= 1;
            self.touched.push(id);
        }
    }

    /// Removes some of the tasks that a sealed batch still holds back; none when there are no more.
    pub(super) fn next_held(&mut self, id: BatchId, limit: usize) -> Vec<(Waiting, ReadyAt)> {
        let Some(batch) = self.all.get_mut(&id) else { return Vec::new() };
        let some: Vec<_> =
            std::iter::from_fn(|| batch.held.pop_first().map(|(_, held)| held)).take(limit).collect();
        some.iter().for_each(|(waiting, _)| self.held[queue_index(waiting.place)] -= 1);
        some
    }

    /// The first tasks from this id on that a batch holds back.
    pub(in crate::store) fn held_ids(&self, id: BatchId, from: TaskId, limit: usize) -> Vec<TaskId> {
        let held = self.all.get(&id).map(|batch| batch.held.range(from..).map(|(id, _)| *id));
        held.into_iter().flatten().take(limit).collect()
    }

    /// Counts the end of one of its tasks.
    pub(in crate::store) fn count_end(&mut self, id: BatchId, state: State) {
        self.count(id, state, |count| count + 1);
        self.touched.push(id);
    }

    /// Counts back an ended task that is to wait again; `false` when the batch has ended, and the task is on
    /// its own.
    pub(in crate::store) fn count_back(&mut self, id: BatchId, state: State) -> bool {
        self.count(id, state, |count| count.saturating_sub(1))
    }

    fn count(&mut self, id: BatchId, state: State, change: impl FnOnce(u64) -> u64) -> bool {
        let Some(Batch { info, .. }) = self.all.get_mut(&id) else { return false };
        if let Some(count) = info.count_mut(state) {
            *count = change(*count);
        }
        true
    }

    /// Ends the batches that are complete, each together with the task that follows it.
    pub(super) fn note(&mut self, rules: &dyn Rules, now_ms: u64, records: &mut Vec<Record>) {
        if self.touched.is_empty() {
            return;
        }
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        for id in touched {
            let Some(Batch { info, .. }) = self.all.get_mut(&id) else { continue };
            if info.state == BatchState::Open || info.ended() < info.total {
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
        self.held.iter().sum()
    }

    /// The number of tasks that are held back, by the indices of their queues.
    pub(super) fn held_by_queue(&self) -> &[usize] {
        &self.held
    }

    /// The tasks that are held back.
    pub(super) fn held(&self) -> impl Iterator<Item = &(Waiting, ReadyAt)> {
        self.all.values().flat_map(|batch| batch.held.values())
    }

    /// The body of a task that is held back.
    pub(super) fn task(&self, id: TaskId) -> Option<Option<&Arc<TaskRecord>>> {
        let (waiting, _) = self.all.values().find_map(|batch| batch.held.get(&id))?;
        Some(waiting.task.as_ref())
    }

    /// Removes a task that is held back.
    pub(super) fn remove(&mut self, id: TaskId) -> Option<Waiting> {
        let (waiting, _) = self.all.values_mut().find_map(|batch| batch.held.remove(&id))?;
        self.held[queue_index(waiting.place)] -= 1;
        Some(waiting)
    }
}

fn queue_index(place: QueuePosition) -> usize {
    usize::from(place.queue)
}

//! One queue: its tasks by priority, its share of the workers, and its rate.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use framework_protocol::task::{TaskId, TaskRecord};
use rustc_hash::FxHashSet;

use super::rate::TokenBucket;
use super::{QueuePosition, ReadyAt, Waiting, group_of};
use crate::store::options::{Rate, StoreOptions};

const PRIORITIES: usize = 10;
/// The price of a turn for a queue of weight 1.
const STRIDE: u64 = 1 << 20;

type QueueEntry = (TaskId, Option<Arc<TaskRecord>>);

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) name: Box<str>,
    /// The group of workers that takes from it.
    pub(super) group: usize,
    pub(super) paused: bool,
    /// Stride scheduling (Waldspurger and Weihl, 1995): who has the smallest pass is next, and pays for its
    /// turn in inverse proportion to its weight. So every queue gets its share, and none starves.
    pub(super) pass: u64,
    stride: u64,
    bucket: Option<TokenBucket>,
    /// By priority: the last one is taken first.
    lanes: [VecDeque<QueueEntry>; PRIORITIES],
    /// The numbers of tasks that can be taken, and of those whose time has not come, without tombstones.
    pub(super) due: usize,
    pub(super) delayed: usize,
}

impl Queue {
    pub(super) fn new(name: &str, options: &StoreOptions) -> Self {
        let weight = options.weights.get(name).copied().unwrap_or(1).max(1);
        Self {
            name: name.into(),
            group: group_of(options, name),
            paused: false,
            pass: 0,
            stride: STRIDE / u64::from(weight),
            bucket: options.rates.get(name).map(|rate| TokenBucket::new(*rate)),
            lanes: Default::default(),
            due: 0,
            delayed: 0,
        }
    }

    /// A queue that had nothing to do saves up no turns.
    pub(super) fn catch_up(&mut self, pass: u64) {
        if self.due == 0 {
            self.pass = self.pass.max(pass);
        }
    }

    pub(super) fn push_back(&mut self, waiting: Waiting) {
        self.due += 1;
        self.lane(waiting.place).push_back((waiting.id, waiting.task));
    }

    pub(super) fn push_front(&mut self, waiting: Waiting) {
        self.due += 1;
        self.lane(waiting.place).push_front((waiting.id, waiting.task));
    }

    fn lane(&mut self, place: QueuePosition) -> &mut VecDeque<QueueEntry> {
        &mut self.lanes[usize::from(place.priority).min(PRIORITIES - 1)]
    }

    /// Removes the next task, and the tombstones before it.
    pub(super) fn pop(&mut self, index: u16, tombstones: &mut FxHashSet<TaskId>) -> Option<Waiting> {
        for (priority, lane) in self.lanes.iter_mut().enumerate().rev() {
            while let Some((id, task)) = lane.pop_front() {
                if lane.is_empty() && lane.capacity() > 1 << 16 {
                    // The memory of a backlog is given back when the last of it is taken.
                    lane.shrink_to(1 << 10);
                }
                if tombstones.is_empty() || !tombstones.remove(&id) {
                    self.due -= 1;
                    let place = QueuePosition { queue: index, priority: priority as u8 };
                    return Some(Waiting { id, task, place });
                }
            }
        }
        None
    }

    /// Pays for a turn, and returns the new pass.
    pub(super) fn serve(&mut self) -> u64 {
        if let Some(bucket) = &mut self.bucket {
            bucket.take();
        }
        self.pass += self.stride;
        self.pass
    }

    pub(super) fn refund(&mut self) {
        if let Some(bucket) = &mut self.bucket {
            bucket.put_back();
        }
    }

    pub(super) fn refill(&mut self, now: Duration) {
        if let Some(bucket) = &mut self.bucket {
            bucket.refill(now);
        }
    }

    /// Whether something can be taken now.
    pub(super) fn is_open(&self) -> bool {
        self.due > 0 && !self.paused && self.bucket.as_ref().is_none_or(TokenBucket::has_token)
    }

    /// The time until its rate lets the next task start, if only that holds it back.
    pub(super) fn next_start(&self) -> Option<Duration> {
        let bucket = self.bucket.as_ref()?;
        (self.due > 0 && !self.paused).then(|| bucket.pause())
    }

    /// Removes the tombstones of tasks.
    pub(super) fn purge(&mut self, ids: &FxHashSet<TaskId>) {
        self.lanes.iter_mut().for_each(|lane| lane.retain(|(id, _)| !ids.contains(id)));
    }

    /// Counts a task no longer that ended while it waited.
    pub(super) fn mark_removed(&mut self, was_delayed: bool) {
        let (guess, other) =
            if was_delayed { (&mut self.delayed, &mut self.due) } else { (&mut self.due, &mut self.delayed) };
        // Within a millisecond of its time a task may stand on either side.
        let side = if *guess > 0 { guess } else { other };
        *side = side.saturating_sub(1);
    }

    /// Finds a task that stands in the order of ids.
    pub(super) fn find(&self, index: u16, id: TaskId) -> Option<Waiting> {
        self.lanes.iter().enumerate().find_map(|(priority, lane)| {
            let (id, task) = lane.get(lane.binary_search_by_key(&id, |(id, _)| *id).ok()?)?;
            let place = QueuePosition { queue: index, priority: priority as u8 };
            Some(Waiting { id: *id, task: task.clone(), place })
        })
    }

    pub(super) fn weight(&self) -> u32 {
        (STRIDE / self.stride) as u32
    }

    pub(super) fn rate(&self) -> Option<Rate> {
        self.bucket.as_ref().map(|bucket| bucket.rate)
    }

    pub(super) fn fronts(&self) -> impl Iterator<Item = (TaskId, Option<&Arc<TaskRecord>>)> {
        self.lanes.iter().filter_map(|lane| lane.front().map(|(id, task)| (*id, task.as_ref())))
    }

    pub(super) fn iter(
        &self,
        index: u16,
    ) -> impl Iterator<Item = (TaskId, Option<&Arc<TaskRecord>>, QueuePosition, ReadyAt)> {
        self.lanes.iter().enumerate().flat_map(move |(priority, lane)| {
            let place = QueuePosition { queue: index, priority: priority as u8 };
            lane.iter().map(move |(id, task)| (*id, task.as_ref(), place, ReadyAt::Now))
        })
    }
}

//! One queue: its tasks by priority, its share of the workers, and how fast it may go.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use framework_protocol::task::{TaskId, TaskRecord};
use rustc_hash::FxHashSet;

use super::{QueuePosition, ReadyAt, Waiting, line_of};
use crate::store::options::{Rate, StoreOptions};

const PRIORITIES: usize = 10;
/// What a turn of a queue of weight 1 costs of its share.
const STRIDE: u64 = 1 << 20;

type QueueEntry = (TaskId, Option<Arc<TaskRecord>>);

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) name: &'static str,
    /// The line of workers that takes from it.
    pub(super) line: usize,
    pub(super) paused: bool,
    /// Stride scheduling (Waldspurger and Weihl, 1995): who has the smallest pass is next, and pays for its turn
    /// in inverse proportion to its weight. So every queue gets its share, and none starves.
    pub(super) pass: u64,
    stride: u64,
    bucket: Option<Bucket>,
    /// By urgency: the last one is taken first.
    lanes: [VecDeque<QueueEntry>; PRIORITIES],
    /// Tasks that can be taken, and those whose time has not come; the ones that are gone not counted.
    pub(super) due: usize,
    pub(super) delayed: usize,
}

/// A token bucket: fills at the queue's rate, and holds a tenth of a period's worth, so that starts are spread.
#[derive(Debug)]
struct Bucket {
    rate: Rate,
    tokens: f64,
    filled: Duration,
}

impl Queue {
    pub(super) fn new(name: &'static str, policy: &StoreOptions) -> Self {
        let weight = policy.weights.get(name).copied().unwrap_or(1).max(1);
        Self {
            name,
            line: line_of(policy, name),
            paused: false,
            pass: 0,
            stride: STRIDE / u64::from(weight),
            bucket: policy.rates.get(name).map(|rate| Bucket::new(*rate)),
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

    /// The next task that is not gone.
    pub(super) fn pop(&mut self, index: u16, gone: &mut FxHashSet<TaskId>) -> Option<Waiting> {
        for (priority, lane) in self.lanes.iter_mut().enumerate().rev() {
            while let Some((id, task)) = lane.pop_front() {
                if lane.is_empty() && lane.capacity() > 1 << 16 {
                    // A backlog that is gone gives its memory back.
                    lane.shrink_to(1 << 10);
                }
                if gone.is_empty() || !gone.remove(&id) {
                    self.due -= 1;
                    let place = QueuePosition { queue: index, priority: priority as u8 };
                    return Some(Waiting { id, task, place });
                }
            }
        }
        None
    }

    /// Pays for a turn, and says how far the queue is then.
    pub(super) fn serve(&mut self) -> u64 {
        if let Some(bucket) = &mut self.bucket {
            bucket.tokens -= 1.0;
        }
        self.pass += self.stride;
        self.pass
    }

    pub(super) fn refund(&mut self) {
        if let Some(bucket) = &mut self.bucket {
            bucket.tokens += 1.0;
        }
    }

    pub(super) fn refill(&mut self, now: Duration) {
        if let Some(bucket) = &mut self.bucket {
            bucket.refill(now);
        }
    }

    /// Whether something can be taken now.
    pub(super) fn is_open(&self) -> bool {
        self.due > 0 && !self.paused && self.bucket.as_ref().is_none_or(Bucket::is_open)
    }

    /// How long until its rate lets the next task start, if only that holds it back.
    pub(super) fn next_start(&self) -> Option<Duration> {
        let bucket = self.bucket.as_ref()?;
        (self.due > 0 && !self.paused).then(|| bucket.pause())
    }

    /// Removes what is left of tasks that were counted off.
    pub(super) fn purge(&mut self, ids: &FxHashSet<TaskId>) {
        self.lanes.iter_mut().for_each(|lane| lane.retain(|(id, _)| !ids.contains(id)));
    }

    /// Counts off a task that ended while it waited.
    pub(super) fn mark_removed(&mut self, was_delayed: bool) {
        let (guess, other) = match was_delayed {
            true => (&mut self.delayed, &mut self.due),
            false => (&mut self.due, &mut self.delayed),
        };
        // Within a millisecond of its time a task may stand on either side.
        let side = if *guess > 0 { guess } else { other };
        *side = side.saturating_sub(1);
    }

    /// A task that stands in the order of ids.
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

impl Bucket {
    fn new(rate: Rate) -> Self {
        Self { rate, tokens: Self::size(rate), filled: Duration::ZERO }
    }

    fn size(rate: Rate) -> f64 {
        (f64::from(rate.count) / 10.0).max(1.0)
    }

    fn per_second(&self) -> f64 {
        f64::from(self.rate.count) / self.rate.per.as_secs_f64()
    }

    fn refill(&mut self, now: Duration) {
        let time = now.saturating_sub(self.filled).as_secs_f64();
        self.filled = now;
        self.tokens = (self.tokens + time * self.per_second()).min(Self::size(self.rate));
    }

    fn is_open(&self) -> bool {
        self.tokens >= 1.0
    }

    fn pause(&self) -> Duration {
        Duration::from_secs_f64(((1.0 - self.tokens) / self.per_second()).max(0.000_1))
    }
}

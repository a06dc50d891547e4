//! The options of a store.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use framework_protocol::task::TaskId;
use rustc_hash::FxHashSet;

/// The options of a store.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreOptions {
    /// The number of tasks that may wait; more are refused as `busy`.
    pub limit: usize,
    /// The id of the first task of a store that has had none.
    pub first_id: TaskId,
    /// The bytes of waiting tasks that a store without a disk may hold; more are refused as `busy`. Ended
    /// tasks may take a quarter of that besides.
    pub max_memory: usize,
    /// The groups of workers: at least one.
    pub groups: Vec<WorkerGroup>,
    /// The functions that the workers of these groups run; `None` is all. The tasks of others wait apart from
    /// them, each function in a line of its own, for [`Store::take_remote`](super::Store::take_remote).
    pub local_functions: Option<FxHashSet<String>>,
    /// The weights of queues: the share of turns that each gets; 1 for those not named.
    pub weights: BTreeMap<String, u32>,
    /// The rates at which tasks of a queue may start.
    pub rates: BTreeMap<String, Rate>,
    /// The number of batches that may be open at once; others are refused as `busy`.
    pub max_open_batches: usize,
    /// The time after which an open batch that gets no task is cancelled; zero is never.
    pub batch_idle_time: Duration,
    /// The number of the last batches that are kept once they have ended.
    pub batch_retention_count: usize,
    /// One of so many tasks that are taken from a queue is the one that has waited longest, whatever its
    /// priority; 0 is none.
    pub oldest_first_every: u32,
    /// The length of a lease.
    pub lease: Duration,
    /// The bytes of waiting tasks that a store with a disk holds in memory beside it.
    pub hot_bytes: usize,
    /// The most tasks that are changed in one step of a change of many tasks. Pushes wait for one step, not
    /// for the change.
    pub change_chunk: usize,
    /// The time for which an idempotency key is remembered.
    pub idempotency_window: Duration,
    /// The time for which ended tasks are kept that have not failed, and the most of them.
    pub retention_time: Duration,
    pub retention_count: usize,
    /// The time for which failed tasks are kept, and the most of them.
    pub failed_retention_time: Duration,
    pub failed_retention_count: usize,
    /// The time for which ended tasks of these functions are kept, failed or not; apart from all others, and
    /// of each function as many as above.
    pub function_retention: BTreeMap<String, Duration>,
}

/// The queues that one group of workers takes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerGroup {
    /// This queue, from which no other group takes.
    Queue(String),
    /// Every queue without a group of its own.
    Others,
}

/// The tasks that a worker elsewhere may be given: those of its functions, in its queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteScope {
    pub functions: Arc<[Arc<str>]>,
    /// The only queues; `None` is all.
    pub queues: Option<Arc<[Box<str>]>>,
}

impl RemoteScope {
    /// Whether tasks of this function in this queue are among them.
    pub fn covers(&self, function: &str, queue: &str) -> bool {
        self.has_queue(queue) && self.functions.iter().any(|name| **name == *function)
    }

    /// Whether tasks in this queue are among them, if the function fits.
    pub(super) fn has_queue(&self, queue: &str) -> bool {
        self.queues.as_ref().is_none_or(|queues| queues.iter().any(|name| **name == *queue))
    }
}

/// A rate: a count per period, such as 100 a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    pub count: u32,
    pub per: Duration,
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self.per.as_secs() {
            1 => write!(formatter, "{}/s", self.count),
            60 => write!(formatter, "{}/min", self.count),
            3600 => write!(formatter, "{}/h", self.count),
            seconds => write!(formatter, "{}/{seconds}s", self.count),
        }
    }
}

impl StoreOptions {
    /// The group of workers that takes from a queue.
    pub(super) fn group_of(&self, queue: &str) -> usize {
        let is_own = |group: &WorkerGroup| matches!(group, WorkerGroup::Queue(name) if name == queue);
        let own = self.groups.iter().position(is_own);
        let others = self.groups.iter().position(|group| *group == WorkerGroup::Others);
        own.or(others).unwrap_or(0)
    }
}

impl Default for StoreOptions {
    /// One group for all queues, all of one weight and without a rate; the oldest task at every 16th turn; a
    /// million waiting tasks, of 1 GB in memory; a thousand open batches, for a day without a task,
    /// and 10,000 ended ones; leases
    /// of a minute; 64 MB beside the disk; steps of 2,048 tasks; keys and ended tasks for a day, at most
    /// 100,000 of these; failed ones for a week, at most a million.
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            limit: 1_000_000,
            first_id: 0,
            max_memory: 1 << 30,
            groups: vec![WorkerGroup::Others],
            local_functions: None,
            weights: BTreeMap::new(),
            rates: BTreeMap::new(),
            max_open_batches: 1_000,
            batch_idle_time: DAY,
            batch_retention_count: 10_000,
            oldest_first_every: 16,
            lease: Duration::from_secs(60),
            hot_bytes: 64 << 20,
            change_chunk: 2_048,
            idempotency_window: DAY,
            retention_time: DAY,
            retention_count: 100_000,
            failed_retention_time: 7 * DAY,
            failed_retention_count: 1_000_000,
            function_retention: BTreeMap::new(),
        }
    }
}

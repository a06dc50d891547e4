//! The options of a store.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The options of a store.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreOptions {
    /// The number of tasks that may wait; more are refused as `busy`.
    pub limit: usize,
    /// The bytes of waiting tasks that a store without a disk may hold; more are refused as `busy`. Ended
    /// tasks may take a quarter of that besides.
    pub max_memory: usize,
    /// The groups of workers: at least one.
    pub groups: Vec<WorkerGroup>,
    /// The weights of queues: the share of turns that each gets; 1 for those not named.
    pub weights: BTreeMap<String, u32>,
    /// The rates at which tasks of a queue may start.
    pub rates: BTreeMap<String, Rate>,
    /// The length of a lease.
    pub lease: Duration,
    /// The time for which an idempotency key is remembered.
    pub idempotency_window: Duration,
    /// The time for which ended tasks are kept, and the most of them.
    pub retention_time: Duration,
    pub retention_count: usize,
}

/// The queues that one group of workers takes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerGroup {
    /// This queue, from which no other group takes.
    Queue(String),
    /// Every queue without a group of its own.
    Others,
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

impl Default for StoreOptions {
    /// One group for all queues, all of one weight and without a rate; a million waiting tasks, of 1 GB in
    /// memory; leases of a minute; keys and ended tasks for a day, at most 100,000 of these.
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            limit: 1_000_000,
            max_memory: 1 << 30,
            groups: vec![WorkerGroup::Others],
            weights: BTreeMap::new(),
            rates: BTreeMap::new(),
            lease: Duration::from_secs(60),
            idempotency_window: DAY,
            retention_time: DAY,
            retention_count: 100_000,
        }
    }
}

//! What a store is told about its queues when it opens.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What a store is told when it opens.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreOptions {
    /// How many tasks may wait; more are refused as `busy`.
    pub limit: usize,
    /// How many bytes of waiting tasks a store may hold that has no other place for them; more are refused as `busy`.
    /// What it keeps of ended tasks may take a quarter of that besides.
    pub max_memory: usize,
    /// The lines of workers: at least one.
    pub groups: Vec<WorkerGroup>,
    /// How often a queue's turn comes compared to the others; 1 for those not named.
    pub weights: BTreeMap<String, u32>,
    /// How many tasks of a queue may start in a time.
    pub rates: BTreeMap<String, Rate>,
    /// How long a lease lasts.
    pub lease: Duration,
    /// How long a `key` is remembered.
    pub idempotency_window: Duration,
    /// How long ended tasks are kept, and how many of them at most.
    pub retention_time: Duration,
    pub retention_count: usize,
}

/// The queues that one group of workers takes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerGroup {
    /// This queue, and no other line takes from it.
    Queue(String),
    /// Every queue without a line of its own.
    Others,
}

/// So many in a time, such as 100 a second.
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
    /// One line for all queues, all of one weight and without a rate; a million waiting, of 1 GB in memory; leases of a minute; keys
    /// and ended tasks for a day, at most 100,000 of these.
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

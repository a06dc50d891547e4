//! Counts of tasks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The ledger of all tasks: `accepted` is always the sum of all other counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ledger {
    pub accepted: u64,
    pub done: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub expired: u64,
    pub waiting: u64,
    /// Leased: about to run, running, or over and about to be settled.
    pub running: u64,
}

impl Ledger {
    /// The sum that `accepted` has to equal.
    pub fn sum(&self) -> u64 {
        self.ended() + self.waiting + self.running
    }

    /// The number of tasks that have ended, in whatever state.
    pub fn ended(&self) -> u64 {
        self.done + self.failed + self.cancelled + self.expired
    }
}

/// The depth of a queue: its tasks that have not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueDepth {
    /// Waiting, and due.
    pub waiting: u64,
    /// Waiting for their time to come, or for their batch to be sealed.
    pub delayed: u64,
    pub running: u64,
    /// Waiting, and due, although nobody runs their function at the moment.
    #[serde(default)]
    pub parked: u64,
    /// Whether it is paused: none of its tasks starts.
    #[serde(default)]
    pub paused: bool,
}

impl QueueDepth {
    /// Adds the counts of another part of the queue.
    pub fn add(&mut self, other: &Self) {
        self.waiting += other.waiting;
        self.delayed += other.delayed;
        self.running += other.running;
        self.parked += other.parked;
        self.paused |= other.paused;
    }
}

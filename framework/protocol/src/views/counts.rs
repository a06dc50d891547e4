//! How many tasks are where.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The books: `accepted` is always the sum of all the others.
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
    /// What `accepted` has to be.
    pub fn sum(&self) -> u64 {
        self.ended() + self.waiting + self.running
    }

    /// The tasks that have ended, however.
    pub fn ended(&self) -> u64 {
        self.done + self.failed + self.cancelled + self.expired
    }
}

/// How many tasks of one queue have not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueDepth {
    /// Waiting, and due.
    pub waiting: u64,
    /// Waiting for their time to come, or for their batch to be complete.
    pub delayed: u64,
    pub running: u64,
    /// Whether it is paused: what waits is not taken.
    #[serde(default)]
    pub paused: bool,
}

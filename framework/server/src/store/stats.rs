//! The numbers of tasks by where they are.

use std::collections::BTreeMap;

use framework_protocol::views::{Ledger, QueueDepth};
use serde::{Deserialize, Serialize};

/// The numbers of tasks by where they are, all counted at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStats {
    pub ledger: Ledger,
    pub queues: BTreeMap<String, QueueDepth>,
    /// The age of the due task that has waited longest, in milliseconds; `null` when none is due.
    pub oldest_waiting_ms: Option<u64>,
    /// The reason why nothing is accepted at the moment; `null` when the storage works.
    #[serde(default)]
    pub storage_error: Option<String>,
    /// What is wrong with the storage although tasks are accepted; `null` when all is well.
    #[serde(default)]
    pub storage_warning: Option<String>,
}

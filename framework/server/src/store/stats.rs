//! How many tasks are where.

use std::collections::BTreeMap;

use framework_protocol::views::{Ledger, QueueDepth};
use serde::{Deserialize, Serialize};

/// How many tasks are where, all counted at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStats {
    pub ledger: Ledger,
    pub queues: BTreeMap<String, QueueDepth>,
    /// How long the longest waiting of the due tasks has waited, in milliseconds; `null` when none is due.
    pub oldest_waiting_ms: Option<u64>,
    /// Why nothing is accepted at the moment; `null` when all is well.
    #[serde(default)]
    pub storage_error: Option<String>,
}

//! The numbers of tasks by where they are.

use std::collections::BTreeMap;
use std::time::Duration;

use framework_protocol::views::{Ledger, QueueDepth};
use serde::{Deserialize, Serialize};

use crate::series::Series;

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

/// The figures of a store since it was opened, for machines.
#[derive(Debug, Clone, Default)]
pub struct StoreFigures {
    /// The tasks that were accepted, by function and queue.
    pub(crate) accepted: Vec<Series<u64>>,
    /// `None` for a store without a disk.
    pub disk: Option<DiskFigures>,
}

/// The figures of a store on a disk since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DiskFigures {
    /// The transactions that were written, each for all that came in during the one before.
    pub commits: u64,
    /// The time that they took.
    pub commit_time: Duration,
    /// The tasks and the events of tasks in them.
    pub entries: u64,
    /// The bytes of the file, and of its write-ahead log.
    pub file_bytes: u64,
    pub log_bytes: u64,
    /// The bytes that the file system has left for this process; `None` where it does not tell.
    pub free_bytes: Option<u64>,
}

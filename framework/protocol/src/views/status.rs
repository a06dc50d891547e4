//! The report of a running server.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::counts::{Ledger, QueueDepth};
use super::listeners::ListenAddress;
use super::workers::{ProgramInfo, UnservedFunction};
use crate::reply::Durability;

/// The report of `{"command":"status"}`, and of `task:status --json`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ServerStatus {
    pub version: String,
    pub pid: u32,
    pub uptime_ms: u64,
    /// The server is stopping: running tasks may finish, and nothing more is accepted.
    #[serde(default)]
    pub stopping: bool,
    /// The listeners of the server.
    pub addresses: Vec<ListenAddress>,
    /// The name of the store, such as `memory`.
    pub store: String,
    /// The failures that an accepted task survives.
    pub durability: Durability,
    /// The reason why nothing is accepted at present; `null` when the storage works.
    pub storage_error: Option<String>,
    /// What is wrong with the storage although tasks are accepted; `null` when all is well.
    #[serde(default)]
    pub storage_warning: Option<String>,
    pub threads: Threads,
    /// The workers of all groups together.
    pub workers: Workers,
    /// The workers of each group, by the name of its queue; `*` serves all queues without a group of their
    /// own.
    pub worker_groups: BTreeMap<String, Workers>,
    pub connections: Connections,
    #[serde(default)]
    pub open_files: OpenFiles,
    /// Functions of workers outside of the server that wait although nobody runs them now.
    #[serde(default)]
    pub unserved: Vec<UnservedFunction>,
    /// The server's child processes for isolated functions, if there are any, and the programs of
    /// config/workers.toml.
    #[serde(default)]
    pub programs: Vec<ProgramInfo>,
    /// The number of times that each limit on clients was reached, by the name of its setting.
    #[serde(default)]
    pub limits: BTreeMap<String, u64>,
    pub queues: BTreeMap<String, QueueDepth>,
    /// The time for which the oldest due task has waited; `null` when none is due.
    pub oldest_waiting_ms: Option<u64>,
    pub rates: Rates,
    /// The time from when tasks were due to their first attempt, over the last one to two minutes.
    pub waiting_ms: Percentiles,
    /// The time that attempts took, over the last one to two minutes.
    pub running_ms: Percentiles,
    pub ledger: Ledger,
}

/// The report of `{"command":"project"}`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ProjectInfo {
    /// The root of the project that the server belongs to, without symbolic links.
    pub root: String,
}

/// The threads of the two runtimes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub struct Threads {
    pub io: usize,
    pub task: usize,
}

/// The workers: how many tasks may run at once.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
pub struct Workers {
    pub total: usize,
    pub busy: usize,
    pub idle: usize,
}

/// The connections of all listeners.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub struct Connections {
    pub current: usize,
    /// Accepted since the start; those that were refused are not counted.
    pub total: u64,
    /// Refused because a limit was reached.
    pub refused: u64,
}

/// Tasks per second over the last ten seconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
pub struct Rates {
    pub accepted_per_second: f64,
    pub finished_per_second: f64,
}

/// Percentiles of a duration in milliseconds; `null` when there was nothing to measure.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
pub struct Percentiles {
    pub p50: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
}

/// The open files of the process; connections are files as well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OpenFiles {
    /// `null` where the system does not report it.
    pub used: Option<u64>,
    /// The limit; `null` when there is none.
    pub limit: Option<u64>,
}

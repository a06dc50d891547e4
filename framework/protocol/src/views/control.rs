//! The progress of a shutdown or a reload.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The progress of a shutdown. The client that requested it gets one at once, one every half a second, and
/// one when everything is settled; its connection closes when the process ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShutdownStatus {
    pub phase: ShutdownPhase,
    pub pid: u32,
    /// The arguments that the server was started with, for starting it in the same way again.
    pub arguments: Vec<String>,
    /// The time for which running tasks are still waited for, in milliseconds.
    pub grace_ms: u64,
    /// The number of running tasks by function, counted over a thousand of them at most.
    pub running: BTreeMap<String, u64>,
    /// The number of tasks that wait or run.
    pub remaining: u64,
    /// Whether the remaining tasks survive until the next start.
    pub durable: bool,
}

/// The phase of a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShutdownPhase {
    /// Running tasks are waited for.
    Stopping,
    /// Nothing runs any more, and everything is settled.
    Stopped,
}

/// The progress of a reload. The client that requested it gets one at once, some while running tasks are
/// waited for, and one at its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadStatus {
    pub phase: ReloadPhase,
    /// The process that received the request.
    pub pid: u32,
    /// The process that serves from now on, once it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_pid: Option<u32>,
    /// The time for which running tasks are still waited for, in milliseconds.
    pub grace_ms: u64,
    /// The number of running tasks by function, counted over a thousand of them at most.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub running: BTreeMap<String, u64>,
    /// The reason why the reload has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl ReloadStatus {
    /// The status of this process in `phase`.
    pub fn at(phase: ReloadPhase) -> Self {
        let running = BTreeMap::new();
        Self { phase, pid: std::process::id(), new_pid: None, grace_ms: 0, running, error: None }
    }
}

/// The phase of a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReloadPhase {
    /// The new process checks whether it can serve.
    Preparing,
    /// It can; running tasks are waited for, and no others start.
    Draining,
    /// The new process serves.
    Reloaded,
    /// The new process does not serve, and the old one goes on.
    Failed,
}

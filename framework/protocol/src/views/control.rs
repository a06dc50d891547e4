//! How far a shutdown or a reload is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a client that has asked for the end is told: at once, every half a second, and when all is over. Its
/// connection stays open until the process has ended, which is how that can be seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShutdownStatus {
    pub phase: ShutdownPhase,
    pub pid: u32,
    /// What the server was started with, to start it in the same way again.
    pub arguments: Vec<String>,
    /// How long running tasks are still waited for.
    pub grace_ms: u64,
    /// How many tasks of each function run, as far as a look at a thousand of them tells.
    pub running: BTreeMap<String, u64>,
    /// Tasks that wait or run.
    pub remaining: u64,
    /// Whether those that are left will be run after the next start.
    pub durable: bool,
}

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShutdownPhase {
    /// Running tasks are waited for.
    Stopping,
    /// Nothing runs any more, and all of it is settled.
    Stopped,
}

/// What a client that has asked for a reload is told: at once, while running tasks are waited for, and at its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadStatus {
    pub phase: ReloadPhase,
    /// The process that was asked.
    pub pid: u32,
    /// The process that serves from now on, when it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_pid: Option<u32>,
    /// How long running tasks are still waited for.
    pub grace_ms: u64,
    /// How many tasks of each function run, as far as a look at a thousand of them tells.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub running: BTreeMap<String, u64>,
    /// Why everything has stayed as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl ReloadStatus {
    /// The state of this process in `phase`.
    pub fn at(phase: ReloadPhase) -> Self {
        let running = BTreeMap::new();
        Self { phase, pid: std::process::id(), new_pid: None, grace_ms: 0, running, error: None }
    }
}

/// How far a reload has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReloadPhase {
    /// The new process looks whether it can serve.
    Preparing,
    /// It can; running tasks are waited for, and no other begins.
    Draining,
    /// It serves.
    Reloaded,
    /// It does not, and the process that was asked goes on.
    Failed,
}

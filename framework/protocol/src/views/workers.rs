//! Views of the workers outside of the server, and of the functions that they have registered.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A worker that is connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerInfo {
    /// The name that it gave itself, such as `host:pid`.
    pub name: String,
    /// Its language and version, such as `php/8.2`.
    pub language: String,
    /// The address that it is connected from.
    pub peer: String,
    pub functions: Vec<String>,
    /// The only queues that it takes tasks from; `null` is all.
    pub queues: Option<Vec<String>>,
    /// How many further tasks it could start now.
    pub credit: u32,
    /// How many tasks it runs.
    pub running: u32,
    /// Whether it gets no further tasks.
    pub quiet: bool,
    /// Whether it sends heartbeats; otherwise its tasks are lost with their timeout.
    pub heartbeats: bool,
    /// The time since it is there.
    pub connected_ms: u64,
    /// The time since its last message.
    pub silent_ms: u64,
}

/// A program whose processes the server starts: one of config/workers.toml, or its own for isolated
/// functions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProgramInfo {
    pub name: String,
    pub command: String,
    /// How many processes of it are to run.
    pub count: u32,
    /// How many of them run now.
    pub running: u32,
    /// How often one was started again after it had ended, since the start of the server.
    pub restarts: u64,
    /// How the last one has ended, such as `exit code 1`; `null` if none has.
    pub last_exit: Option<String>,
    /// Why it cannot be started; `null` if it can.
    pub error: Option<String>,
}

/// A function that workers have registered and that none of them runs now, although tasks of it wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnservedFunction {
    pub function: String,
    pub queue: String,
    /// When a worker was last there that runs it, in milliseconds since 1970.
    pub since_ms: u64,
}

/// A registered function as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionRecord {
    pub name: String,
    /// What its workers have registered, as JSON.
    pub registration: String,
    /// When a worker was last there that runs it, in milliseconds since 1970.
    pub seen_ms: u64,
}

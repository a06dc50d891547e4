//! Reports of a server to its clients: tasks, batches, queues, schedules, connections, and the server itself.

mod admin;
mod control;
mod counts;
mod listeners;
mod status;
mod tasks;

pub use admin::{AdminResult, Cancelled, ScheduleNote, TaskSelector};
pub use control::{ReloadPhase, ReloadStatus, ShutdownPhase, ShutdownStatus};
pub use counts::{Ledger, QueueDepth};
pub use listeners::{Auth, ConnectionInfo, ListenAddress, Protocol};
pub use status::{Connections, OpenFiles, Percentiles, Rates, ServerStatus, Threads, Workers};
pub use tasks::{
    AttemptInfo, BatchInfo, BatchState, Filter, QueueInfo, ScheduleInfo, State, TaskDetails, TaskSummary,
};

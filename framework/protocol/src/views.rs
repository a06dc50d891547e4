//! Reports of a server to its clients: tasks, batches, queues, schedules, connections, and the server itself.
//!
//! A thing has one name on the wire, over HTTP and in what commands print: `task_id`, `batch_id`,
//! `connection_id`;
//! `state` is where a task or a batch stands, and `status` what a reply says.

mod admin;
mod control;
mod counts;
mod failures;
mod history;
mod listeners;
mod status;
mod tasks;
mod workers;

pub use crate::state::State;
pub use admin::{
    AdminResult, Cancelled, ChangeId, ChangeInfo, ChangeKind, ChangePreview, PreviewedTask, ScheduleNote,
    TaskSelector,
};
pub use control::{ReloadPhase, ReloadStatus, ShutdownPhase, ShutdownStatus};
pub use counts::{Ledger, QueueDepth};
pub use failures::{
    FailureCause, FailureDay, FailureFilter, FailureGroup, FailureReport, NotACause, error_pattern,
};
pub use history::{
    HISTORY_HOURS, HISTORY_MINUTES_HOURS, HistoryFigures, HistoryFilter, HistoryPoint, HistoryRow,
    TIME_BOUNDS, TimeCounts,
};
pub use listeners::{Auth, ConnectionInfo, ListenAddress, Protocol};
pub use status::{Connections, OpenFiles, Percentiles, ProjectInfo, Rates, ServerStatus, Threads, Workers};
pub use tasks::{
    AttemptInfo, BatchInfo, BatchState, Filter, QueueInfo, ScheduleInfo, SearchResult, TaskDetails,
    TaskSummary,
};
pub use workers::{FunctionRecord, ProgramInfo, UnservedFunction, WorkerInfo};

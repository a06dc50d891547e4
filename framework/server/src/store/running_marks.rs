//! The marks of running attempts, which say after the end of a process what ran in it.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use framework_protocol::task::TaskId;

use super::LeaseHolder;

/// The place where an attempt is marked as running; none for a store that does not survive its process.
#[derive(Debug, Default)]
pub(super) struct RunningMarker(pub(super) Option<(Arc<dyn RunningMarks>, u32)>);

/// Records, in a place that survives the process, the tasks that were running when it died. Each attempt has
/// a slot of its own.
pub trait RunningMarks: Debug + Send + Sync {
    /// The slots for attempts that end with the process, and behind them those for attempts elsewhere.
    fn slots(&self) -> (Range<u32>, Range<u32>);

    /// Marks a task as running in this process.
    fn mark(&self, slot: u32, task: TaskId);

    /// Marks a task that runs elsewhere; `false` if the slot is none for these.
    fn assign(&self, slot: u32, task: TaskId, holder: &LeaseHolder, started_ms: u64) -> bool;

    /// Removes the marks in these slots.
    fn clear(&self, slots: &[u32]);

    /// Notes that all ids before this one belong to tasks that were written.
    fn note_next_id(&self, id: TaskId);
}

/// What the last process has left behind.
#[derive(Debug, Default)]
pub struct LastProcess {
    /// The tasks that were running when it died; none if the machine itself went down since, for then nobody
    /// knows.
    pub running: Vec<TaskId>,
    /// The tasks that workers elsewhere were running, likewise.
    pub assigned: Vec<AssignedTask>,
    /// The ids before this one were given to tasks that were written.
    pub next_id: TaskId,
}

/// A task that a worker elsewhere runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssignedTask {
    pub task: TaskId,
    pub holder: LeaseHolder,
    pub started_ms: u64,
}

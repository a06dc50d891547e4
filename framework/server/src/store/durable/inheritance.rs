//! The leases of workers elsewhere that may outlive a process: read at the start, and held for them.

use std::sync::Arc;

use framework_protocol::task::{TaskId, TaskRecord};
use rustc_hash::FxHashSet;

use super::journal::{Journal, JournalReader, ReadError};
use super::{DurableShared, DurableState};
use crate::store::clock::Now;
use crate::store::index::{TakenTask, TaskIndex};
use crate::store::running_marks::AssignedTask;
use crate::store::{InheritedLease, LeaseToken};

/// A task that a worker elsewhere ran when the last process ended, and may still run.
pub(super) struct InheritedTask {
    assigned: AssignedTask,
    record: Arc<TaskRecord>,
}

/// Reads the tasks that were assigned to workers elsewhere; those that `is_apart` have ended, or are known to
/// be over, and damaged ones wait and are set aside when their turn comes.
pub(super) fn inherited_tasks(
    journal: &mut impl Journal,
    assigned: &[AssignedTask],
    is_apart: impl Fn(TaskId) -> bool,
    now: Now,
) -> Result<Vec<InheritedTask>, ReadError> {
    let mut seen = FxHashSet::default();
    let mut tasks = Vec::new();
    for assigned in assigned.iter().filter(|assigned| !is_apart(assigned.task) && seen.insert(assigned.task))
    {
        let loaded = journal.tasks(&[assigned.task], now.wall_ms)?.pop();
        if let Some(task) = loaded.filter(|task| task.damage.is_none()) {
            tasks.push(InheritedTask { assigned: *assigned, record: Arc::new(task.record) });
        }
    }
    Ok(tasks)
}

impl InheritedTask {
    pub(super) fn id(&self) -> TaskId {
        self.record.id
    }

    /// Leases it again; `None` when it has to wait for others of its concurrency key.
    pub(super) fn lease(self, index: &mut TaskIndex, now: Now) -> Option<(AssignedTask, TakenTask)> {
        let token: LeaseToken = index.restore_leased(&self.record, now)?;
        Some((self.assigned, TakenTask { id: self.record.id, task: Some(self.record), token }))
    }
}

impl<R: JournalReader> DurableShared<R> {
    /// Marks the leases of the last process as those of this one, for whoever
    /// [asks](crate::store::Store::take_inherited) for them.
    pub(super) fn inherit(&self, leases: Vec<(AssignedTask, TakenTask)>) {
        let mut state = self.state();
        let DurableState { index, free_slots, inherited, .. } = &mut *state;
        for (AssignedTask { holder, started_ms, .. }, taken) in leases {
            let slot = free_slots.take(true);
            index.set_slot(taken.id, taken.token, slot);
            let Some(lease) = self.lease(taken, slot) else { continue };
            lease.assign(&holder, started_ms);
            inherited.push(InheritedLease { lease, holder, started_ms });
        }
    }
}

//! Waiting tasks whose time has not come.

use std::sync::Arc;

use framework_protocol::task::{TaskId, TaskRecord};
use rustc_hash::FxHashMap;

use super::{QueuePosition, Waiting};
use crate::store::clock::Now;
use crate::store::due_heap::{DueHeap, ReadyAt};

/// So many entries of removed tasks stay in the heap until there are also more of them than of others.
const REMOVED_MAX: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Delayed {
    tasks: FxHashMap<TaskId, (Waiting, ReadyAt)>,
    /// Their times; an entry of a task that is not there any more, or was delayed anew, is passed over.
    heap: DueHeap<TaskId>,
}

impl Delayed {
    pub(super) fn push(&mut self, waiting: Waiting, when: ReadyAt) {
        self.heap.push(waiting.id, when);
        self.tasks.insert(waiting.id, (waiting, when));
    }

    /// Removes the next task whose time has come.
    pub(super) fn pop(&mut self, now: Now) -> Option<Waiting> {
        while let Some(id) = self.heap.pop(now) {
            if self.tasks.get(&id).is_some_and(|(_, when)| when.has_come(now)) {
                return self.tasks.remove(&id).map(|(waiting, _)| waiting);
            }
        }
        None
    }

    /// Removes a task.
    pub(super) fn remove(&mut self, id: TaskId) -> Option<Waiting> {
        let (waiting, _) = self.tasks.remove(&id)?;
        if self.heap.len() > 2 * self.tasks.len() + REMOVED_MAX {
            let tasks = &self.tasks;
            self.heap.retain(|id| tasks.contains_key(id));
        }
        Some(waiting)
    }

    /// The body of a task.
    pub(super) fn get(&self, id: TaskId) -> Option<Option<&Arc<TaskRecord>>> {
        self.tasks.get(&id).map(|(waiting, _)| waiting.task.as_ref())
    }

    /// The place of a task.
    pub(super) fn place(&self, id: TaskId) -> Option<QueuePosition> {
        self.tasks.get(&id).map(|(waiting, _)| waiting.place)
    }

    /// The time from now until the next task may be due.
    pub(super) fn next(&self, now: Now) -> Option<std::time::Duration> {
        self.heap.next(now)
    }

    pub(super) fn iter(
        &self,
    ) -> impl Iterator<Item = (TaskId, Option<&Arc<TaskRecord>>, QueuePosition, ReadyAt)> {
        self.tasks.values().map(|(waiting, when)| (waiting.id, waiting.task.as_ref(), waiting.place, *when))
    }
}

//! Waiting tasks whose time has not come.

use std::sync::Arc;

use framework_protocol::task::{TaskId, TaskRecord};
use rustc_hash::FxHashSet;

use super::{QueuePosition, Waiting};
use crate::store::clock::Now;
use crate::store::due_heap::{DueHeap, DueItem, ReadyAt, micros};

#[derive(Debug, Default)]
pub(super) struct Delayed {
    heap: DueHeap<Waiting>,
    /// The time at which due tasks were removed last.
    woken: Now,
}

impl DueItem for Waiting {
    fn task_id(&self) -> TaskId {
        self.id
    }
}

impl Delayed {
    pub(super) fn push(&mut self, waiting: Waiting, when: ReadyAt) {
        self.heap.push(waiting, when);
    }

    /// Removes the next task whose time has come.
    pub(super) fn pop(&mut self, now: Now) -> Option<Waiting> {
        self.woken = now;
        self.heap.pop(now)
    }

    /// Whether a task of this time is still here.
    pub(super) fn is_ahead(&self, when: ReadyAt) -> bool {
        match when {
            ReadyAt::Now => false,
            ReadyAt::Steady(at) => micros(at) > micros(self.woken.steady),
            ReadyAt::Wall(at) => at > self.woken.wall_ms,
        }
    }

    /// The time from now until the next task may be due.
    pub(super) fn next(&self, now: Now) -> Option<std::time::Duration> {
        self.heap.next(now)
    }

    /// Removes the tombstones of tasks.
    pub(super) fn purge(&mut self, ids: &FxHashSet<TaskId>) {
        self.heap.retain(|waiting| !ids.contains(&waiting.id));
    }

    pub(super) fn iter(
        &self,
    ) -> impl Iterator<Item = (TaskId, Option<&Arc<TaskRecord>>, QueuePosition, ReadyAt)> {
        self.heap.iter().map(|(waiting, when)| (waiting.id, waiting.task.as_ref(), waiting.place, when))
    }
}

//! Which waiting tasks are held in memory beside the disk, and what is remembered of those that are not.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use framework_protocol::task::{NewTask, TaskId, TaskRecord, WaiterId};
use rustc_hash::FxHashMap;

/// What a task takes beside its arguments, about, in bytes.
const OVERHEAD: usize = 320;

#[derive(Debug)]
pub(in crate::store) struct BodyCache {
    bytes: usize,
    limit: usize,
    /// What is known of cold tasks only here: who waits for them, and attempts that may not be on the disk yet.
    cold: FxHashMap<TaskId, Evicted>,
}

#[derive(Debug)]
struct Evicted {
    waiter: Option<WaiterId>,
    attempts: u32,
    failures: u32,
    crashes: u32,
}

impl BodyCache {
    /// Holds tasks of up to `limit` bytes together.
    pub(super) fn new(limit: usize) -> Self {
        Self { bytes: 0, limit, cold: FxHashMap::default() }
    }

    /// Holds a task that waits, or lets its body go.
    pub(super) fn hold(&mut self, task: Arc<TaskRecord>) -> Option<Arc<TaskRecord>> {
        let size = size(&task.new);
        if self.bytes.saturating_add(size) <= self.limit {
            self.bytes += size;
            return Some(task);
        }
        let (attempts, failures, crashes) = (task.attempts(), task.failures(), task.crashes());
        if task.new.waiter.is_some() || attempts > 0 {
            let waiter = task.new.waiter;
            self.cold.insert(task.id, Evicted { waiter, attempts, failures, crashes });
        }
        None
    }

    /// Whether one more would be too much for a store that can let no body go.
    pub(super) fn is_full(&self, new: &NewTask, limit: usize) -> bool {
        self.limit == usize::MAX && self.bytes.saturating_add(size(new)) > limit
    }

    /// The tickets of cold tasks.
    pub(super) fn cold_tickets(&self) -> impl Iterator<Item = (TaskId, WaiterId)> {
        self.cold.iter().filter_map(|(id, cold)| Some((*id, cold.waiter?)))
    }

    /// A task waits no longer.
    pub(super) fn release(&mut self, task: Option<&Arc<TaskRecord>>) {
        if let Some(task) = task {
            self.bytes = self.bytes.saturating_sub(size(&task.new));
        }
    }

    /// Completes a task that was read from the disk.
    pub(in crate::store) fn complete(&mut self, task: &mut TaskRecord) {
        if self.cold.is_empty() {
            return;
        }
        if let Some(cold) = self.cold.remove(&task.id) {
            task.new.waiter = cold.waiter;
            task.attempts.fetch_max(cold.attempts, Ordering::Relaxed);
            task.failures.store(cold.failures.max(task.failures()), Ordering::Relaxed);
            task.crashes.store(cold.crashes.max(task.crashes()), Ordering::Relaxed);
        }
    }
}

fn size(new: &NewTask) -> usize {
    new.args.len() + OVERHEAD
}

//! The bodies of waiting tasks that are in memory beside the disk, and the counters of those that are not.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use framework_protocol::task::{NewTask, TaskId, TaskRecord};
use rustc_hash::FxHashMap;

/// The memory of a task beside what its sender chose, about, in bytes.
const OVERHEAD: usize = 320;

#[derive(Debug)]
pub(in crate::store) struct BodyCache {
    bytes: usize,
    limit: usize,
    /// The counters of evicted tasks that may not be on the disk yet.
    evicted: FxHashMap<TaskId, Evicted>,
}

#[derive(Debug)]
struct Evicted {
    attempts: u32,
    failures: u32,
    crashes: u32,
}

impl BodyCache {
    /// A cache for bodies of up to `limit` bytes together.
    pub(super) fn new(limit: usize) -> Self {
        Self { bytes: 0, limit, evicted: FxHashMap::default() }
    }

    /// Holds the body of a task that waits, or evicts it if there is no room.
    pub(super) fn hold(&mut self, task: Arc<TaskRecord>) -> Option<Arc<TaskRecord>> {
        let size = size(&task.new);
        if self.bytes.saturating_add(size) <= self.limit {
            self.bytes += size;
            return Some(task);
        }
        let (attempts, failures, crashes) = (task.attempts(), task.failures(), task.crashes());
        if attempts > 0 {
            self.evicted.insert(task.id, Evicted { attempts, failures, crashes });
        }
        None
    }

    /// Holds a body for which the disk is no substitute, whatever room there is.
    pub(super) fn keep(&mut self, task: Arc<TaskRecord>) -> Arc<TaskRecord> {
        self.bytes = self.bytes.saturating_add(size(&task.new));
        task
    }

    /// Whether one more task would be too much for a store that can evict none.
    pub(super) fn is_full(&self, new: &NewTask, limit: usize) -> bool {
        self.limit == usize::MAX && self.bytes.saturating_add(size(new)) > limit
    }

    /// Notes that a task does not wait any more.
    pub(super) fn release(&mut self, task: Option<&Arc<TaskRecord>>) {
        if let Some(task) = task {
            self.bytes = self.bytes.saturating_sub(size(&task.new));
        }
    }

    /// Completes the counters of a task that was read from the disk.
    pub(in crate::store) fn complete(&mut self, task: &mut TaskRecord) {
        if self.evicted.is_empty() {
            return;
        }
        if let Some(evicted) = self.evicted.remove(&task.id) {
            task.attempts.fetch_max(evicted.attempts, Ordering::Relaxed);
            task.failures.store(evicted.failures.max(task.failures()), Ordering::Relaxed);
            task.crashes.store(evicted.crashes.max(task.crashes()), Ordering::Relaxed);
        }
    }
}

fn size(new: &NewTask) -> usize {
    new.memory() + OVERHEAD
}

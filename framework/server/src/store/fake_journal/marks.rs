//! The marks of running attempts in memory.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use framework_protocol::task::TaskId;

use crate::store::LeaseHolder;
use crate::store::durable::journal::{AssignedTask, LastProcess, RunningMarks};

/// The number of slots of each kind.
const SLOTS: u32 = 4_096;

/// Marks that outlive a store.
#[derive(Debug, Default)]
pub(super) struct FakeMarks {
    marked: Mutex<BTreeMap<u32, Mark>>,
    next_id: AtomicU64,
}

#[derive(Debug, Clone, Copy)]
enum Mark {
    Running(TaskId),
    Assigned(AssignedTask),
}

impl FakeMarks {
    fn marked(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, Mark>> {
        self.marked.lock().expect("no one panics while holding the marks")
    }

    /// Removes the marks of the last process, and returns them.
    pub(super) fn take_over(&self) -> LastProcess {
        let mut last =
            LastProcess { next_id: self.next_id.load(Ordering::Relaxed), ..LastProcess::default() };
        for mark in std::mem::take(&mut *self.marked()).into_values() {
            match mark {
                Mark::Running(task) => last.running.push(task),
                Mark::Assigned(task) => last.assigned.push(task),
            }
        }
        last
    }

    pub(super) fn replace(&self, other: Self) {
        *self.marked() = std::mem::take(&mut *other.marked());
        self.next_id.store(other.next_id.into_inner(), Ordering::Relaxed);
    }
}

impl Clone for FakeMarks {
    fn clone(&self) -> Self {
        let next_id = self.next_id.load(Ordering::Relaxed).into();
        Self { marked: Mutex::new(self.marked().clone()), next_id }
    }
}

impl RunningMarks for FakeMarks {
    fn slots(&self) -> (Range<u32>, Range<u32>) {
        (0..SLOTS, SLOTS..2 * SLOTS)
    }

    fn mark(&self, slot: u32, task: TaskId) {
        if slot < SLOTS {
            self.marked().insert(slot, Mark::Running(task));
        }
    }

    fn assign(&self, slot: u32, task: TaskId, holder: &LeaseHolder, started_ms: u64) -> bool {
        let is_remote = (SLOTS..2 * SLOTS).contains(&slot);
        if is_remote {
            let assigned = AssignedTask { task, holder: *holder, started_ms };
            self.marked().insert(slot, Mark::Assigned(assigned));
        }
        is_remote
    }

    fn clear(&self, slots: &[u32]) {
        let mut marked = self.marked();
        slots.iter().for_each(|slot| {
            marked.remove(slot);
        });
    }

    fn note_next_id(&self, id: TaskId) {
        self.next_id.store(id, Ordering::Relaxed);
    }
}

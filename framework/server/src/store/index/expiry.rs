//! Tasks that expire: they end by themselves if no attempt begins in time.

use std::time::Duration;

use framework_protocol::task::TaskId;
use rustc_hash::FxHashMap;

use crate::store::clock::Now;
use crate::store::due_heap::{DueHeap, ReadyAt};

#[derive(Debug, Default)]
pub(super) struct ExpiryHeap {
    heap: DueHeap<TaskId>,
    /// The tasks that have not begun; `true` while leased, when it is open whether they will.
    open: FxHashMap<TaskId, bool>,
}

/// The time after which a leased task is looked at again, should it have come back.
const LEASED_CHECK: Duration = Duration::from_millis(100);

impl ExpiryHeap {
    pub(super) fn add(&mut self, id: TaskId, when: ReadyAt) {
        self.open.insert(id, false);
        self.heap.push(id, when);
    }

    /// Notes that a task is leased, or comes back without having begun.
    pub(super) fn lease(&mut self, id: TaskId, leased: bool) {
        if self.open.is_empty() {
            return;
        }
        if let Some(open) = self.open.get_mut(&id) {
            *open = leased;
        }
    }

    /// Removes a task that has begun or ended.
    pub(super) fn remove(&mut self, id: TaskId) {
        if !self.open.is_empty() {
            self.open.remove(&id);
        }
    }

    /// Whether no task can expire at all, which is the rule.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The tasks that have expired, each once. Until it [ends](Self::remove), such a task may still be
    /// leased, and come back.
    pub(super) fn due(&mut self, now: Now) -> Vec<TaskId> {
        let mut due = Vec::new();
        let mut leased = Vec::new();
        while let Some(id) = self.heap.pop(now) {
            match self.open.get(&id) {
                Some(true) => leased.push(id),
                Some(false) => due.push(id),
                None => {}
            }
        }
        leased.into_iter().for_each(|id| self.look_again(id, now));
        due
    }

    /// Whether a task that has expired is to end: it has not begun meanwhile. One that is leased by now is
    /// looked at again.
    pub(super) fn confirm(&mut self, id: TaskId, now: Now) -> bool {
        let is_leased = self.open.get(&id).copied();
        if is_leased == Some(true) {
            self.look_again(id, now);
        }
        is_leased == Some(false)
    }

    fn look_again(&mut self, id: TaskId, now: Now) {
        self.heap.push(id, ReadyAt::Steady(now.steady + LEASED_CHECK));
    }

    /// The time from now until the next task expires.
    pub(super) fn next(&self, now: Now) -> Option<Duration> {
        self.heap.next(now)
    }
}

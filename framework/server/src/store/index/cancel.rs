//! Tasks that end without a settlement: cancelled while they waited, or expired.

use std::sync::Arc;

use framework_protocol::task::{TaskId, TaskRecord};
use framework_protocol::views::{Cancelled, State};
use rustc_hash::FxHashSet;

use super::{EndRecord, Record, TaskIndex};
use crate::store::TerminatedTask;
use crate::store::clock::Now;
use crate::store::ready_queues::Waiting;

impl TaskIndex {
    /// Asks a running task to stop; `None` when it does not run.
    pub(in crate::store) fn cancel_running(&mut self, id: TaskId) -> Option<Cancelled> {
        let running = self.running.get_mut(&id)?;
        let Some(task) = &running.task else {
            running.is_unwanted = true;
            return Some(Cancelled::Requested);
        };
        task.request_cancel();
        Some(if task.is_blocking() { Cancelled::Requested } else { Cancelled::Aborted })
    }

    /// Removes waiting tasks from wherever they wait, so that they cannot be taken any more. They count as
    /// waiting until they are [terminated](Self::terminate).
    pub(in crate::store) fn remove_waiting(&mut self, ids: &FxHashSet<TaskId>) -> Vec<Waiting> {
        let mut found = self.order.remove(ids);
        if found.len() < ids.len() {
            found.extend(self.batches.remove(ids));
            found.extend(ids.iter().filter_map(|id| self.keys.remove(*id)));
            found.extend(ids.iter().filter_map(|id| self.parked.remove(id)));
        }
        self.departing += found.len();
        found.iter().for_each(|waiting| self.bodies.release(waiting.task.as_ref()));
        found
    }

    /// Puts a removed task back that could not be terminated.
    pub(in crate::store) fn put_back(&mut self, waiting: Waiting) {
        self.departing -= 1;
        let task = waiting.task.and_then(|task| self.bodies.hold(task));
        self.order.push_front(Waiting { task, ..waiting });
    }

    /// Ends a removed task.
    pub(in crate::store) fn terminate(
        &mut self,
        task: Arc<TaskRecord>,
        state: State,
        error: &str,
        keep: bool,
        now: Now,
        records: &mut Vec<Record>,
    ) {
        self.departing -= 1;
        self.end(&task, state);
        self.terminated.push(TerminatedTask { task: task.clone(), state, error: error.to_owned() });
        let outcome = Err(error.to_owned());
        records.push(Record::Ended(EndRecord { task, state, at_ms: now.wall_ms, run: None, outcome, keep }));
    }

    /// The ends without a settlement since the last call.
    pub(in crate::store) fn terminated(&mut self) -> Vec<TerminatedTask> {
        std::mem::take(&mut self.terminated)
    }
}

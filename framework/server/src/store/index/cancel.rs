//! How tasks leave the books that nobody runs: cancelled, or too late.

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
        Some(match task.new.handler.options.blocking {
            true => Cancelled::Requested,
            false => Cancelled::Aborted,
        })
    }

    /// Takes waiting tasks out of the order, wherever they wait: nobody can take them any more. They count as
    /// waiting until they are [ended](Self::depart).
    pub(in crate::store) fn remove_waiting(&mut self, ids: &FxHashSet<TaskId>) -> Vec<Waiting> {
        let mut found = self.order.remove(ids);
        if found.len() < ids.len() {
            found.extend(self.batches.remove(ids));
            found.extend(ids.iter().filter_map(|id| self.keys.remove(*id)));
        }
        self.departing += found.len();
        found.iter().for_each(|waiting| self.hot.release(waiting.task.as_ref()));
        found
    }

    /// Puts withdrawn tasks back, because they could not be ended.
    pub(in crate::store) fn put_back(&mut self, waiting: Waiting) {
        self.departing -= 1;
        let task = waiting.task.and_then(|task| self.hot.hold(task));
        self.order.push_front(Waiting { task, ..waiting });
    }

    /// Ends a withdrawn task.
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

    /// Ends of tasks that nobody has been told of.
    pub(in crate::store) fn terminated(&mut self) -> Vec<TerminatedTask> {
        std::mem::take(&mut self.terminated)
    }

    /// Takes in a task of an earlier process that was cancelled while it ran: it has ended.
    pub(in crate::store) fn cancel_insertion(
        &mut self,
        task: Arc<TaskRecord>,
        now: Now,
        records: &mut Vec<Record>,
    ) {
        self.departing += 1;
        self.terminate(task, State::Cancelled, "It was cancelled while it ran.", true, now, records);
    }
}

//! Tasks that end without a settlement: cancelled while they waited, or expired.

use std::sync::Arc;

use framework_protocol::task::{TaskId, TaskRecord};
use framework_protocol::views::{Cancelled, State};

use super::{EndRecord, Record, TaskIndex};
use crate::store::TerminatedTask;
use crate::store::clock::Now;
use crate::store::ready_queues::Waiting;

/// The end that waiting tasks come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct WaitingEnd {
    pub(in crate::store) state: State,
    /// The reason, for people.
    pub(in crate::store) reason: &'static str,
    /// Whether the tasks are kept for a while.
    pub(in crate::store) keep: bool,
}

/// The reason for the end of a task that is cancelled after an attempt.
const CANCELLED_BETWEEN: &str = "It was cancelled while it waited for another attempt.";

impl WaitingEnd {
    pub(in crate::store) const CANCELLED: Self =
        Self { state: State::Cancelled, reason: "It was cancelled before it ran.", keep: true };
    pub(in crate::store) const FLUSHED: Self =
        Self { state: State::Cancelled, reason: "The queue was flushed.", keep: false };
    pub(in crate::store) const EXPIRED: Self =
        Self { state: State::Expired, reason: "Nobody started it in time.", keep: true };
}

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

    /// The body of a waiting task, if that is in memory; `None` when the task does not wait.
    pub(in crate::store) fn waiting_body(&self, id: TaskId) -> Option<Option<&Arc<TaskRecord>>> {
        let parked = || self.parked.get(&id).map(|waiting| waiting.task.as_ref());
        self.order.get(id).or_else(|| self.batches.task(id)).or_else(|| self.keys.get(id)).or_else(parked)
    }

    /// Ends a waiting task, wherever it waits. A body that is not in memory must have been `read`; `false`
    /// when it was not, when the task does not wait, or when it was to expire and has begun meanwhile:
    /// nothing has changed then.
    pub(in crate::store) fn end_waiting(
        &mut self,
        id: TaskId,
        read: Option<TaskRecord>,
        end: WaitingEnd,
        now: Now,
        records: &mut Vec<Record>,
    ) -> bool {
        if end.state == State::Expired && !self.expiries.confirm(id, now) {
            return false;
        }
        // A body that was read need not be looked for.
        if read.is_none() && !matches!(self.waiting_body(id), Some(Some(_))) {
            return false;
        }
        let Some(removed) = self.remove_waiting(id) else { return false };
        self.bodies.release(removed.task.as_ref());
        let task = match (removed.task, read) {
            (Some(task), _) => task,
            (None, Some(mut task)) => {
                self.bodies.complete(&mut task);
                Arc::new(task)
            }
            (None, None) => return false,
        };
        self.terminate(task, end, now, records);
        true
    }

    fn remove_waiting(&mut self, id: TaskId) -> Option<Waiting> {
        self.order
            .remove(id)
            .or_else(|| self.batches.remove(id))
            .or_else(|| self.keys.remove(id))
            .or_else(|| self.parked.remove(&id))
    }

    /// Ends a task that waits nowhere any more.
    pub(super) fn terminate(
        &mut self,
        task: Arc<TaskRecord>,
        end: WaitingEnd,
        now: Now,
        records: &mut Vec<Record>,
    ) {
        let WaitingEnd { state, keep, .. } = end;
        let is_between = end == WaitingEnd::CANCELLED && task.attempts() > 0;
        let reason = if is_between { CANCELLED_BETWEEN } else { end.reason };
        self.end(&task, state);
        self.terminated.push(TerminatedTask { task: task.clone(), state, error: reason.to_owned() });
        let outcome = Err(reason.to_owned());
        records.push(Record::Ended(EndRecord { task, state, at_ms: now.wall_ms, run: None, outcome, keep }));
    }

    /// The ends without a settlement since the last call.
    pub(in crate::store) fn terminated(&mut self) -> Vec<TerminatedTask> {
        std::mem::take(&mut self.terminated)
    }
}

//! Tasks that come into the index, and the places where they wait from then on.

use std::sync::Arc;

use framework_protocol::task::{BatchId, Due, NewTask, TaskId, TaskRecord};
use framework_protocol::{ErrorCode, RequestError};

use super::TaskIndex;
use super::concurrency::ConcurrencyKeyName;
use crate::store::clock::Now;
use crate::store::due_heap::ReadyAt;
use crate::store::ready_queues::{QueuePosition, Waiting};

/// A task on its way into the index.
#[derive(Debug)]
pub(in crate::store) struct Insertion {
    pub(in crate::store) id: TaskId,
    /// The body; `None` when only the disk has it.
    pub(in crate::store) task: Option<Arc<TaskRecord>>,
    pub(in crate::store) place: QueuePosition,
    pub(in crate::store) when: ReadyAt,
    pub(in crate::store) expires: Option<ReadyAt>,
    pub(in crate::store) concurrency: Option<(Box<str>, u32)>,
    pub(in crate::store) batch: Option<BatchId>,
    /// The number of its attempts in which the process died.
    pub(in crate::store) crashes: u32,
}

impl TaskIndex {
    /// Checks that one more task may come in, while `pending` others are on their way.
    ///
    /// # Errors
    /// When the queue is full or closed, or the batch that the task names takes none.
    pub(in crate::store) fn check_capacity(&self, new: &NewTask, pending: usize) -> Result<(), RequestError> {
        let limit = self.limit;
        if self.closed {
            return Err(RequestError::shutting_down());
        }
        if self.waiting() + pending >= limit {
            let message = format!("The queue is full: {limit} tasks are waiting (max_queue_length).");
            return Err(RequestError::new(ErrorCode::Busy, message));
        }
        if self.bodies.is_full(new, self.max_memory) {
            let limit = self.max_memory;
            let message = format!("The queue is full: {limit} bytes of tasks are waiting (max_memory).");
            return Err(RequestError::new(ErrorCode::Busy, message));
        }
        new.batch().map_or(Ok(()), |batch| self.batches.check_open(batch))
    }

    /// The insertion of a task that is accepted now.
    pub(in crate::store) fn new_insertion(&mut self, task: Arc<TaskRecord>, now: Now) -> Insertion {
        let when = |due| match due {
            Due::Now => ReadyAt::Now,
            Due::After(pause) => ReadyAt::Steady(now.steady + pause),
            Due::At(at_ms) => ReadyAt::Wall(at_ms),
        };
        let extra = task.new.extra.as_deref();
        let key = extra.and_then(|extra| extra.concurrency_key.clone());
        Insertion {
            id: task.id,
            place: self.order.place(&task.new.queue, &task.new.function, task.new.priority),
            when: when(task.new.due),
            expires: extra.and_then(|extra| extra.expires).map(when),
            concurrency: key.map(|key| (key, task.new.concurrency)),
            batch: task.new.batch(),
            crashes: 0,
            task: Some(task),
        }
    }

    /// Inserts a newly accepted task, and counts it.
    pub(in crate::store) fn insert_new(&mut self, insertion: Insertion) {
        self.ended.accepted += 1;
        if let Some(task) = &insertion.task {
            *self.accepted.entry(&task.new.function, &task.new.queue) += 1;
        }
        if let Some(batch) = insertion.batch {
            self.batches.count_in(batch);
        }
        self.insert(insertion);
    }

    /// Puts a task where it waits.
    pub(in crate::store) fn insert(&mut self, insertion: Insertion) {
        let Insertion { id, task, place, when, expires, concurrency, batch, crashes } = insertion;
        self.register_keys(id, concurrency, crashes);
        if let Some(expires) = expires {
            self.expiries.add(id, expires);
        }
        let task = task.and_then(|task| self.bodies.hold(task));
        let waiting = Waiting { id, task, place };
        match batch {
            Some(batch) if self.batches.holds(batch) => self.batches.hold(batch, waiting, when),
            _ => self.order.push_later(waiting, when),
        }
    }

    /// Ties a task to its concurrency key, and to that of tasks with so many crashes.
    pub(super) fn register_keys(&mut self, id: TaskId, concurrency: Option<(Box<str>, u32)>, crashes: u32) {
        if let Some((key, limit)) = concurrency {
            self.keys.register(id, ConcurrencyKeyName::Client(key.into()), limit);
        }
        if crashes > 0 {
            self.register_crashed(id, crashes);
        }
    }

    /// Ties a task with crashes to the concurrency key that the rules have for these.
    pub(super) fn register_crashed(&mut self, id: TaskId, crashes: u32) {
        if let Some((key, limit)) = self.rules.crash_concurrency(crashes) {
            self.keys.register(id, ConcurrencyKeyName::Rule(key), limit);
        }
    }

    /// Lets some of the tasks run that a sealed batch still holds back; returns their number, which is 0 when
    /// there are no more.
    pub(in crate::store) fn release_held(&mut self, batch: BatchId, limit: usize) -> usize {
        let some = self.batches.next_held(batch, limit);
        let count = some.len();
        some.into_iter().for_each(|(waiting, when)| self.order.push_later(waiting, when));
        count
    }
}

//! How tasks come into the books, and where they wait from then on.

use std::sync::Arc;

use framework_protocol::task::{BatchId, Due, NewTask, TaskId, TaskRecord};
use framework_protocol::views::State;
use framework_protocol::{ErrorCode, RequestError};
use rustc_hash::FxHashSet;

use super::{ReadyAt, Record, SUSPECT, TaskIndex};
use crate::store::clock::Now;
use crate::store::ready_queues::{QueuePosition, Waiting};

/// A task on its way into the books.
#[derive(Debug)]
pub(in crate::store) struct Insertion {
    pub(in crate::store) id: TaskId,
    /// `None`: only the disk has it.
    pub(in crate::store) task: Option<Arc<TaskRecord>>,
    pub(in crate::store) place: QueuePosition,
    pub(in crate::store) when: ReadyAt,
    pub(in crate::store) expires: Option<ReadyAt>,
    pub(in crate::store) concurrency: Option<(Box<str>, u32)>,
    pub(in crate::store) batch: Option<BatchId>,
    /// Whether the process died while it ran.
    pub(in crate::store) is_suspect: bool,
}

impl TaskIndex {
    /// Whether one more task may come in, while `pending` others are on their way.
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
        if self.hot.is_full(new, self.max_memory) {
            let limit = self.max_memory;
            let message = format!("The queue is full: {limit} bytes of tasks are waiting (max_memory).");
            return Err(RequestError::new(ErrorCode::Busy, message));
        }
        new.batch().map_or(Ok(()), |batch| self.batches.is_open(batch))
    }

    /// Where a task goes that is accepted now.
    pub(in crate::store) fn new_insertion(&mut self, task: Arc<TaskRecord>, now: Now) -> Insertion {
        let when = |due| match due {
            Due::Now => ReadyAt::Now,
            Due::After(pause) => ReadyAt::Steady(now.steady + pause),
            Due::At(at_ms) => ReadyAt::Wall(at_ms),
        };
        let rare = task.new.extra.as_deref();
        let limit = task.new.handler.options.concurrency;
        Insertion {
            id: task.id,
            place: self.order.place(task.new.queue, task.new.priority),
            when: when(task.new.due),
            expires: rare.and_then(|rare| rare.expires).map(when),
            concurrency: rare.and_then(|rare| rare.concurrency_key.clone()).map(|key| (key, limit)),
            batch: task.new.batch(),
            is_suspect: false,
            task: Some(task),
        }
    }

    /// Takes in a new task.
    pub(in crate::store) fn count(&mut self, arrival: Insertion) {
        self.ended.accepted += 1;
        if let Some(batch) = arrival.batch {
            self.batches.count_in(batch);
        }
        self.insert(arrival);
    }

    /// Puts a task where it waits.
    pub(in crate::store) fn insert(&mut self, arrival: Insertion) {
        let Insertion { id, task, place, when, expires, concurrency, batch, is_suspect } = arrival;
        if let Some((key, limit)) = concurrency {
            self.keys.register(id, &key, limit);
        }
        if is_suspect {
            self.keys.register(id, SUSPECT, 1);
        }
        if let Some(expires) = expires {
            self.expiries.add(id, expires);
        }
        let task = task.and_then(|task| self.hot.hold(task));
        let waiting = Waiting { id, task, place };
        match batch {
            Some(batch) if self.batches.holds(batch) => self.batches.hold(batch, waiting, when),
            _ => self.order.push_later(waiting, when),
        }
    }

    /// Ended tasks wait again, with all their attempts before them.
    pub(in crate::store) fn restore(&mut self, tasks: Vec<(TaskRecord, State)>, now: Now) {
        let ids: FxHashSet<_> = tasks.iter().map(|(task, _)| task.id).collect();
        self.order.drop_tombstones(&ids);
        for (mut task, from) in tasks {
            let ended = self.ended_in(from);
            *ended = ended.saturating_sub(1);
            let is_alone = task.new.batch().is_some_and(|batch| !self.batches.count_back(batch, from));
            if let Some(rare) = task.new.extra.as_mut().filter(|_| is_alone) {
                rare.batch = None;
            }
            let arrival = self.new_insertion(Arc::new(task), now);
            self.insert(arrival);
        }
    }

    /// Lets the tasks of a batch go.
    ///
    /// # Errors
    /// When there is no such batch, or it is sealed already.
    pub(in crate::store) fn seal(
        &mut self,
        id: BatchId,
        now: Now,
        records: &mut Vec<Record>,
    ) -> Result<(), RequestError> {
        for (waiting, when) in self.batches.seal(id)? {
            self.order.push_later(waiting, when);
        }
        self.batches.note(now.wall_ms, records);
        Ok(())
    }
}

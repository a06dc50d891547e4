//! How tasks come into the books, and where they wait from then on.

use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::{Books, Record, SUSPECT, When};
use crate::protocol::{Code, Refusal};
use crate::store::clock::Now;
use crate::store::order::{Place, Waiting};
use crate::store::story::State;
use crate::task::{BatchId, Due, NewTask, Task, TaskId};

/// A task on its way into the books.
#[derive(Debug)]
pub(in crate::store) struct Arrival {
    pub(in crate::store) id: TaskId,
    /// `None`: only the disk has it.
    pub(in crate::store) task: Option<Arc<Task>>,
    pub(in crate::store) place: Place,
    pub(in crate::store) when: When,
    pub(in crate::store) expires: Option<When>,
    pub(in crate::store) concurrency: Option<(Box<str>, u32)>,
    pub(in crate::store) batch: Option<BatchId>,
    /// Whether the process died while it ran.
    pub(in crate::store) is_suspect: bool,
}

impl Books {
    /// Whether one more task may come in, while `pending` others are on their way.
    ///
    /// # Errors
    /// When the queue is full or closed, or the batch that the task names takes none.
    pub(in crate::store) fn admits(&self, new: &NewTask, pending: usize) -> Result<(), Refusal> {
        let limit = self.limit;
        if self.closed {
            return Err(Refusal::new(Code::ShuttingDown, "The server is shutting down."));
        }
        if self.waiting() + pending >= limit {
            let message = format!("The queue is full: {limit} tasks are waiting (queue_max_length).");
            return Err(Refusal::new(Code::Busy, message));
        }
        if self.hot.is_full(new, self.memory_max) {
            let limit = self.memory_max;
            let message = format!("The queue is full: {limit} bytes of tasks are waiting (memory_max).");
            return Err(Refusal::new(Code::Busy, message));
        }
        new.batch().map_or(Ok(()), |batch| self.batches.is_open(batch))
    }

    /// Where a task goes that is accepted now.
    pub(in crate::store) fn arrival(&mut self, task: Arc<Task>, now: Now) -> Arrival {
        let when = |due| match due {
            Due::Now => When::Now,
            Due::After(pause) => When::Steady(now.steady + pause),
            Due::At(at_ms) => When::Wall(at_ms),
        };
        let rare = task.new.rare.as_deref();
        let limit = task.new.handler.options.concurrency;
        Arrival {
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
    pub(in crate::store) fn accept(&mut self, arrival: Arrival) {
        self.ended.accepted += 1;
        if let Some(batch) = arrival.batch {
            self.batches.count_in(batch);
        }
        self.arrive(arrival);
    }

    /// Puts a task where it waits.
    pub(in crate::store) fn arrive(&mut self, arrival: Arrival) {
        let Arrival { id, task, place, when, expires, concurrency, batch, is_suspect } = arrival;
        if let Some((key, limit)) = concurrency {
            self.keys.tie(id, &key, limit);
        }
        if is_suspect {
            self.keys.tie(id, SUSPECT, 1);
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
    pub(in crate::store) fn readmit(&mut self, tasks: Vec<(Task, State)>, now: Now) {
        let ids: FxHashSet<_> = tasks.iter().map(|(task, _)| task.id).collect();
        self.order.forget_strikes(&ids);
        for (mut task, from) in tasks {
            let ended = self.ended_in(from);
            *ended = ended.saturating_sub(1);
            let is_alone = task.new.batch().is_some_and(|batch| !self.batches.count_back(batch, from));
            if let Some(rare) = task.new.rare.as_mut().filter(|_| is_alone) {
                rare.batch = None;
            }
            let arrival = self.arrival(Arc::new(task), now);
            self.arrive(arrival);
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
    ) -> Result<(), Refusal> {
        for (waiting, when) in self.batches.seal(id)? {
            self.order.push_later(waiting, when);
        }
        self.batches.note(now.wall_ms, records);
        Ok(())
    }
}

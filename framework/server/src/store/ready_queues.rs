//! The order of work: queue by queue by weight, then priority, then due time, then id.
//!
//! A waiting task takes 16 bytes here, so that ten million of them fit into memory; its body is here only as
//! long as the body cache has room for it.

mod delayed;
mod queue;
mod rate;

use std::sync::Arc;
use std::time::Duration;

use framework_protocol::task::{TaskId, TaskRecord};
use framework_protocol::views::QueueDepth;
use rustc_hash::FxHashSet;

use self::delayed::Delayed;
use self::queue::Queue;
use super::clock::Now;
use super::due_heap::ReadyAt;
use super::options::{StoreOptions, WorkerGroup};

/// The waiting tasks in the order of work.
#[derive(Debug)]
pub(super) struct ReadyQueues {
    options: StoreOptions,
    queues: Vec<Queue>,
    delayed: Delayed,
    /// Tasks that ended while they waited, and are passed over when their turn comes.
    tombstones: FxHashSet<TaskId>,
    /// The number of waiting tasks, due or delayed.
    len: usize,
    /// The pass of each group's last turn; see [`Queue::pass`].
    passes: Vec<u64>,
    /// A task was delayed since [`ReadyQueues::is_sooner`]: workers that sleep until another one is due must
    /// look again.
    sooner: bool,
}

/// A waiting task.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) id: TaskId,
    /// The body; `None` when only the disk has it.
    pub(super) task: Option<Arc<TaskRecord>>,
    pub(super) place: QueuePosition,
}

/// The place of a task in the order of work: its queue's index, and its priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueuePosition {
    pub(super) queue: u16,
    pub(super) priority: u8,
}

impl ReadyQueues {
    pub(super) fn new(options: StoreOptions) -> Self {
        let passes = vec![0; options.groups.len()];
        Self {
            options,
            queues: Vec::new(),
            delayed: Delayed::default(),
            tombstones: FxHashSet::default(),
            len: 0,
            passes,
            sooner: false,
        }
    }

    /// The place of a task of this queue and priority. The queue is made by its first task.
    pub(super) fn place(&mut self, queue: &str, priority: u8) -> QueuePosition {
        let known = self.queues.iter().position(|known| &*known.name == queue);
        let index = known.unwrap_or_else(|| {
            self.queues.push(Queue::new(queue, &self.options));
            self.queues.len() - 1
        });
        // Queues are named by handlers, of which no program has so many.
        QueuePosition { queue: u16::try_from(index).unwrap_or(u16::MAX), priority }
    }

    /// The index of the queue among the [`depths`](Self::depths).
    pub(super) fn queue_index(&self, place: QueuePosition) -> usize {
        usize::from(place.queue)
    }

    pub(super) fn queue_name(&self, place: QueuePosition) -> &str {
        &self.queues[usize::from(place.queue)].name
    }

    /// Adds a task behind those that can be taken.
    pub(super) fn push(&mut self, waiting: Waiting) {
        self.len += 1;
        self.enqueue(waiting);
    }

    /// Removes the tombstones of tasks that ended while they waited and are to wait again.
    pub(super) fn drop_tombstones(&mut self, ids: &FxHashSet<TaskId>) {
        let dropped: FxHashSet<_> = ids.iter().copied().filter(|id| self.tombstones.remove(id)).collect();
        if !dropped.is_empty() {
            self.queues.iter_mut().for_each(|queue| queue.purge(&dropped));
            self.delayed.purge(&dropped);
        }
    }

    fn enqueue(&mut self, waiting: Waiting) {
        let queue = &mut self.queues[usize::from(waiting.place.queue)];
        queue.catch_up(self.passes[queue.group]);
        queue.push_back(waiting);
    }

    /// Puts a task back where it was taken from.
    pub(super) fn push_front(&mut self, waiting: Waiting) {
        self.len += 1;
        let queue = &mut self.queues[usize::from(waiting.place.queue)];
        queue.catch_up(self.passes[queue.group]);
        queue.push_front(waiting);
    }

    /// Keeps a task until its time comes.
    pub(super) fn push_later(&mut self, waiting: Waiting, when: ReadyAt) {
        if when == ReadyAt::Now {
            return self.push(waiting);
        }
        self.len += 1;
        self.sooner = true;
        self.queues[usize::from(waiting.place.queue)].delayed += 1;
        self.delayed.push(waiting, when);
    }

    /// Moves the tasks whose time has come to where they can be taken.
    pub(super) fn wake(&mut self, now: Now) {
        while let Some(waiting) = self.delayed.pop(now) {
            // A task that ended while it waited is not counted any more.
            if self.tombstones.is_empty() || !self.tombstones.remove(&waiting.id) {
                let queue = &mut self.queues[usize::from(waiting.place.queue)];
                queue.delayed = queue.delayed.saturating_sub(1);
                self.enqueue(waiting);
            }
        }
    }

    /// Removes the next tasks of a group, at most `limit`, by the weights and rates of their queues.
    pub(super) fn take(&mut self, group: usize, limit: usize, now: Now, mut taken: impl FnMut(Waiting)) {
        for queue in self.queues.iter_mut().filter(|queue| queue.group == group) {
            queue.refill(now.steady);
        }
        let mut left = limit;
        while left > 0 {
            let Some((index, is_alone)) = self.next_queue(group) else { return };
            // One that is alone need not be compared again after each task.
            let turns = if is_alone { left } else { 1 };
            let queue = &mut self.queues[index];
            for _ in 0..turns {
                if !queue.is_open() {
                    break;
                }
                let Some(waiting) = queue.pop(index as u16, &mut self.tombstones) else { return };
                self.passes[group] = queue.serve();
                self.len -= 1;
                left -= 1;
                taken(waiting);
            }
        }
    }

    /// The queue whose turn it is, which had least of its share; and whether no other one is open.
    fn next_queue(&self, group: usize) -> Option<(usize, bool)> {
        let open =
            self.queues.iter().enumerate().filter(|(_, queue)| queue.group == group && queue.is_open());
        let is_alone = open.clone().count() == 1;
        open.min_by_key(|(_, queue)| queue.pass).map(|(index, _)| (index, is_alone))
    }

    /// Leaves a tombstone for a task that ends while it waits: its turn will be passed over.
    fn mark_removed(&mut self, id: TaskId, place: QueuePosition, when: ReadyAt) {
        let queue = &mut self.queues[usize::from(place.queue)];
        if self.tombstones.insert(id) {
            self.len -= 1;
            queue.mark_removed(self.delayed.is_ahead(when));
        }
    }

    /// Takes waiting tasks out of the order, whether they are due or delayed.
    pub(super) fn remove(&mut self, ids: &FxHashSet<TaskId>) -> Vec<Waiting> {
        let found: Vec<_> = match ids.len() {
            1 => ids.iter().filter_map(|id| self.find(*id)).collect(),
            _ => {
                let all = self.iter().filter(|(id, ..)| ids.contains(id));
                all.map(|(id, task, place, when)| (Waiting { id, task: task.cloned(), place }, when))
                    .collect()
            }
        };
        for (waiting, when) in &found {
            self.mark_removed(waiting.id, waiting.place, *when);
        }
        found.into_iter().map(|(waiting, _)| waiting).collect()
    }

    /// One waiting task. A lane is in the order of ids but for tasks that came back or were delayed.
    fn find(&self, id: TaskId) -> Option<(Waiting, ReadyAt)> {
        if self.tombstones.contains(&id) {
            return None;
        }
        let near = self.queues.iter().enumerate().find_map(|(index, queue)| queue.find(index as u16, id));
        let far = || {
            let (id, task, place, when) = self.iter().find(|(found, ..)| *found == id)?;
            Some((Waiting { id, task: task.cloned(), place }, when))
        };
        near.map(|waiting| (waiting, ReadyAt::Now)).or_else(far)
    }

    /// Whether a group has something to take now.
    pub(super) fn is_due(&mut self, group: usize, now: Now) -> bool {
        let queues = self.queues.iter_mut().filter(|queue| queue.group == group);
        queues.fold(false, |due, queue| {
            queue.refill(now.steady);
            due || queue.is_open()
        })
    }

    /// The time from now until something else may be due for a group, by its due time or by the rate of its
    /// queue.
    pub(super) fn next_due(&self, group: usize, now: Now) -> Option<Duration> {
        let rated = self.queues.iter().filter(|queue| queue.group == group).filter_map(Queue::next_start);
        rated.chain(self.delayed.next(now)).min()
    }

    /// Whether a task was delayed since the last call.
    pub(super) fn is_sooner(&mut self) -> bool {
        std::mem::take(&mut self.sooner)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Gives back the token of its queue's rate that a task had used which did not start.
    pub(super) fn refund_turn(&mut self, place: QueuePosition) {
        self.queues[usize::from(place.queue)].refund();
    }

    /// Nothing is taken from a paused queue.
    pub(super) fn pause(&mut self, queue: &str, paused: bool) {
        let place = self.place(queue, 0);
        let queue = &mut self.queues[usize::from(place.queue)];
        queue.paused = paused;
        queue.catch_up(self.passes[queue.group]);
    }

    /// The due task with the smallest id, which has waited longest.
    pub(super) fn oldest(&self) -> Option<(TaskId, Option<&Arc<TaskRecord>>)> {
        let fronts = self.queues.iter().flat_map(Queue::fronts);
        fronts.filter(|(id, _)| !self.tombstones.contains(id)).min_by_key(|(id, _)| *id)
    }

    /// The depth of each queue, in the order of their indices.
    pub(super) fn depths(&self) -> impl Iterator<Item = (&str, QueueDepth)> {
        self.queues.iter().map(|queue| {
            let (waiting, delayed) = (queue.due as u64, queue.delayed as u64);
            let depth = QueueDepth { waiting, delayed, paused: queue.paused, ..QueueDepth::default() };
            (&*queue.name, depth)
        })
    }

    /// The weight and the rate of each queue.
    pub(super) fn shares(&self) -> impl Iterator<Item = (&str, u32, Option<super::Rate>)> {
        self.queues.iter().map(|queue| (&*queue.name, queue.weight(), queue.rate()))
    }

    /// Every waiting task, in no particular order, with the time from which on it can be taken.
    pub(super) fn iter(
        &self,
    ) -> impl Iterator<Item = (TaskId, Option<&Arc<TaskRecord>>, QueuePosition, ReadyAt)> {
        let due = self.queues.iter().enumerate().flat_map(|(index, queue)| queue.iter(index as u16));
        let all = due.chain(self.delayed.iter());
        all.filter(|(id, ..)| self.tombstones.is_empty() || !self.tombstones.contains(id))
    }
}

/// The group of workers that takes from a queue.
fn group_of(options: &StoreOptions, queue: &str) -> usize {
    let is_own = |group: &WorkerGroup| matches!(group, WorkerGroup::Queue(name) if name == queue);
    let own = options.groups.iter().position(is_own);
    let others = options.groups.iter().position(|group| *group == WorkerGroup::Others);
    own.or(others).unwrap_or(0)
}

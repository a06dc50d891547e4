//! The order of work: queue by queue by weight, then priority, then due time, then id.
//!
//! A waiting task takes 16 bytes here, so that ten million of them fit into memory; the task itself is here only
//! as long as it is hot.

mod delayed;
mod queue;

use std::sync::Arc;
use std::time::Duration;

use framework_protocol::task::{TaskId, TaskRecord};
use framework_protocol::views::QueueDepth;
use rustc_hash::FxHashSet;

use self::delayed::Delayed;
use self::queue::Queue;
use super::clock::Now;
use super::options::{StoreOptions, WorkerGroup};

/// The waiting tasks in the order of work.
#[derive(Debug)]
pub(super) struct ReadyQueues {
    policy: StoreOptions,
    queues: Vec<Queue>,
    delayed: Delayed,
    /// Tasks that ended while they waited, and are passed over when their turn comes.
    gone: FxHashSet<TaskId>,
    /// Waiting tasks, wherever they wait.
    len: usize,
    /// How far each line has come in the share of its queues.
    passes: Vec<u64>,
    /// A task was delayed since somebody last asked: who sleeps until another one is due is to look again.
    sooner: bool,
}

/// A waiting task.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) id: TaskId,
    /// `None`: only the disk has it.
    pub(super) task: Option<Arc<TaskRecord>>,
    pub(super) place: QueuePosition,
}

/// Where in the order a task belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueuePosition {
    pub(super) queue: u16,
    pub(super) priority: u8,
}

/// When a waiting task can be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum ReadyAt {
    #[default]
    Now,
    /// In steady time.
    Steady(Duration),
    /// When the clock on the wall shows this, in milliseconds since 1970.
    Wall(u64),
}

impl ReadyQueues {
    pub(super) fn new(policy: StoreOptions) -> Self {
        let passes = vec![0; policy.groups.len()];
        Self {
            policy,
            queues: Vec::new(),
            delayed: Delayed::default(),
            gone: FxHashSet::default(),
            len: 0,
            passes,
            sooner: false,
        }
    }

    /// Where a task of this queue and priority belongs.
    pub(super) fn place(&mut self, queue: &'static str, priority: u8) -> QueuePosition {
        let known = self.queues.iter().position(|known| known.name == queue);
        let position = known.unwrap_or_else(|| {
            self.queues.push(Queue::new(queue, &self.policy));
            self.queues.len() - 1
        });
        // More queues than that are not the names of handlers.
        QueuePosition { queue: u16::try_from(position).unwrap_or(u16::MAX), priority }
    }

    /// The queue of this name, if it has had a task.
    pub(super) fn known(&self, name: &str) -> Option<&'static str> {
        self.queues.iter().map(|queue| queue.name).find(|known| *known == name)
    }

    /// The place of the queue among the [`depths`](Self::depths).
    pub(super) fn queue_index(&self, place: QueuePosition) -> usize {
        usize::from(place.queue)
    }

    pub(super) fn queue_name(&self, place: QueuePosition) -> &'static str {
        self.queues[usize::from(place.queue)].name
    }

    /// Adds a task behind those that can be taken.
    pub(super) fn push(&mut self, waiting: Waiting) {
        self.len += 1;
        self.enqueue(waiting);
    }

    /// Tasks that ended while they waited wait again: what is left of their first turns goes.
    pub(super) fn drop_tombstones(&mut self, ids: &FxHashSet<TaskId>) {
        let struck: FxHashSet<_> = ids.iter().copied().filter(|id| self.gone.remove(id)).collect();
        if !struck.is_empty() {
            self.queues.iter_mut().for_each(|queue| queue.purge(&struck));
            self.delayed.purge(&struck);
        }
    }

    fn enqueue(&mut self, waiting: Waiting) {
        let queue = &mut self.queues[usize::from(waiting.place.queue)];
        queue.catch_up(self.passes[queue.line]);
        queue.push_back(waiting);
    }

    /// Puts a task back where it was taken from.
    pub(super) fn push_front(&mut self, waiting: Waiting) {
        self.len += 1;
        let queue = &mut self.queues[usize::from(waiting.place.queue)];
        queue.catch_up(self.passes[queue.line]);
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
            // One that ended while it waited has been counted off already.
            if self.gone.is_empty() || !self.gone.remove(&waiting.id) {
                let queue = &mut self.queues[usize::from(waiting.place.queue)];
                queue.delayed = queue.delayed.saturating_sub(1);
                self.enqueue(waiting);
            }
        }
    }

    /// The next tasks of a line, at most `limit`, as their queues' weights and rates have it.
    pub(super) fn take(&mut self, line: usize, limit: usize, now: Now, mut taken: impl FnMut(Waiting)) {
        for queue in self.queues.iter_mut().filter(|queue| queue.line == line) {
            queue.refill(now.steady);
        }
        let mut left = limit;
        while left > 0 {
            let Some((index, is_alone)) = self.next_queue(line) else { return };
            // One that is alone need not be compared again after each task.
            let turns = if is_alone { left } else { 1 };
            let queue = &mut self.queues[index];
            for _ in 0..turns {
                if !queue.is_open() {
                    break;
                }
                let Some(waiting) = queue.pop(index as u16, &mut self.gone) else { return };
                self.passes[line] = queue.serve();
                self.len -= 1;
                left -= 1;
                taken(waiting);
            }
        }
    }

    /// The queue whose turn it is, the one that had least of its share; and whether no other one is open.
    fn next_queue(&self, line: usize) -> Option<(usize, bool)> {
        let open = self.queues.iter().enumerate().filter(|(_, queue)| queue.line == line && queue.is_open());
        let is_alone = open.clone().count() == 1;
        open.min_by_key(|(_, queue)| queue.pass).map(|(index, _)| (index, is_alone))
    }

    /// Counts off a task that ends while it waits; its turn will be passed over.
    fn mark_removed(&mut self, id: TaskId, place: QueuePosition, when: ReadyAt) {
        let queue = &mut self.queues[usize::from(place.queue)];
        if self.gone.insert(id) {
            self.len -= 1;
            queue.mark_removed(self.delayed.is_ahead(when));
        }
    }

    /// Takes waiting tasks out of the order, wherever they stand.
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

    /// One waiting task. Lanes are in the order of ids but for tasks that came back or were delayed.
    fn find(&self, id: TaskId) -> Option<(Waiting, ReadyAt)> {
        if self.gone.contains(&id) {
            return None;
        }
        let near = self.queues.iter().enumerate().find_map(|(index, queue)| queue.find(index as u16, id));
        let far = || {
            let (id, task, place, when) = self.iter().find(|(found, ..)| *found == id)?;
            Some((Waiting { id, task: task.cloned(), place }, when))
        };
        near.map(|waiting| (waiting, ReadyAt::Now)).or_else(far)
    }

    /// Whether a line has something to take now.
    pub(super) fn is_due(&mut self, line: usize, now: Now) -> bool {
        let queues = self.queues.iter_mut().filter(|queue| queue.line == line);
        queues.fold(false, |due, queue| {
            queue.refill(now.steady);
            due || queue.is_open()
        })
    }

    /// How long from now until something else may be due for a line: by its time, or by its queue's rate.
    pub(super) fn next_due(&self, line: usize, now: Now) -> Option<Duration> {
        let rated = self.queues.iter().filter(|queue| queue.line == line).filter_map(Queue::next_start);
        rated.chain(self.delayed.next(now)).min()
    }

    /// Whether a task was delayed since somebody last asked.
    pub(super) fn is_sooner(&mut self) -> bool {
        std::mem::take(&mut self.sooner)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Gives back what a task that did not start had used of its queue's rate.
    pub(super) fn refund_turn(&mut self, place: QueuePosition) {
        self.queues[usize::from(place.queue)].refund();
    }

    /// Nothing is taken from a paused queue.
    pub(super) fn pause(&mut self, queue: &'static str, paused: bool) {
        let place = self.place(queue, 0);
        let queue = &mut self.queues[usize::from(place.queue)];
        queue.paused = paused;
        queue.catch_up(self.passes[queue.line]);
    }

    /// When the longest waiting of the due tasks that are hot was accepted; cold ones are older by their ids.
    pub(super) fn oldest(&self) -> Option<(TaskId, Option<&Arc<TaskRecord>>)> {
        let fronts = self.queues.iter().flat_map(Queue::fronts);
        fronts.filter(|(id, _)| !self.gone.contains(id)).min_by_key(|(id, _)| *id)
    }

    /// What is in each queue, in the order of their places.
    pub(super) fn depths(&self) -> impl Iterator<Item = (&'static str, QueueDepth)> {
        self.queues.iter().map(|queue| {
            let (waiting, delayed) = (queue.due as u64, queue.delayed as u64);
            (queue.name, QueueDepth { waiting, delayed, running: 0, paused: queue.paused })
        })
    }

    /// Each queue's weight and rate.
    pub(super) fn shares(&self) -> impl Iterator<Item = (&'static str, u32, Option<super::Rate>)> {
        self.queues.iter().map(|queue| (queue.name, queue.weight(), queue.rate()))
    }

    /// Every waiting task, in no particular order, and when it can be taken.
    pub(super) fn iter(
        &self,
    ) -> impl Iterator<Item = (TaskId, Option<&Arc<TaskRecord>>, QueuePosition, ReadyAt)> {
        let lined_up = self.queues.iter().enumerate().flat_map(|(index, queue)| queue.iter(index as u16));
        let all = lined_up.chain(self.delayed.iter());
        all.filter(|(id, ..)| self.gone.is_empty() || !self.gone.contains(id))
    }
}

/// The queues of a line, by the policy.
fn line_of(policy: &StoreOptions, queue: &str) -> usize {
    let own = policy.groups.iter().position(|line| matches!(line, WorkerGroup::Queue(name) if name == queue));
    let others = policy.groups.iter().position(|line| *line == WorkerGroup::Others);
    own.or(others).unwrap_or(0)
}

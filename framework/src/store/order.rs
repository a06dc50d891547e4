//! The order of work: queue by queue in turn, then priority, then due time, then id.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::task::Task;

const PRIORITIES: usize = 10;

/// The waiting tasks in the order of work.
#[derive(Debug, Default)]
pub(super) struct Order {
    queues: Vec<Queue>,
    /// Where the next turn begins.
    turn: usize,
    due: usize,
    delayed: BinaryHeap<Reverse<Delayed>>,
}

/// A waiting task and the attempts it has behind it.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) task: Arc<Task>,
    pub(super) attempts: u32,
}

#[derive(Debug)]
struct Queue {
    name: &'static str,
    /// By urgency: the last one is taken first.
    lanes: [VecDeque<Waiting>; PRIORITIES],
    due: usize,
    delayed: usize,
}

#[derive(Debug)]
struct Delayed {
    at: Instant,
    waiting: Waiting,
}

impl Order {
    pub(super) fn push(&mut self, waiting: Waiting) {
        self.due += 1;
        let priority = waiting.priority();
        let queue = self.queue(waiting.task.new.queue);
        queue.due += 1;
        queue.lanes[priority].push_back(waiting);
    }

    /// Puts a task back where it was taken from.
    pub(super) fn push_front(&mut self, waiting: Waiting) {
        self.due += 1;
        let priority = waiting.priority();
        let queue = self.queue(waiting.task.new.queue);
        queue.due += 1;
        queue.lanes[priority].push_front(waiting);
    }

    /// Keeps a task until its time comes; whether it is now the next one to fall due.
    pub(super) fn push_later(&mut self, waiting: Waiting, at: Instant) -> bool {
        let is_next = self.next_due().is_none_or(|next| at < next);
        self.queue(waiting.task.new.queue).delayed += 1;
        self.delayed.push(Reverse(Delayed { at, waiting }));
        is_next
    }

    /// Moves the tasks whose time has come to where they can be taken.
    pub(super) fn wake(&mut self, now: Instant) {
        while self.delayed.peek().is_some_and(|Reverse(first)| first.at <= now) {
            let Some(Reverse(Delayed { waiting, .. })) = self.delayed.pop() else { return };
            self.queue(waiting.task.new.queue).delayed -= 1;
            self.push(waiting);
        }
    }

    /// The next tasks, at most `limit`; the queues take turns, a task each.
    pub(super) fn take(&mut self, limit: usize, mut taken: impl FnMut(Waiting)) {
        for _ in 0..limit.min(self.due) {
            let Some(turn) = self.next_turn() else { return };
            let queue = &mut self.queues[turn];
            let Some(waiting) = queue.lanes.iter_mut().rev().find_map(VecDeque::pop_front) else { return };
            queue.due -= 1;
            self.due -= 1;
            self.turn = (turn + 1) % self.queues.len();
            taken(waiting);
        }
    }

    /// How many can be taken.
    pub(super) fn due(&self) -> usize {
        self.due
    }

    pub(super) fn len(&self) -> usize {
        self.due + self.delayed.len()
    }

    /// When the next delayed task becomes due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.delayed.peek().map(|Reverse(first)| first.at)
    }

    /// When the longest waiting of the due tasks was accepted.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let fronts = self.queues.iter().flat_map(|queue| queue.lanes.iter().filter_map(VecDeque::front));
        fronts.map(|waiting| waiting.task.accepted).min()
    }

    /// Each queue's name, due and delayed tasks.
    pub(super) fn depths(&self) -> impl Iterator<Item = (&'static str, usize, usize)> {
        self.queues.iter().map(|queue| (queue.name, queue.due, queue.delayed))
    }

    fn next_turn(&self) -> Option<usize> {
        let count = self.queues.len();
        (self.turn..self.turn + count).map(|turn| turn % count).find(|turn| self.queues[*turn].due > 0)
    }

    fn queue(&mut self, name: &'static str) -> &mut Queue {
        let known = self.queues.iter().position(|queue| queue.name == name);
        let position = known.unwrap_or_else(|| {
            self.queues.push(Queue { name, lanes: Default::default(), due: 0, delayed: 0 });
            self.queues.len() - 1
        });
        &mut self.queues[position]
    }
}

impl Waiting {
    fn priority(&self) -> usize {
        usize::from(self.task.new.priority).min(PRIORITIES - 1)
    }
}

impl Ord for Delayed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.waiting.task.id).cmp(&(other.at, other.waiting.task.id))
    }
}

impl PartialOrd for Delayed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Delayed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Delayed {}

//! The order of work: queue by queue by weight, then priority, then due time, then id.
//!
//! A waiting task takes 24 bytes here, so that ten million of them fit into memory; its body is here only as
//! long as the body cache has room for it.

mod backlog;
mod delayed;
mod segments;
mod lane;
mod line;
mod selection;
mod rate;
mod queue;

use std::sync::Arc;
use std::time::Duration;

use framework_protocol::task::{TaskId, TaskRecord};
use framework_protocol::views::QueueDepth;
use rustc_hash::FxHashMap;

use self::delayed::Delayed;
use self::line::Line;
use self::queue::{Queue, Taker};
use super::clock::Now;
use super::due_heap::ReadyAt;
use super::options::{RemoteScope, StoreOptions};

/// The waiting tasks in the order of work.
#[derive(Debug)]
pub(super) struct ReadyQueues {
    options: StoreOptions,
    queues: Vec<Queue>,
    /// The indices of the queues that each group takes from.
    by_group: Vec<Vec<u16>>,
    /// The lines of each function: the indices of the queue, and of the line in it.
    by_function: FxHashMap<Arc<str>, Vec<(u16, u16)>>,
    /// The tasks that workers elsewhere run at the moment.
    remote: Vec<RemoteScope>,
    /// Something has come into a line of workers elsewhere since the last look.
    has_remote_news: bool,
    delayed: Delayed,
    /// The number of waiting tasks, due or delayed.
    len: usize,
    /// The pass of each group's last turn; see [`Queue::pass`]. The last one is that of workers elsewhere.
    passes: Vec<u64>,
}

/// The queues that tasks are taken from.
#[derive(Debug, Clone, Copy)]
pub(super) enum TakeFrom<'a> {
    /// Those of a group of workers.
    Group(usize),
    /// Those within these scopes, for workers elsewhere.
    Elsewhere(&'a [RemoteScope]),
}

/// A waiting task.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) id: TaskId,
    /// The body; `None` when only the disk has it.
    pub(super) task: Option<Arc<TaskRecord>>,
    pub(super) place: QueuePosition,
}

/// The due task of a queue that has waited longest.
#[derive(Debug)]
pub(super) struct OldestTask {
    pub(super) queue: Box<str>,
    pub(super) id: TaskId,
    /// The body; `None` when only the disk has it.
    pub(super) task: Option<Arc<TaskRecord>>,
}

/// The place of a task in the order of work: its queue's index, that of its line there, and its priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueuePosition {
    pub(super) queue: u16,
    pub(super) line: u16,
    pub(super) priority: u8,
}

impl ReadyQueues {
    pub(super) fn new(options: StoreOptions) -> Self {
        let groups = options.groups.len();
        Self {
            options,
            queues: Vec::new(),
            by_group: vec![Vec::new(); groups],
            by_function: FxHashMap::default(),
            remote: Vec::new(),
            has_remote_news: false,
            delayed: Delayed::default(),
            len: 0,
            passes: vec![0; groups + 1],
        }
    }

    /// The place of a task of this queue, function and priority. Queue and line are made by their first task.
    pub(super) fn place(&mut self, queue: &str, function: &str, priority: u8) -> QueuePosition {
        let known = self.by_function.get(function).into_iter().flatten();
        let known = known.copied().find(|(index, _)| *self.queues[usize::from(*index)].name == *queue);
        if let Some((queue, line)) = known {
            return QueuePosition { queue, line, priority };
        }
        let Some(local) = &self.options.local_functions else { return self.local_place(queue, priority) };
        let (is_local, function): (_, Arc<str>) = (local.contains(function), function.into());
        let is_remote = self.remote.iter().any(|scope| scope.covers(&function, queue));
        let queue = self.queue(queue);
        let line = self.add_line(queue, Line::new(Some(function.clone()), is_local, is_remote));
        self.by_function.entry(function).or_default().push((queue, line));
        QueuePosition { queue, line, priority }
    }

    /// The place of a task that workers of this process take, whatever its function.
    pub(super) fn local_place(&mut self, queue: &str, priority: u8) -> QueuePosition {
        let queue = self.queue(queue);
        let lines = &self.queues[usize::from(queue)].lines;
        let line = match lines.iter().position(|line| line.function.is_none()) {
            Some(line) => line as u16,
            None => self.add_line(queue, Line::new(None, true, false)),
        };
        QueuePosition { queue, line, priority }
    }

    fn queue(&mut self, name: &str) -> u16 {
        let group = self.options.group_of(name);
        let known =
            self.by_group[group].iter().find(|index| *self.queues[usize::from(**index)].name == *name);
        known.copied().unwrap_or_else(|| {
            self.queues.push(Queue::new(name, group, &self.options));
            // Queues are named by functions, whose number is bounded.
            let index = u16::try_from(self.queues.len() - 1).unwrap_or(u16::MAX);
            self.by_group[group].push(index);
            index
        })
    }

    fn add_line(&mut self, queue: u16, line: Line) -> u16 {
        let lines = &mut self.queues[usize::from(queue)].lines;
        lines.push(line);
        u16::try_from(lines.len() - 1).unwrap_or(u16::MAX)
    }

    /// The index of the queue among the [`depths`](Self::depths).
    pub(super) fn queue_index(&self, place: QueuePosition) -> usize {
        usize::from(place.queue)
    }

    /// The index of the queue of this name.
    pub(super) fn index_of(&self, name: &str) -> Option<u16> {
        self.queues.iter().zip(0..).find(|(queue, _)| *queue.name == *name).map(|(_, index)| index)
    }

    pub(super) fn queue_name(&self, place: QueuePosition) -> &str {
        &self.queues[usize::from(place.queue)].name
    }

    /// Adds a task behind those that can be taken.
    pub(super) fn push(&mut self, waiting: Waiting) {
        self.len += 1;
        self.enqueue(waiting);
    }

    fn enqueue(&mut self, waiting: Waiting) {
        self.prepare(waiting.place).push_back(waiting);
    }

    /// Puts a task back where it was taken from.
    pub(super) fn push_front(&mut self, waiting: Waiting) {
        self.len += 1;
        self.prepare(waiting.place).push_front(waiting);
    }

    /// The queue of a task that comes.
    fn prepare(&mut self, place: QueuePosition) -> &mut Queue {
        let queue = &mut self.queues[usize::from(place.queue)];
        queue.catch_up(self.passes[queue.group], self.passes[self.by_group.len()]);
        let line = &queue.lines[usize::from(place.line)];
        self.has_remote_news |= line.is_remote || !line.is_local;
        queue
    }

    /// Keeps a task until its time comes.
    pub(super) fn push_later(&mut self, waiting: Waiting, when: ReadyAt) {
        if when == ReadyAt::Now {
            return self.push(waiting);
        }
        self.len += 1;
        self.queues[usize::from(waiting.place.queue)].delayed += 1;
        self.delayed.push(waiting, when);
    }

    /// Moves the tasks whose time has come to where they can be taken.
    pub(super) fn wake(&mut self, now: Now) {
        while let Some(waiting) = self.delayed.pop(now) {
            self.queues[usize::from(waiting.place.queue)].delayed -= 1;
            self.enqueue(waiting);
        }
    }

    /// Removes the next tasks of these queues, at most `limit`, by the weights and rates of the queues.
    pub(super) fn take(&mut self, from: TakeFrom, limit: usize, now: Now, mut taken: impl FnMut(Waiting)) {
        let selection = self.select(from);
        self.refill(&selection, now);
        let (group, taker) = match from {
            TakeFrom::Group(group) => (group, Taker::Local),
            TakeFrom::Elsewhere(_) => (self.by_group.len(), Taker::Remote),
        };
        let mut left = limit;
        while left > 0 {
            let Some((index, lines, is_alone)) = self.next_queue(&selection, taker) else { return };
            // One that is alone need not be compared again after each task.
            let turns = if is_alone { left } else { 1 };
            let queue = &mut self.queues[index];
            for _ in 0..turns {
                if !queue.is_open(lines) {
                    break;
                }
                let Some(waiting) = queue.pop(index as u16, lines) else { return };
                self.passes[group] = queue.serve(taker);
                self.len -= 1;
                left -= 1;
                taken(waiting);
            }
        }
    }

    /// Takes a waiting task out of the order, whether it is due or delayed.
    pub(super) fn remove(&mut self, id: TaskId) -> Option<Waiting> {
        let removed = match self.delayed.remove(id) {
            Some(waiting) => {
                self.queues[usize::from(waiting.place.queue)].delayed -= 1;
                Some(waiting)
            }
            None => {
                self.queues.iter_mut().enumerate().find_map(|(index, queue)| queue.remove(index as u16, id))
            }
        };
        self.len -= usize::from(removed.is_some());
        removed
    }

    /// The place of a waiting task; `None` when it is not here.
    pub(super) fn find(&self, id: TaskId) -> Option<QueuePosition> {
        self.delayed.place(id).or_else(|| {
            self.queues.iter().enumerate().find_map(|(index, queue)| queue.find(index as u16, id))
        })
    }

    /// Whether the tasks of a place are within the scope.
    pub(super) fn is_within(&self, place: QueuePosition, scope: &RemoteScope) -> bool {
        let queue = &self.queues[usize::from(place.queue)];
        let function = queue.lines[usize::from(place.line)].function.as_deref();
        function.is_some_and(|function| scope.covers(function, &queue.name))
    }

    /// The body of a waiting task, if that is in memory; `None` when the task is not here.
    pub(super) fn get(&self, id: TaskId) -> Option<Option<&Arc<TaskRecord>>> {
        let due = || self.queues.iter().find_map(|queue| queue.get(id)).map(|(_, task)| task);
        self.delayed.get(id).or_else(due)
    }

    /// Whether there is something to take now.
    pub(super) fn is_due(&mut self, from: TakeFrom, now: Now) -> bool {
        let selection = self.select(from);
        self.refill(&selection, now);
        self.selected(&selection).any(|(index, lines)| self.queues[index].is_open(lines))
    }

    /// Whether something has come since the last call for workers elsewhere; and the time until the next may.
    pub(super) fn remote_news(&mut self, now: Now) -> (bool, Option<Duration>) {
        let has_lines = !self.remote.is_empty() || self.options.local_functions.is_some();
        let next = if has_lines { self.delayed.next(now) } else { None };
        (std::mem::take(&mut self.has_remote_news), next)
    }

    /// The time from now until something else may be due, by its due time or by the rate of its queue.
    pub(super) fn next_due(&self, from: TakeFrom, now: Now) -> Option<Duration> {
        let selection = self.select(from);
        let rated = self.selected(&selection);
        let rated = rated.filter_map(|(index, lines)| self.queues[index].next_start(lines));
        rated.chain(self.delayed.next(now)).min()
    }

    /// Notes the tasks that workers elsewhere run at the moment.
    pub(super) fn serve(&mut self, scopes: Vec<RemoteScope>) {
        let pass = self.passes[self.by_group.len()];
        for queue in &mut self.queues {
            // Before lines become those of workers elsewhere, which saved up no turns with these.
            queue.catch_up(0, pass);
            queue.lines.iter_mut().for_each(|line| line.is_remote = false);
        }
        for (queue, line) in self.lines(&scopes) {
            self.queues[usize::from(queue)].lines[usize::from(line)].is_remote = true;
        }
        self.remote = scopes;
    }

    /// Whether a task is here whose function nobody runs at the moment.
    pub(super) fn is_unserved(&self, id: TaskId) -> bool {
        match self.delayed.place(id) {
            Some(place) => !self.queues[usize::from(place.queue)].lines[usize::from(place.line)].is_served(),
            None => {
                let has_unserved = |queue: &&Queue| queue.lines.iter().any(|line| !line.is_served());
                let mut queues = self.queues.iter().filter(has_unserved);
                queues.any(|queue| queue.get(id).is_some_and(|(line, _)| !line.is_served()))
            }
        }
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
        let index = self.queue(queue);
        let queue = &mut self.queues[usize::from(index)];
        queue.paused = paused;
        queue.catch_up(self.passes[queue.group], self.passes[self.by_group.len()]);
        self.has_remote_news |= queue.lines.iter().any(|line| line.is_remote || !line.is_local);
    }

    /// The due task with the smallest id, which has waited longest.
    pub(super) fn oldest(&self) -> Option<(TaskId, Option<&Arc<TaskRecord>>)> {
        self.queues.iter().flat_map(Queue::fronts).min_by_key(|(id, _)| *id)
    }

    /// The due task of each queue with the smallest id; none for a queue without due tasks.
    pub(super) fn oldest_by_queue(&self) -> impl Iterator<Item = OldestTask> {
        self.queues.iter().filter_map(|queue| {
            let (id, task) = queue.fronts().min_by_key(|(id, _)| *id)?;
            Some(OldestTask { queue: queue.name.clone(), id, task: task.cloned() })
        })
    }

    /// The depth of each queue, in the order of their indices.
    pub(super) fn depths(&self) -> impl Iterator<Item = (&str, QueueDepth)> {
        self.queues.iter().map(|queue| {
            let due = |is_served: bool| {
                let lines = queue.lines.iter().filter(move |line| line.is_served() == is_served);
                lines.map(|line| line.due as u64).sum()
            };
            let (waiting, parked) = (due(true), due(false));
            let (delayed, paused) = (queue.delayed as u64, queue.paused);
            let depth = QueueDepth { waiting, delayed, parked, paused, ..QueueDepth::default() };
            (&*queue.name, depth)
        })
    }

    /// The weight and the rate of each queue.
    pub(super) fn shares(&self) -> impl Iterator<Item = (&str, u32, Option<super::Rate>)> {
        self.queues.iter().map(|queue| (&*queue.name, queue.weight(), queue.rate()))
    }

    /// Every waiting task, or those of the queue with this index, in no particular order, with the time from
    /// which on it can be taken.
    pub(super) fn iter_in(
        &self,
        queue: Option<u16>,
    ) -> impl Iterator<Item = (TaskId, Option<&Arc<TaskRecord>>, QueuePosition, ReadyAt)> {
        let is_wanted = move |index: u16| queue.is_none_or(|wanted| wanted == index);
        let queues = self.queues.iter().zip(0..).filter(move |(_, index)| is_wanted(*index));
        let delayed = self.delayed.iter().filter(move |(_, _, place, _)| is_wanted(place.queue));
        queues.flat_map(|(queue, index)| queue.iter(index)).chain(delayed)
    }
}

#[cfg(test)]
mod tests;

//! One queue: its tasks by function and priority, its share of the workers, and its rate.

use std::sync::Arc;
use std::time::Duration;

use framework_protocol::task::{TaskId, TaskRecord};

use super::line::{Front, Line};
use super::rate::TokenBucket;
use super::{QueuePosition, ReadyAt, Waiting};
use crate::store::options::{Rate, StoreOptions};

/// The price of a turn for a queue of weight 1.
const STRIDE: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) name: Box<str>,
    /// The group of workers that takes from it.
    pub(super) group: usize,
    pub(super) paused: bool,
    /// Stride scheduling (Waldspurger and Weihl, 1995): who has the smallest pass is next, and pays for its
    /// turn in inverse proportion to its weight. So every queue gets its share, and none starves. One pass is
    /// for the workers of its group, and one for workers elsewhere.
    passes: [u64; 2],
    stride: u64,
    bucket: Option<TokenBucket>,
    pub(super) lines: Vec<Line>,
    /// One of so many turns is for the task that has waited longest; 0 is none.
    oldest_first_every: u32,
    /// The turns since then.
    turns: u32,
    /// The number of tasks whose time has not come.
    pub(super) delayed: usize,
}

/// Who takes tasks: the workers of this process, or those elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taker {
    Local,
    Remote,
}

/// The lines of a queue that are taken from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lines<'a> {
    /// Those of the workers of this process.
    Local,
    /// Those of these indices.
    These(&'a [u16]),
}

impl Queue {
    pub(super) fn new(name: &str, group: usize, options: &StoreOptions) -> Self {
        let weight = options.weights.get(name).copied().unwrap_or(1).max(1);
        Self {
            name: name.into(),
            group,
            paused: false,
            passes: [0; 2],
            stride: STRIDE / u64::from(weight),
            bucket: options.rates.get(name).map(|rate| TokenBucket::new(*rate)),
            lines: Vec::new(),
            oldest_first_every: options.oldest_first_every,
            turns: 0,
            delayed: 0,
        }
    }

    /// What it has paid for its turns with this taker.
    pub(super) fn pass(&self, taker: Taker) -> u64 {
        self.passes[taker as usize]
    }

    /// A queue that had nothing to do for a taker saves up no turns with it.
    pub(super) fn catch_up(&mut self, local: u64, remote: u64) {
        let has_due = |is_of: fn(&Line) -> bool| self.lines.iter().any(|line| line.due > 0 && is_of(line));
        let is_idle = [!has_due(|line| line.is_local), !has_due(|line| line.is_remote)];
        for ((own, least), is_idle) in self.passes.iter_mut().zip([local, remote]).zip(is_idle) {
            if is_idle {
                *own = (*own).max(least);
            }
        }
    }

    pub(super) fn push_back(&mut self, waiting: Waiting) {
        let Waiting { id, task, place } = waiting;
        self.lines[usize::from(place.line)].push_back(place.priority, id, task);
    }

    pub(super) fn push_front(&mut self, waiting: Waiting) {
        let Waiting { id, task, place } = waiting;
        self.lines[usize::from(place.line)].push_front(place.priority, id, task);
    }

    /// Removes the next task of these lines: of the highest priority, and there the one that was accepted
    /// first; in a single line the one that came first.
    pub(super) fn pop(&mut self, queue: u16, lines: Lines) -> Option<Waiting> {
        self.turns = self.turns.wrapping_add(1);
        let is_for_oldest = self.turns == self.oldest_first_every;
        if is_for_oldest {
            self.turns = 0;
        }
        let (line, (priority, _)) = if is_for_oldest {
            let fronts = self.selected(lines).filter_map(|line| Some((line, self.lines[line].oldest()?)));
            fronts.min_by_key(|(_, (_, id))| *id)
        } else {
            let fronts =
                self.selected(lines).filter_map(|line| Some((line, self.lines[line].most_urgent()?)));
            fronts.reduce(|best, other| if goes_before(other.1, best.1) { other } else { best })
        }?;
        let (id, task) = self.lines[line].pop(priority)?;
        let place = QueuePosition { queue, line: line as u16, priority: priority as u8 };
        Some(Waiting { id, task, place })
    }

    /// The indices of lines.
    fn selected(&self, lines: Lines) -> impl Iterator<Item = usize> {
        let (all, these) = match lines {
            Lines::Local => (self.lines.len(), &[][..]),
            Lines::These(lines) => (0, lines),
        };
        let local = (0..all).filter(|line| self.lines[*line].is_local);
        local.chain(these.iter().map(|line| usize::from(*line)))
    }

    /// Removes a task that can be taken.
    pub(super) fn remove(&mut self, queue: u16, id: TaskId) -> Option<Waiting> {
        let lines = self.lines.iter_mut().enumerate();
        let mut found = lines.filter_map(|(line, tasks)| Some((line, tasks.remove(id)?)));
        let (line, (priority, task)) = found.next()?;
        Some(Waiting { id, task, place: QueuePosition { queue, line: line as u16, priority } })
    }

    /// The place of a task that can be taken.
    pub(super) fn find(&self, queue: u16, id: TaskId) -> Option<QueuePosition> {
        let mut lines = self.lines.iter().enumerate();
        lines.find_map(|(line, tasks)| {
            Some(QueuePosition { queue, line: line as u16, priority: tasks.find(id)? })
        })
    }

    /// The line and the body of a task that can be taken.
    pub(super) fn get(&self, id: TaskId) -> Option<(&Line, Option<&Arc<TaskRecord>>)> {
        self.lines.iter().find_map(|line| Some((line, line.get(id)?)))
    }

    /// Pays for a turn, and returns the new pass.
    pub(super) fn serve(&mut self, taker: Taker) -> u64 {
        if let Some(bucket) = &mut self.bucket {
            bucket.take();
        }
        self.passes[taker as usize] += self.stride;
        self.pass(taker)
    }

    pub(super) fn refund(&mut self) {
        if let Some(bucket) = &mut self.bucket {
            bucket.put_back();
        }
    }

    pub(super) fn refill(&mut self, now: Duration) {
        if let Some(bucket) = &mut self.bucket {
            bucket.refill(now);
        }
    }

    /// Whether something can be taken now.
    pub(super) fn is_open(&self, lines: Lines) -> bool {
        !self.paused && self.has_due(lines) && self.bucket.as_ref().is_none_or(TokenBucket::has_token)
    }

    /// The time until its rate lets the next task start, if only that holds it back.
    pub(super) fn next_start(&self, lines: Lines) -> Option<Duration> {
        let bucket = self.bucket.as_ref()?;
        (!self.paused && self.has_due(lines)).then(|| bucket.pause())
    }

    fn has_due(&self, lines: Lines) -> bool {
        self.selected(lines).any(|line| self.lines[line].due > 0)
    }

    pub(super) fn weight(&self) -> u32 {
        (STRIDE / self.stride) as u32
    }

    pub(super) fn rate(&self) -> Option<Rate> {
        self.bucket.as_ref().map(|bucket| bucket.rate)
    }

    pub(super) fn fronts(&self) -> impl Iterator<Item = (TaskId, Option<&Arc<TaskRecord>>)> {
        self.lines.iter().flat_map(Line::fronts)
    }

    pub(super) fn iter(
        &self,
        queue: u16,
    ) -> impl Iterator<Item = (TaskId, Option<&Arc<TaskRecord>>, QueuePosition, ReadyAt)> {
        self.lines.iter().enumerate().flat_map(move |(line, tasks)| {
            tasks.iter().map(move |(priority, id, task)| {
                (id, task, QueuePosition { queue, line: line as u16, priority }, ReadyAt::Now)
            })
        })
    }
}

fn goes_before(one: Front, other: Front) -> bool {
    one.0 > other.0 || one.0 == other.0 && one.1 < other.1
}

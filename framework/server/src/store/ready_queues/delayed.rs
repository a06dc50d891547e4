//! Tasks whose time has not come: in steady time, or by the clock on the wall.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use framework_protocol::task::{TaskId, TaskRecord};
use rustc_hash::FxHashSet;

use super::{QueuePosition, ReadyAt, Waiting};
use crate::store::clock::Now;

/// Somebody may set the clock on the wall at any time, so that it is looked at this often.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Delayed {
    /// By microseconds.
    steady: BinaryHeap<Reverse<Held>>,
    /// By milliseconds.
    wall: BinaryHeap<Reverse<Held>>,
    /// When tasks were woken last.
    woken: Now,
}

#[derive(Debug)]
struct Held {
    at: u64,
    waiting: Waiting,
}

impl Delayed {
    pub(super) fn push(&mut self, waiting: Waiting, when: ReadyAt) {
        match when {
            ReadyAt::Now => self.steady.push(Reverse(Held { at: 0, waiting })),
            ReadyAt::Steady(at) => self.steady.push(Reverse(Held { at: micros(at), waiting })),
            ReadyAt::Wall(at) => self.wall.push(Reverse(Held { at, waiting })),
        }
    }

    /// The next one whose time has come.
    pub(super) fn pop(&mut self, now: Now) -> Option<Waiting> {
        self.woken = now;
        pop_due(&mut self.steady, micros(now.steady)).or_else(|| pop_due(&mut self.wall, now.wall_ms))
    }

    /// Whether a task of this time still waits for it.
    pub(super) fn is_ahead(&self, when: ReadyAt) -> bool {
        match when {
            ReadyAt::Now => false,
            ReadyAt::Steady(at) => micros(at) > micros(self.woken.steady),
            ReadyAt::Wall(at) => at > self.woken.wall_ms,
        }
    }

    /// How long from now until the next one's time.
    pub(super) fn next(&self, now: Now) -> Option<Duration> {
        let steady =
            self.steady.peek().map(|Reverse(held)| Duration::from_micros(held.at).saturating_sub(now.steady));
        let wall = self
            .wall
            .peek()
            .map(|Reverse(held)| Duration::from_millis(held.at.saturating_sub(now.wall_ms)).min(LOOK));
        steady.into_iter().chain(wall).min()
    }

    /// Removes what is left of tasks that were counted off.
    pub(super) fn purge(&mut self, ids: &FxHashSet<TaskId>) {
        self.steady.retain(|Reverse(held)| !ids.contains(&held.waiting.id));
        self.wall.retain(|Reverse(held)| !ids.contains(&held.waiting.id));
    }

    pub(super) fn iter(
        &self,
    ) -> impl Iterator<Item = (TaskId, Option<&Arc<TaskRecord>>, QueuePosition, ReadyAt)> {
        let steady =
            self.steady.iter().map(|Reverse(held)| (held, ReadyAt::Steady(Duration::from_micros(held.at))));
        let wall = self.wall.iter().map(|Reverse(held)| (held, ReadyAt::Wall(held.at)));
        steady.chain(wall).map(|(held, when)| {
            let Waiting { id, task, place } = &held.waiting;
            (*id, task.as_ref(), *place, when)
        })
    }
}

fn pop_due(heap: &mut BinaryHeap<Reverse<Held>>, now: u64) -> Option<Waiting> {
    let is_due = heap.peek().is_some_and(|Reverse(first)| first.at <= now);
    is_due.then(|| heap.pop()).flatten().map(|Reverse(held)| held.waiting)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.waiting.id).cmp(&(other.at, other.waiting.id))
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Held {}

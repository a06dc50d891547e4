//! A heap of items by their times: steady ones, and ones of the wall clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use framework_protocol::task::TaskId;

use super::clock::Now;

/// The wall clock may be set at any time, so that it is read this often.
const WALL_CHECK: Duration = Duration::from_secs(1);

/// The time from which on a waiting task can be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum ReadyAt {
    #[default]
    Now,
    /// In steady time.
    Steady(Duration),
    /// When the wall clock shows this, in milliseconds since 1970.
    Wall(u64),
}

impl ReadyAt {
    /// Whether it is that time by now.
    pub(super) fn has_come(self, now: Now) -> bool {
        match self {
            Self::Now => true,
            Self::Steady(at) => micros(at) <= micros(now.steady),
            Self::Wall(at_ms) => at_ms <= now.wall_ms,
        }
    }
}

/// An item of a heap, which belongs to a task.
pub(super) trait DueItem {
    /// Decides between items of the same time.
    fn task_id(&self) -> TaskId;
}

impl DueItem for TaskId {
    fn task_id(&self) -> TaskId {
        *self
    }
}

/// Items by their times, the earliest first.
#[derive(Debug)]
pub(super) struct DueHeap<T> {
    /// Entries due on the monotonic clock, by microseconds.
    steady: BinaryHeap<Reverse<DueEntry<T>>>,
    /// Entries due on the wall clock, by milliseconds.
    wall: BinaryHeap<Reverse<DueEntry<T>>>,
}

#[derive(Debug)]
struct DueEntry<T> {
    at: u64,
    item: T,
}

impl<T: DueItem> DueHeap<T> {
    pub(super) fn push(&mut self, item: T, when: ReadyAt) {
        match when {
            ReadyAt::Now => self.steady.push(Reverse(DueEntry { at: 0, item })),
            ReadyAt::Steady(at) => self.steady.push(Reverse(DueEntry { at: micros(at), item })),
            ReadyAt::Wall(at) => self.wall.push(Reverse(DueEntry { at, item })),
        }
    }

    /// Removes the next item whose time has come.
    pub(super) fn pop(&mut self, now: Now) -> Option<T> {
        pop_due(&mut self.steady, micros(now.steady)).or_else(|| pop_due(&mut self.wall, now.wall_ms))
    }

    /// The time from now until the heap is to be looked at again; `None` when it is empty.
    pub(super) fn next(&self, now: Now) -> Option<Duration> {
        let steady = self.steady.peek().map(|Reverse(first)| Duration::from_micros(first.at));
        let wall = self.wall.peek().map(|Reverse(first)| first.at.saturating_sub(now.wall_ms));
        let steady = steady.map(|at| at.saturating_sub(now.steady));
        let wall = wall.map(|pause| Duration::from_millis(pause).min(WALL_CHECK));
        steady.into_iter().chain(wall).min()
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.steady.retain(|Reverse(entry)| keep(&entry.item));
        self.wall.retain(|Reverse(entry)| keep(&entry.item));
    }

    /// The number of items.
    pub(super) fn len(&self) -> usize {
        self.steady.len() + self.wall.len()
    }
}

impl<T: DueItem> Default for DueHeap<T> {
    fn default() -> Self {
        Self { steady: BinaryHeap::new(), wall: BinaryHeap::new() }
    }
}

fn pop_due<T: DueItem>(heap: &mut BinaryHeap<Reverse<DueEntry<T>>>, now: u64) -> Option<T> {
    let is_due = heap.peek().is_some_and(|Reverse(first)| first.at <= now);
    is_due.then(|| heap.pop()).flatten().map(|Reverse(entry)| entry.item)
}

/// A steady time as the heap orders it.
fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl<T: DueItem> Ord for DueEntry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.item.task_id()).cmp(&(other.at, other.item.task_id()))
    }
}

impl<T: DueItem> PartialOrd for DueEntry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: DueItem> PartialEq for DueEntry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T: DueItem> Eq for DueEntry<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pop_gives_due_items_of_both_clocks_by_time_and_id() {
        let mut heap = DueHeap::default();
        heap.push(3, ReadyAt::Steady(Duration::from_secs(2)));
        heap.push(2, ReadyAt::Steady(Duration::from_secs(1)));
        heap.push(1, ReadyAt::Steady(Duration::from_secs(1)));
        heap.push(4, ReadyAt::Wall(50_000));
        let now = |steady, wall_ms| Now { steady: Duration::from_secs(steady), wall_ms };
        assert_eq!(heap.next(now(0, 0)), Some(Duration::from_secs(1)));
        assert_eq!(heap.pop(now(0, 0)), None);
        assert_eq!((heap.pop(now(1, 0)), heap.pop(now(1, 0)), heap.pop(now(1, 0))), (Some(1), Some(2), None));
        assert_eq!((heap.pop(now(1, 60_000)), heap.pop(now(2, 0))), (Some(4), Some(3)));
        assert_eq!(heap.next(now(2, 0)), None);
    }

    #[test]
    fn next_looks_at_the_wall_clock_every_second() {
        let mut heap: DueHeap<TaskId> = DueHeap::default();
        heap.push(1, ReadyAt::Wall(1 << 40));
        assert_eq!(heap.next(Now::default()), Some(WALL_CHECK));
    }
}

//! Ended tasks in the order of their ends, any of which can be removed without a search.

use std::collections::VecDeque;

use framework_protocol::task::TaskId;
use framework_protocol::views::State;
use rustc_hash::FxHashMap;

/// So many removed rows stay until there are also more of them than of others.
const REMOVED_MAX: usize = 1_024;

/// The ended tasks of one class, the oldest first.
///
/// A removed one stays in its place, and is passed over from then on. The same task may end again meanwhile:
/// what was removed is what had come in by that time.
#[derive(Debug, Default)]
pub(super) struct EndedQueue {
    rows: VecDeque<EndedRow>,
    /// The ids of removed tasks, and the last period whose rows are meant.
    removed: FxHashMap<TaskId, u32>,
    /// Each removal begins a new one; bounded, for the next compaction begins with the first one again.
    period: u32,
    /// The number of rows that were not removed.
    len: usize,
}

/// An ended task.
#[derive(Debug, Clone, Copy)]
pub struct ExpiringRow {
    pub id: TaskId,
    pub at_ms: u64,
    pub state: State,
}

#[derive(Debug)]
struct EndedRow {
    id: TaskId,
    at_ms: u64,
    /// The period in which it came in.
    period: u32,
    state: State,
}

impl EndedQueue {
    pub(super) fn push(&mut self, row: ExpiringRow) {
        let ExpiringRow { id, at_ms, state } = row;
        self.rows.push_back(EndedRow { id, at_ms, period: self.period, state });
        self.len += 1;
    }

    /// The number of tasks.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The time of the first row, also of one that was removed.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        self.rows.front().map(|row| row.at_ms)
    }

    /// Ends after this time count as ends at this time.
    pub(super) fn set_latest(&mut self, at_ms: u64) {
        self.rows.iter_mut().for_each(|row| row.at_ms = row.at_ms.min(at_ms));
    }

    /// Removes tasks that are here, each of them once.
    pub(super) fn remove(&mut self, ids: impl IntoIterator<Item = TaskId>) {
        for id in ids {
            self.removed.insert(id, self.period);
            self.len = self.len.saturating_sub(1);
        }
        self.period += 1;
        self.compact();
    }

    /// The first rows, with those of removed tasks, which are `None`.
    pub(super) fn iter(&self) -> impl Iterator<Item = Option<ExpiringRow>> {
        self.rows.iter().map(|row| {
            let EndedRow { id, at_ms, state, .. } = *row;
            (!is_removed(&self.removed, row)).then_some(ExpiringRow { id, at_ms, state })
        })
    }

    /// Drops the first rows.
    pub(super) fn drop_first(&mut self, count: usize) {
        let removed = &self.removed;
        let dropped = self.rows.drain(..count).filter(|row| !is_removed(removed, row)).count();
        self.len = self.len.saturating_sub(dropped);
        self.compact();
    }

    /// Drops the removed rows once there are many of them.
    fn compact(&mut self) {
        let bound = self.len + REMOVED_MAX;
        if self.rows.len() - self.len.min(self.rows.len()) <= bound && self.removed.len() <= bound {
            return;
        }
        let removed = std::mem::take(&mut self.removed);
        self.rows.retain_mut(|row| {
            let is_kept = !is_removed(&removed, row);
            row.period = 0;
            is_kept
        });
        (self.period, self.len) = (0, self.rows.len());
        if self.rows.capacity() > 4 * (self.len + REMOVED_MAX) {
            self.rows.shrink_to(2 * self.len);
        }
    }
}

fn is_removed(removed: &FxHashMap<TaskId, u32>, row: &EndedRow) -> bool {
    !removed.is_empty() && removed.get(&row.id).is_some_and(|last| row.period <= *last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: TaskId, at_ms: u64) -> ExpiringRow {
        ExpiringRow { id, at_ms, state: State::Failed }
    }

    fn ids(queue: &EndedQueue) -> Vec<(TaskId, u64)> {
        queue.iter().flatten().map(|row| (row.id, row.at_ms)).collect()
    }

    #[test]
    fn ended_queue_keeps_a_task_that_ends_again_within_the_same_moment() {
        let mut queue = EndedQueue::default();
        queue.push(row(1, 5));
        queue.remove([1]);
        queue.push(row(1, 5));
        assert_eq!((ids(&queue), queue.len()), (vec![(1, 5)], 1));
        queue.remove([1]);
        assert_eq!((ids(&queue), queue.len()), (vec![], 0));
    }

    #[test]
    fn ended_queue_matches_a_plain_list_through_random_changes() {
        let mut seed = 1_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let (mut queue, mut list) = (EndedQueue::default(), Vec::<(TaskId, u64)>::new());
        for round in 0..60_000 {
            let id = random(4_000);
            let place = list.iter().position(|(known, _)| *known == id);
            match (place, random(8)) {
                (None, 0..5) => {
                    queue.push(row(id, round));
                    list.push((id, round));
                }
                (Some(_), 5..7) => {
                    let known: Vec<_> = list.iter().map(|(id, _)| *id).collect();
                    let some: Vec<_> = known.iter().copied().filter(|_| random(9) == 0).collect();
                    list.retain(|(id, _)| !some.contains(id));
                    queue.remove(some);
                }
                (_, 7) => {
                    let rows: Vec<_> = queue.iter().take(random(20) as usize).collect();
                    list.drain(..rows.iter().flatten().count());
                    queue.drop_first(rows.len());
                }
                _ => {}
            }
            assert_eq!(queue.len(), list.len());
            if round % 64 == 0 {
                assert_eq!(ids(&queue), list);
            }
            let most = 2 * queue.len() + REMOVED_MAX;
            assert!(queue.rows.len() <= most && queue.removed.len() <= most, "{queue:?}");
        }
    }
}

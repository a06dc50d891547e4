//! One priority of a queue: its due tasks in their order, any of which can be removed without a search.

use std::sync::Arc;

use framework_protocol::task::{TaskId, TaskRecord};
use rustc_hash::FxHashMap;

use super::segments::Segments;

/// A lane with more strays than this gives their room back when the last task is gone.
const STRAYS_ROOM_MAX: usize = 1 << 10;
/// So many removed entries stay until there are also more of them than of others.
const REMOVED_MAX: usize = 1_024;

/// The due tasks of one queue and priority, first in, first out.
///
/// Tasks mostly come in the order of their ids, so that one is found by a binary search; the places of the
/// others are noted.
#[derive(Debug, Default)]
pub(super) struct Lane {
    entries: Segments<LaneEntry>,
    /// The place of the first entry. The places of the others are counted from there, so that none changes
    /// when another task comes or goes.
    first: i64,
    /// The places of the tasks that are out of the order of ids.
    strays: FxHashMap<TaskId, i64>,
    /// The number of entries that were not removed.
    len: usize,
}

#[derive(Debug)]
struct LaneEntry {
    /// The id of the task; for a stray, a number that keeps the keys in ascending order. An entry in the
    /// order of ids is the first one with its key.
    key: i64,
    /// [`REMOVED`] once the task ended while it waited.
    id: TaskId,
    task: Option<Arc<TaskRecord>>,
}

const REMOVED: TaskId = TaskId::MAX;

impl Lane {
    pub(super) fn push_back(&mut self, id: TaskId, task: Option<Arc<TaskRecord>>) {
        let last = self.entries.back().map_or(i64::MIN, |entry| entry.key);
        let key = last.max(id as i64);
        if key == last {
            self.strays.insert(id, self.first + self.entries.len() as i64);
        }
        self.len += 1;
        self.entries.push_back(LaneEntry { key, id, task });
    }

    pub(super) fn push_front(&mut self, id: TaskId, task: Option<Arc<TaskRecord>>) {
        self.first -= 1;
        let key = match self.entries.front() {
            Some(next) if next.key <= id as i64 => {
                let key = if self.strays.contains_key(&next.id) { next.key } else { next.key - 1 };
                self.strays.insert(id, self.first);
                key
            }
            _ => id as i64,
        };
        self.len += 1;
        self.entries.push_front(LaneEntry { key, id, task });
    }

    /// Removes the next task.
    pub(super) fn pop(&mut self) -> Option<(TaskId, Option<Arc<TaskRecord>>)> {
        let next = self.entries.pop_front()?;
        self.first += 1;
        self.len -= 1;
        self.forget_stray(next.id);
        self.skip_removed();
        Some((next.id, next.task))
    }

    /// Removes a task wherever it is; `None` when it is not here.
    pub(super) fn remove(&mut self, id: TaskId) -> Option<Option<Arc<TaskRecord>>> {
        let index = self.find(id)?;
        self.forget_stray(id);
        let entry = self.entries.get_mut(index)?;
        entry.id = REMOVED;
        let task = entry.task.take();
        self.len -= 1;
        self.skip_removed();
        if self.entries.len() - self.len > self.len + REMOVED_MAX {
            self.compact();
        }
        Some(task)
    }

    /// The body of a task that is here.
    pub(super) fn get(&self, id: TaskId) -> Option<Option<&Arc<TaskRecord>>> {
        let index = self.find(id)?;
        self.entries.get(index).map(|entry| entry.task.as_ref())
    }

    /// The number of tasks.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The id of the next task.
    pub(super) fn front(&self) -> Option<TaskId> {
        self.entries.front().map(|entry| entry.id)
    }

    fn forget_stray(&mut self, id: TaskId) {
        if !self.strays.is_empty() {
            self.strays.remove(&id);
        }
    }

    fn find(&self, id: TaskId) -> Option<usize> {
        if self.len == 0 {
            return None;
        }
        if let Some(place) = self.strays.get(&id) {
            return usize::try_from(place - self.first).ok();
        }
        let index = self.entries.partition_point(|entry| entry.key < id as i64);
        self.entries.get(index).filter(|entry| entry.id == id).map(|_| index)
    }

    /// Keeps the first entry one that was not removed, and returns the memory of a backlog that is gone.
    fn skip_removed(&mut self) {
        while self.entries.front().is_some_and(|entry| entry.id == REMOVED) {
            self.entries.pop_front();
            self.first += 1;
        }
        if self.len == 0 {
            self.entries.clear();
            self.strays.shrink_to(STRAYS_ROOM_MAX);
        }
    }

    /// Drops the removed entries.
    fn compact(&mut self) {
        self.entries.retain(|entry| entry.id != REMOVED);
        for (index, entry) in self.entries.iter().enumerate() {
            if let Some(place) = self.strays.get_mut(&entry.id) {
                *place = self.first + index as i64;
            }
        }
    }

    /// The tasks in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (TaskId, Option<&Arc<TaskRecord>>)> {
        let entries = self.entries.iter().filter(|entry| entry.id != REMOVED);
        entries.map(|entry| (entry.id, entry.task.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    fn ids(lane: &Lane) -> Vec<TaskId> {
        lane.iter().map(|(id, _)| id).collect()
    }

    #[test]
    fn lane_keeps_the_order_of_arrival_and_removes_any_task() {
        let mut lane = Lane::default();
        [5, 7, 6, 5_000, 1, 2].into_iter().for_each(|id| lane.push_back(id, None));
        [9, 4, 3, 8].into_iter().for_each(|id| lane.push_front(id, None));
        assert_eq!(ids(&lane), [8, 3, 4, 9, 5, 7, 6, 5_000, 1, 2]);
        assert!(lane.remove(10).is_none());
        for id in [6, 8, 5, 2] {
            assert!(lane.get(id).is_some() && lane.remove(id).is_some() && lane.remove(id).is_none(), "{id}");
        }
        // A removed task that comes again stands behind, not where it was.
        lane.push_back(6, None);
        assert_eq!(ids(&lane), [3, 4, 9, 7, 5_000, 1, 6]);
        assert_eq!((lane.pop().unwrap().0, lane.len), (3, 6));
    }

    #[test]
    fn lane_matches_a_plain_list_through_random_changes() {
        let mut seed = 1_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let (mut lane, mut list) = (Lane::default(), VecDeque::<TaskId>::new());
        for round in 0..50_000 {
            let id = if random(2) == 0 { round } else { random(round + 1) };
            let place = list.iter().position(|known| *known == id);
            match random(10) {
                0..5 if place.is_none() && list.len() < 60 => {
                    lane.push_back(id, None);
                    list.push_back(id);
                }
                5 if place.is_none() => {
                    lane.push_front(id, None);
                    list.push_front(id);
                }
                6..8 => assert_eq!(lane.pop().map(|(id, _)| id), list.pop_front()),
                _ => {
                    let some = random(list.len() as u64 + 1) as usize;
                    let id = list.get(some).copied().unwrap_or(id);
                    let place = list.iter().position(|known| *known == id);
                    assert_eq!(lane.remove(id).is_some(), place.is_some_and(|at| list.remove(at).is_some()));
                }
            }
            assert_eq!(lane.len, list.len());
            if round % 64 == 0 {
                assert_eq!(ids(&lane), Vec::from(list.clone()));
            }
        }
    }

    #[test]
    fn lane_drops_removed_entries_when_they_outnumber_the_others() {
        let mut lane = Lane::default();
        (0..10_000).for_each(|id| lane.push_back(id, None));
        (0..10).for_each(|id| lane.push_front(20_000 + id, None));
        (1..9_990).for_each(|id| assert!(lane.remove(id).is_some()));
        assert!(lane.entries.len() <= 2 * lane.len + REMOVED_MAX, "{} entries", lane.entries.len());
        assert!(lane.remove(20_003).is_some() && lane.remove(9_995).is_some() && lane.remove(0).is_some());
    }
}

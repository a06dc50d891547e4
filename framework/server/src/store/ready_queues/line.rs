//! The due tasks of one function in a queue, by priority.

use std::sync::Arc;

use framework_protocol::task::{TaskId, TaskRecord};

use super::lane::Lane;

const PRIORITIES: usize = 10;

/// The due tasks of one function in a queue.
///
/// Each function has a line of its own, so that a worker which knows only some functions is never held up by
/// a task of another one.
#[derive(Debug)]
pub(super) struct Line {
    /// `None`: of any function, where the workers of this process run all.
    pub(super) function: Option<Arc<str>>,
    /// Whether workers of this process take from it.
    pub(super) is_local: bool,
    /// Whether a worker elsewhere runs the function at the moment.
    pub(super) is_remote: bool,
    /// The last one is taken first.
    lanes: [Lane; PRIORITIES],
    /// The number of tasks.
    pub(super) due: usize,
}

/// The place of the next task of a line: its priority, and its id, by which lines are compared.
pub(super) type Front = (usize, TaskId);

impl Line {
    pub(super) fn new(function: Option<Arc<str>>, is_local: bool, is_remote: bool) -> Self {
        Self { function, is_local, is_remote, lanes: Default::default(), due: 0 }
    }

    /// Whether somebody runs its tasks at the moment.
    pub(super) fn is_served(&self) -> bool {
        self.is_local || self.is_remote
    }

    pub(super) fn push_back(&mut self, priority: u8, id: TaskId, task: Option<Arc<TaskRecord>>) {
        self.due += 1;
        self.lane(priority).push_back(id, task);
    }

    pub(super) fn push_front(&mut self, priority: u8, id: TaskId, task: Option<Arc<TaskRecord>>) {
        self.due += 1;
        self.lane(priority).push_front(id, task);
    }

    fn lane(&mut self, priority: u8) -> &mut Lane {
        &mut self.lanes[usize::from(priority).min(PRIORITIES - 1)]
    }

    /// The next task by priority.
    pub(super) fn most_urgent(&self) -> Option<Front> {
        if self.due == 0 {
            return None;
        }
        (0..PRIORITIES).rev().find_map(|priority| Some((priority, self.lanes[priority].front()?)))
    }

    /// The next task that was accepted first, whatever its priority.
    pub(super) fn oldest(&self) -> Option<Front> {
        let fronts = self.lanes.iter().enumerate();
        let fronts = fronts.filter_map(|(priority, lane)| Some((priority, lane.front()?)));
        fronts.min_by_key(|(_, id)| *id)
    }

    /// Removes the next task of this priority.
    pub(super) fn pop(&mut self, priority: usize) -> Option<(TaskId, Option<Arc<TaskRecord>>)> {
        let next = self.lanes[priority].pop()?;
        self.due -= 1;
        Some(next)
    }

    /// Removes a task; its priority and its body.
    pub(super) fn remove(&mut self, id: TaskId) -> Option<(u8, Option<Arc<TaskRecord>>)> {
        let lanes = self.lanes.iter_mut().enumerate();
        let found = lanes.filter_map(|(priority, lane)| Some((priority as u8, lane.remove(id)?))).next()?;
        self.due -= 1;
        Some(found)
    }

    /// The body of a task that is here.
    pub(super) fn get(&self, id: TaskId) -> Option<Option<&Arc<TaskRecord>>> {
        self.lanes.iter().find_map(|lane| lane.get(id))
    }

    /// The number of tasks of each priority.
    pub(super) fn due_by_priority(&self) -> [u64; PRIORITIES] {
        std::array::from_fn(|priority| self.lanes[priority].len() as u64)
    }

    /// The first `limit` tasks of each priority.
    pub(super) fn next(&self, limit: usize) -> impl Iterator<Item = (u8, TaskId)> {
        let lanes = self.lanes.iter().enumerate();
        lanes.flat_map(move |(priority, lane)| {
            lane.iter().take(limit).map(move |(id, _)| (priority as u8, id))
        })
    }

    /// The priority of a task that is here.
    pub(super) fn find(&self, id: TaskId) -> Option<u8> {
        self.lanes.iter().position(|lane| lane.get(id).is_some()).map(|priority| priority as u8)
    }

    /// The next task of each priority.
    pub(super) fn fronts(&self) -> impl Iterator<Item = (TaskId, Option<&Arc<TaskRecord>>)> {
        self.lanes.iter().filter_map(|lane| lane.iter().next())
    }

    /// The tasks of each priority in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u8, TaskId, Option<&Arc<TaskRecord>>)> {
        let lanes = self.lanes.iter().enumerate();
        lanes.flat_map(|(priority, lane)| lane.iter().map(move |(id, task)| (priority as u8, id, task)))
    }
}

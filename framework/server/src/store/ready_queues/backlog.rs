//! What waits of some functions.

use framework_protocol::task::TaskId;

use super::{QueuePosition, ReadyQueues};
use crate::store::due_heap::ReadyAt;

impl ReadyQueues {
    /// Whether the tasks of a place are of one of these functions.
    pub(in crate::store) fn has_function(&self, place: QueuePosition, functions: &[String]) -> bool {
        let line = &self.queues[usize::from(place.queue)].lines[usize::from(place.line)];
        line.function.as_deref().is_some_and(|name| functions.iter().any(|function| function == name))
    }

    /// The number of tasks of these functions that can be taken, by queue and priority.
    pub(in crate::store) fn due(&self, functions: &[String]) -> impl Iterator<Item = (&str, [u64; 10])> {
        let lines = self.lines_of(functions);
        lines.map(|(queue, line)| {
            let queue = &self.queues[usize::from(queue)];
            (&*queue.name, queue.lines[usize::from(line)].due_by_priority())
        })
    }

    /// The first `limit` tasks of these functions in a queue of each priority that can be taken.
    pub(in crate::store) fn next_due_tasks(
        &self,
        functions: &[String],
        queue: &str,
        limit: usize,
    ) -> Vec<(u8, TaskId)> {
        let lines =
            self.lines_of(functions).filter(|(index, _)| *self.queues[usize::from(*index)].name == *queue);
        let lines = lines.map(|(queue, line)| &self.queues[usize::from(queue)].lines[usize::from(line)]);
        lines.flat_map(|line| line.next(limit)).collect()
    }

    /// The tasks whose time has not come.
    pub(in crate::store) fn delayed(&self) -> impl Iterator<Item = (TaskId, QueuePosition, ReadyAt)> {
        self.delayed.iter().map(|(id, _, place, when)| (id, place, when))
    }

    /// The indices of the queues and lines of these functions.
    fn lines_of(&self, functions: &[String]) -> impl Iterator<Item = (u16, u16)> {
        let lines = functions.iter().filter_map(|function| self.by_function.get(function.as_str()));
        lines.flatten().copied()
    }
}

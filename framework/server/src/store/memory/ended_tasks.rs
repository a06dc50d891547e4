//! The ended tasks of one class, as the memory store keeps them.

use std::collections::VecDeque;

use framework_protocol::task::TaskId;
use framework_protocol::views::{State, TaskSelector};

use crate::store::index::EndRecord;

/// The memory of an ended task beside its arguments and outcome, about, in bytes.
const OVERHEAD: usize = 512;

/// Ended tasks, in the order of their ends.
#[derive(Debug, Default)]
pub(super) struct EndedTasks {
    pub(super) tasks: VecDeque<EndRecord>,
    /// Their ids, close together in memory: one among many is found without a look at the tasks.
    ids: VecDeque<TaskId>,
}

impl FromIterator<EndRecord> for EndedTasks {
    fn from_iter<T: IntoIterator<Item = EndRecord>>(ended: T) -> Self {
        let tasks: VecDeque<_> = ended.into_iter().collect();
        let ids = tasks.iter().map(|ended: &EndRecord| ended.task.id).collect();
        Self { tasks, ids }
    }
}

impl EndedTasks {
    pub(super) fn push(&mut self, ended: EndRecord) {
        self.ids.push_back(ended.task.id);
        self.tasks.push_back(ended);
    }

    /// Removes the oldest one.
    pub(super) fn pop(&mut self) -> Option<EndRecord> {
        self.ids.pop_front();
        self.tasks.pop_front()
    }

    pub(super) fn find(&self, id: TaskId) -> Option<&EndRecord> {
        self.ids.iter().position(|there| *there == id).and_then(|place| self.tasks.get(place))
    }

    /// Ends that lie in the future, because the clock was set back since, count as of now; they would keep
    /// those behind them until then.
    pub(super) fn correct_future(&mut self, now_ms: u64) {
        if self.tasks.front().is_some_and(|ended| ended.at_ms > now_ms) {
            self.tasks.iter_mut().for_each(|ended| ended.at_ms = ended.at_ms.min(now_ms));
        }
    }
}

/// The bytes that an ended task takes, about.
pub(super) fn size(ended: &EndRecord) -> usize {
    let outcome = ended.outcome.as_ref().map_or_else(String::len, |result| result.len());
    ended.task.new.memory() + outcome + OVERHEAD
}

/// Whether a selector means an ended task.
pub(super) fn selects(selector: &TaskSelector, ended: &EndRecord) -> bool {
    match selector {
        TaskSelector::Task(id) => ended.task.id == *id,
        TaskSelector::Batch(batch) => ended.task.new.batch() == Some(*batch),
        TaskSelector::Failed(filter) => match &ended.outcome {
            Err(error) if ended.state == State::Failed => {
                filter.selects(&ended.task.new.queue, &ended.task.new.function, error)
            }
            _ => false,
        },
    }
}

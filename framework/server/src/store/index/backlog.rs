//! The tasks of some functions that have not ended: how many there are by queue, which are next, and one by
//! its id.

use std::collections::BTreeMap;

use framework_protocol::task::TaskId;

use super::{RunningTask, TakenTask, TaskIndex};
use crate::store::LeaseToken;
use crate::store::clock::Now;
use crate::store::options::RemoteScope;
use crate::store::query::QueueBacklog;
use crate::store::ready_queues::{QueuePosition, Waiting};

impl TaskIndex {
    /// Leases one waiting task within the scope, whether it is due or not.
    pub(in crate::store) fn take_task(
        &mut self,
        id: TaskId,
        scope: &RemoteScope,
        now: Now,
    ) -> Option<TakenTask> {
        let place = self.order.find(id)?;
        if !self.order.is_within(place, scope) {
            return None;
        }
        let waiting = self.order.remove(id)?;
        let Waiting { task, place, .. } = self.keys.acquire(waiting)?;
        self.bodies.release(task.as_ref());
        self.expiries.lease(id, true);
        let token = LeaseToken(self.next_token);
        self.next_token += 1;
        let (until, slot) = (now.steady + self.lease, u32::MAX);
        let running = RunningTask { token, place, until, slot, is_unwanted: false, task: task.clone() };
        self.running.insert(id, running);
        Some(TakenTask { id, task, token })
    }

    /// Counts the tasks of these functions by queue, apart from those that have failed.
    pub(in crate::store) fn backlog(&self, functions: &[String]) -> BTreeMap<String, QueueBacklog> {
        let mut queues: BTreeMap<String, QueueBacklog> = BTreeMap::new();
        let mut count = |place: QueuePosition, add: fn(&mut QueueBacklog)| {
            if self.order.has_function(place, functions) {
                add(queues.entry(self.order.queue_name(place).to_owned()).or_default());
            }
        };
        self.order.delayed().for_each(|(_, place, _)| count(place, |queue| queue.delayed += 1));
        self.running.values().for_each(|running| count(running.place, |queue| queue.running += 1));
        for (name, due) in self.order.due(functions) {
            let queue = queues.entry(name.to_owned()).or_default();
            queue.due.iter_mut().zip(due).for_each(|(sum, count)| *sum += count);
        }
        queues
    }

    /// The next tasks of these functions in a queue that can be taken, in the order in which they are.
    pub(in crate::store) fn next_due_tasks(
        &self,
        functions: &[String],
        queue: &str,
        limit: usize,
    ) -> Vec<TaskId> {
        let mut next = self.order.next_due_tasks(functions, queue, limit);
        next.sort_unstable_by_key(|(priority, id)| (std::cmp::Reverse(*priority), *id));
        next.into_iter().map(|(_, id)| id).take(limit).collect()
    }

    /// The next tasks of these functions in a queue whose time has not come, by that time.
    pub(in crate::store) fn next_delayed_tasks(
        &self,
        functions: &[String],
        queue: &str,
        limit: usize,
        now: Now,
    ) -> Vec<TaskId> {
        let is_wanted =
            |place| self.order.queue_name(place) == queue && self.order.has_function(place, functions);
        let delayed = self.order.delayed().filter(|(_, place, _)| is_wanted(*place));
        let mut next: Vec<_> = delayed.map(|(id, _, when)| (when.ms(now), id)).collect();
        next.sort_unstable();
        next.into_iter().map(|(_, id)| id).take(limit).collect()
    }
}

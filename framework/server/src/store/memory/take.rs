//! Tasks that are taken from memory.

use framework_protocol::task::TaskId;

use super::Memory;
use crate::store::index::{TakeFrom, TakenTask};
use crate::store::{Lease, RemoteScope, RunningMarker};

impl Memory {
    pub(super) fn take_now(&self, from: TakeFrom, limit: usize) -> Vec<Lease> {
        let now = self.clock.now();
        let mut state = self.state();
        state.wake(now);
        let taken = state.index.take(from, limit, now);
        // Each worker wakes the next one, so that one push does not wake them all for nothing.
        let wake_set = state.index.wake_set_of(from, now);
        drop(state);
        self.wakeups.notify(wake_set);
        taken.into_iter().filter_map(lease).collect()
    }

    pub(super) fn take_task_now(&self, id: TaskId, scope: &RemoteScope) -> Option<Lease> {
        let now = self.clock.now();
        let mut state = self.state();
        state.wake(now);
        state.index.take_task(id, scope, now).and_then(lease)
    }
}

fn lease(taken: TakenTask) -> Option<Lease> {
    let (task, marker) = (taken.task?, RunningMarker::default());
    Some(Lease { attempt: task.attempts() + 1, token: taken.token, marker, task })
}

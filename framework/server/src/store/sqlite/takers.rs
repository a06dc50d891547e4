//! The way of tasks between callers and the thread that writes.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard};

use framework_protocol::RequestError;
use framework_protocol::task::NewTask;
use framework_protocol::views::State;
use tokio::sync::oneshot;

use super::recovery::load;
use super::write_error::WriteError;
use super::write_queue::{PushRequest, WriteRequest};
use super::{SqliteShared, SqliteState, closed};
use crate::store::index::TakenTask;
use crate::store::wakeups::WakeSet;
use crate::store::{Accepted, Lease, Now, OnAccepted, RunningMarker, RunningMarks, Settlement};

impl SqliteShared {
    pub(super) fn state(&self) -> MutexGuard<'_, SqliteState> {
        self.state.lock().expect("no one panics while holding the state")
    }

    /// Unlocks the state, and then wakes the thread that writes if there is something for it; before, it
    /// would wake up to find the state locked.
    pub(super) fn unlock_and_wake(&self, mut state: MutexGuard<SqliteState>) {
        let wakes = state.write_queue.wakes();
        drop(state);
        if wakes {
            self.work.notify_one();
        }
    }

    pub(super) async fn push(
        &self,
        tasks: Vec<NewTask>,
        on_accepted: OnAccepted,
    ) -> Vec<Result<Accepted, RequestError>> {
        let (answer, accepted) = oneshot::channel();
        let (count, rejected) = {
            let mut state = self.state();
            let (tasks, rejected) = state.admit(tasks, self.clock.now());
            let count = tasks.len();
            if count > 0 {
                let on_accepted = with_places(on_accepted, count, &rejected);
                state.arriving += count;
                state.write_queue.add(WriteRequest::Push(PushRequest { tasks, on_accepted, answer }));
            }
            self.unlock_and_wake(state);
            (count, rejected)
        };
        let accepted = match count {
            0 => Ok(Vec::new()),
            _ => accepted.await.unwrap_or_else(|_| Err(closed())),
        };
        let mut results = match accepted {
            Ok(accepted) => accepted.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error); count],
        };
        for (place, error) in rejected {
            results.insert(place, Err(error));
        }
        results
    }

    pub(super) fn take(&self, group: usize, limit: usize) -> Vec<Lease> {
        let now = self.clock.now();
        let mut state = self.state();
        if state.index.is_closed() || state.write_error.as_ref().is_some_and(WriteError::is_final) {
            return Vec::new();
        }
        state.wake(now);
        let mut taken = state.index.take(group, limit, now);
        let slots = self.assign_slots(&mut state, &taken);
        let is_due = state.index.is_due(group, now);
        let wake_set = if is_due { WakeSet::group(group) } else { WakeSet::default() };
        self.unlock_and_wake(state);
        self.wakeups.notify(wake_set);
        if taken.iter().any(|taken| taken.task.is_none()) {
            self.read_bodies(&mut taken, now);
        }
        let slots = slots.into_iter().chain(std::iter::repeat(u32::MAX));
        taken.into_iter().zip(slots).filter_map(|(taken, slot)| self.lease(taken, slot)).collect()
    }

    fn assign_slots(&self, state: &mut SqliteState, taken: &[TakenTask]) -> Vec<u32> {
        let SqliteState { index, free_slots, .. } = state;
        let slot = |taken: &TakenTask| {
            let slot = free_slots.pop().unwrap_or(u32::MAX);
            index.set_slot(taken.id, taken.token, slot);
            slot
        };
        if self.slots.is_none() { Vec::new() } else { taken.iter().map(slot).collect() }
    }

    fn lease(&self, taken: TakenTask, slot: u32) -> Option<Lease> {
        let TakenTask { task, token, .. } = taken;
        let task = task?;
        let slots = self.slots.clone().filter(|_| slot != u32::MAX);
        let marker = RunningMarker(slots.map(|slots| (slots as Arc<dyn RunningMarks>, slot)));
        Some(Lease { attempt: task.attempts() + 1, token, marker, task })
    }

    /// Reads the bodies of tasks that only the disk has.
    fn read_bodies(&self, taken: &mut [TakenTask], now: Now) {
        let ids: Vec<_> = taken.iter().filter(|taken| taken.task.is_none()).map(|taken| taken.id).collect();
        let read = {
            let reader = self.reader.lock().expect("no one panics while reading");
            load(&reader, &self.names, &ids, now.wall_ms)
        };
        let tasks = read.unwrap_or_else(|error| {
            tracing::error!("tasks cannot be read from the queue's file: {error}");
            Vec::new()
        });
        let mut state = self.state();
        let mut found = HashMap::with_capacity(tasks.len());
        for mut task in tasks {
            state.index.complete(&mut task);
            found.insert(task.id, Arc::new(task));
        }
        for taken in taken.iter_mut().filter(|taken| taken.task.is_none()) {
            taken.task = found.remove(&taken.id);
            match &taken.task {
                Some(task) => state.index.set_body(taken.token, task),
                None => {
                    tracing::error!(task = taken.id, "a waiting task is not in the queue's file");
                    state.index.requeue_unreadable(taken.id, taken.token);
                }
            }
        }
    }

    pub(super) fn settle(&self, batch: Vec<Settlement>) -> Vec<bool> {
        let now = self.clock.now();
        let mut records = Vec::with_capacity(batch.len());
        let mut state = self.state();
        let (settled, effects) = state.index.settle(batch, now, &mut records);
        if let Some(slots) = &self.slots {
            let used = effects.slots.iter().filter(|slot| **slot != u32::MAX);
            used.clone().for_each(|slot| slots.clear(*slot));
            state.free_slots.extend(used);
        }
        state.write_queue.note(records);
        let wake_set = state.index.wake_set(now);
        self.unlock_and_wake(state);
        self.wakeups.notify(wake_set);
        settled
    }

    /// Hands a request to the thread that writes, and waits for its answer; `None` when that has ended.
    pub(super) async fn request<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> WriteRequest,
    ) -> Option<T> {
        let (sender, answer) = oneshot::channel();
        {
            let mut state = self.state();
            // From a thread that has ended no answer would come.
            if state.write_queue.stops() {
                return None;
            }
            state.write_queue.add(request(sender));
            self.unlock_and_wake(state);
        }
        answer.await.ok()
    }
}

/// A callback for the `count` admitted tasks of a batch, which have other places in it when some are
/// rejected.
fn with_places(on_accepted: OnAccepted, count: usize, rejected: &[(usize, RequestError)]) -> OnAccepted {
    if rejected.is_empty() {
        return on_accepted;
    }
    let is_rejected = |place: &usize| rejected.binary_search_by_key(place, |(place, _)| *place).is_ok();
    let places: Vec<_> = (0..count + rejected.len()).filter(|place| !is_rejected(place)).collect();
    Box::new(move |accepted| on_accepted(&mut accepted.map(|(index, accepted)| (places[index], accepted))))
}

impl SqliteState {
    /// Divides a batch into the tasks that may come in and the places of those that may not.
    fn admit(&self, batch: Vec<NewTask>, now: Now) -> (Vec<NewTask>, Vec<(usize, RequestError)>) {
        if let Some(write_error) = self.write_error.as_ref().filter(|write_error| write_error.refuses(now)) {
            return (Vec::new(), (0..batch.len()).map(|index| (index, write_error.refusal())).collect());
        }
        let mut rejected = Vec::new();
        let mut tasks = Vec::with_capacity(batch.len());
        for (index, new) in batch.into_iter().enumerate() {
            match self.index.check_capacity(&new, self.arriving + tasks.len()) {
                Ok(()) => tasks.push(new),
                Err(error) => rejected.push((index, error)),
            }
        }
        (tasks, rejected)
    }

    /// Moves on to this time.
    pub(super) fn wake(&mut self, now: Now) {
        let mut records = Vec::new();
        let expired = self.index.wake(now, &mut records);
        for slot in self.index.lost_slots().into_iter().filter(|slot| *slot != u32::MAX) {
            self.slots.iter().for_each(|slots| slots.clear(slot));
        }
        self.write_queue.note(records);
        if !expired.is_empty() {
            let reason = "Nobody started it in time.";
            self.write_queue.add(WriteRequest::Terminate(expired, State::Expired, reason));
        }
    }
}

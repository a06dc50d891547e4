//! The way of tasks between the takers and the thread that writes.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard};

use framework_protocol::RequestError;
use framework_protocol::task::NewTask;
use framework_protocol::views::State;
use tokio::sync::oneshot;

use super::recovery::load;
use super::write_error::WriteError;
use super::write_queue::{PushRequest, WriteRequest};
use super::{SqliteShared, SqliteState, gone};
use crate::store::index::TakenTasks;
use crate::store::wakeups::WakeSet;
use crate::store::{Accepted, Lease, Now, RunningMarker, Settlement};

impl SqliteShared {
    pub(super) fn state(&self) -> MutexGuard<'_, SqliteState> {
        self.state.lock().expect("no one panics while holding the books")
    }

    /// Leaves the desk, and tells the thread that writes of something new if it sleeps; only then, or it would wake
    /// up to find the desk taken.
    pub(super) fn unlock_and_wake(&self, mut state: MutexGuard<SqliteState>) {
        let wakes = state.write_queue.wakes();
        drop(state);
        if wakes {
            self.work.notify_one();
        }
    }

    pub(super) async fn push(&self, batch: Vec<NewTask>) -> Vec<Result<Accepted, RequestError>> {
        let (answer, told) = oneshot::channel();
        let (count, refused) = {
            let mut state = self.state();
            let (tasks, refused) = state.admit(batch, self.clock.now());
            let count = tasks.len();
            if count > 0 {
                state.arriving += count;
                state.write_queue.add(WriteRequest::Push(PushRequest { tasks, answer }));
            }
            self.unlock_and_wake(state);
            (count, refused)
        };
        let accepted = match count {
            0 => Ok(Vec::new()),
            _ => told.await.unwrap_or_else(|_| Err(gone())),
        };
        let mut results = match accepted {
            Ok(accepted) => accepted.into_iter().map(Ok).collect(),
            Err(refusal) => vec![Err(refusal); count],
        };
        for (index, refusal) in refused {
            results.insert(index, Err(refusal));
        }
        results
    }

    pub(super) fn take(&self, line: usize, limit: usize) -> Vec<Lease> {
        let now = self.clock.now();
        let mut state = self.state();
        if state.index.is_closed() || state.write_error.as_ref().is_some_and(WriteError::is_final) {
            return Vec::new();
        }
        state.wake(now);
        let mut taken = state.index.take(line, limit, now);
        let slots = self.mark(&mut state, &taken);
        let wake_set = if state.index.is_due(line, now) { WakeSet::line(line) } else { WakeSet::default() };
        self.unlock_and_wake(state);
        self.wakeups.notify(wake_set);
        if taken.iter().any(|taken| taken.task.is_none()) {
            self.read(&mut taken, now);
        }
        let marks = slots.into_iter().chain(std::iter::repeat(u32::MAX));
        taken.into_iter().zip(marks).filter_map(|(taken, slot)| self.lease(taken, slot)).collect()
    }

    fn mark(&self, state: &mut SqliteState, taken: &[TakenTasks]) -> Vec<u32> {
        let SqliteState { index, free, .. } = state;
        let slot = |taken: &TakenTasks| {
            let slot = free.pop().unwrap_or(u32::MAX);
            index.mark(taken.id, taken.token, slot);
            slot
        };
        if self.slots.is_none() { Vec::new() } else { taken.iter().map(slot).collect() }
    }

    fn lease(&self, taken: TakenTasks, slot: u32) -> Option<Lease> {
        let TakenTasks { task, token, .. } = taken;
        let task = task?;
        let slots = self.slots.clone().filter(|_| slot != u32::MAX);
        let mark = RunningMarker(slots.map(|slots| (slots, slot, task.id)));
        Some(Lease { attempt: task.attempts() + 1, token, mark, task })
    }

    /// Reads the bodies of tasks that only the disk has.
    fn read(&self, taken: &mut [TakenTasks], now: Now) {
        let ids: Vec<_> = taken.iter().filter(|taken| taken.task.is_none()).map(|taken| taken.id).collect();
        let read = {
            let reader = self.reader.lock().expect("no one panics while reading");
            load(&reader, &self.handlers, &ids, now.wall_ms)
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
                Some(task) => state.index.loaded(taken.token, task),
                None => {
                    tracing::error!("task {} is in the books and not in the file", taken.id);
                    state.index.fail_unreadable(taken.id, taken.token);
                }
            }
        }
    }

    pub(super) fn settle(&self, batch: Vec<Settlement>) -> Vec<bool> {
        let now = self.clock.now();
        let mut records = Vec::with_capacity(batch.len());
        let mut state = self.state();
        let (settled, leftovers) = state.index.settle(batch, &self.handlers, now, &mut records);
        if let Some(slots) = &self.slots {
            let used = leftovers.slots.iter().filter(|slot| **slot != u32::MAX);
            used.clone().for_each(|slot| slots.clear(*slot));
            state.free.extend(used);
        }
        state.write_queue.note(records);
        let wake_set = state.index.wake_set(now);
        self.unlock_and_wake(state);
        self.wakeups.notify(wake_set);
        settled
    }

    /// Hands something to the thread that writes, and waits for its answer.
    pub(super) async fn ask<T>(&self, item: impl FnOnce(oneshot::Sender<T>) -> WriteRequest) -> Option<T> {
        let (answer, told) = oneshot::channel();
        {
            let mut state = self.state();
            // From a thread that has ended no answer would come.
            if state.write_queue.stops() {
                return None;
            }
            state.write_queue.add(item(answer));
            self.unlock_and_wake(state);
        }
        told.await.ok()
    }
}

impl SqliteState {
    /// The tasks of a batch that may come in, and the places of those that may not.
    fn admit(&self, batch: Vec<NewTask>, now: Now) -> (Vec<NewTask>, Vec<(usize, RequestError)>) {
        if let Some(write_error) = self.write_error.as_ref().filter(|write_error| write_error.refuses(now)) {
            return (Vec::new(), (0..batch.len()).map(|index| (index, write_error.refusal())).collect());
        }
        let mut refused = Vec::new();
        let mut tasks = Vec::with_capacity(batch.len());
        for (index, new) in batch.into_iter().enumerate() {
            match self.index.check_capacity(&new, self.arriving + tasks.len()) {
                Ok(()) => tasks.push(new),
                Err(refusal) => refused.push((index, refusal)),
            }
        }
        (tasks, refused)
    }

    /// Moves on with the time.
    pub(super) fn wake(&mut self, now: Now) {
        let mut records = Vec::new();
        let expired = self.index.wake(now, &mut records);
        for slot in self.index.lost_marks().into_iter().filter(|slot| *slot != u32::MAX) {
            self.slots.iter().for_each(|slots| slots.clear(slot));
        }
        self.write_queue.note(records);
        if !expired.is_empty() {
            self.write_queue.add(WriteRequest::End(expired, State::Expired, "Nobody started it in time."));
        }
    }
}

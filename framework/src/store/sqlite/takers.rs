//! The way of tasks between the takers and the thread that writes.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard};

use tokio::sync::oneshot;

use super::recovery::load;
use super::write_error::WriteError;
use super::write_queue::{PushRequest, WriteRequest};
use super::{SqliteShared, SqliteState, gone};
use crate::protocol::RequestError;
use crate::store::index::TakenTasks;
use crate::store::views::State;
use crate::store::wakeups::WakeSet;
use crate::store::{Accepted, Lease, Now, RunningMarker, Settlement};
use crate::task::NewTask;

impl SqliteShared {
    pub(super) fn desk(&self) -> MutexGuard<'_, SqliteState> {
        self.desk.lock().expect("no one panics while holding the books")
    }

    /// Leaves the desk, and tells the thread that writes of something new if it sleeps; only then, or it would wake
    /// up to find the desk taken.
    pub(super) fn unlock_and_wake(&self, mut desk: MutexGuard<SqliteState>) {
        let wakes = desk.inbox.wakes();
        drop(desk);
        if wakes {
            self.work.notify_one();
        }
    }

    pub(super) async fn push(&self, batch: Vec<NewTask>) -> Vec<Result<Accepted, RequestError>> {
        let (answer, told) = oneshot::channel();
        let (count, refused) = {
            let mut desk = self.desk();
            let (tasks, refused) = desk.admit(batch, self.clock.now());
            let count = tasks.len();
            if count > 0 {
                desk.arriving += count;
                desk.inbox.add(WriteRequest::Push(PushRequest { tasks, answer }));
            }
            self.unlock_and_wake(desk);
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
        let mut desk = self.desk();
        if desk.books.is_closed() || desk.trouble.as_ref().is_some_and(WriteError::is_final) {
            return Vec::new();
        }
        desk.wake(now);
        let mut taken = desk.books.take(line, limit, now);
        let slots = self.mark(&mut desk, &taken);
        let stir = if desk.books.is_due(line, now) { WakeSet::line(line) } else { WakeSet::default() };
        self.unlock_and_wake(desk);
        self.bell.notify(stir);
        if taken.iter().any(|taken| taken.task.is_none()) {
            self.read(&mut taken, now);
        }
        let marks = slots.into_iter().chain(std::iter::repeat(u32::MAX));
        taken.into_iter().zip(marks).filter_map(|(taken, slot)| self.lease(taken, slot)).collect()
    }

    fn mark(&self, desk: &mut SqliteState, taken: &[TakenTasks]) -> Vec<u32> {
        let SqliteState { books, free, .. } = desk;
        let slot = |taken: &TakenTasks| {
            let slot = free.pop().unwrap_or(u32::MAX);
            books.mark(taken.id, taken.token, slot);
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
        let mut desk = self.desk();
        let mut found = HashMap::with_capacity(tasks.len());
        for mut task in tasks {
            desk.books.complete(&mut task);
            found.insert(task.id, Arc::new(task));
        }
        for taken in taken.iter_mut().filter(|taken| taken.task.is_none()) {
            taken.task = found.remove(&taken.id);
            match &taken.task {
                Some(task) => desk.books.loaded(taken.token, task),
                None => {
                    tracing::error!("task {} is in the books and not in the file", taken.id);
                    desk.books.fail_unreadable(taken.id, taken.token);
                }
            }
        }
    }

    pub(super) fn settle(&self, batch: Vec<Settlement>) -> Vec<bool> {
        let now = self.clock.now();
        let mut records = Vec::with_capacity(batch.len());
        let mut desk = self.desk();
        let (settled, leftovers) = desk.books.settle(batch, &self.handlers, now, &mut records);
        if let Some(slots) = &self.slots {
            let used = leftovers.slots.iter().filter(|slot| **slot != u32::MAX);
            used.clone().for_each(|slot| slots.clear(*slot));
            desk.free.extend(used);
        }
        desk.inbox.note(records);
        let stir = desk.books.stir(now);
        self.unlock_and_wake(desk);
        self.bell.notify(stir);
        settled
    }

    /// Hands something to the thread that writes, and waits for its answer.
    pub(super) async fn ask<T>(&self, item: impl FnOnce(oneshot::Sender<T>) -> WriteRequest) -> Option<T> {
        let (answer, told) = oneshot::channel();
        {
            let mut desk = self.desk();
            // From a thread that has ended no answer would come.
            if desk.inbox.stops() {
                return None;
            }
            desk.inbox.add(item(answer));
            self.unlock_and_wake(desk);
        }
        told.await.ok()
    }
}

impl SqliteState {
    /// The tasks of a batch that may come in, and the places of those that may not.
    fn admit(&self, batch: Vec<NewTask>, now: Now) -> (Vec<NewTask>, Vec<(usize, RequestError)>) {
        if let Some(trouble) = self.trouble.as_ref().filter(|trouble| trouble.refuses(now)) {
            return (Vec::new(), (0..batch.len()).map(|index| (index, trouble.refusal())).collect());
        }
        let mut refused = Vec::new();
        let mut tasks = Vec::with_capacity(batch.len());
        for (index, new) in batch.into_iter().enumerate() {
            match self.books.check_capacity(&new, self.arriving + tasks.len()) {
                Ok(()) => tasks.push(new),
                Err(refusal) => refused.push((index, refusal)),
            }
        }
        (tasks, refused)
    }

    /// Moves on with the time.
    pub(super) fn wake(&mut self, now: Now) {
        let mut records = Vec::new();
        let expired = self.books.wake(now, &mut records);
        for slot in self.books.lost_marks().into_iter().filter(|slot| *slot != u32::MAX) {
            self.slots.iter().for_each(|slots| slots.clear(slot));
        }
        self.inbox.note(records);
        if !expired.is_empty() {
            self.inbox.add(WriteRequest::End(expired, State::Expired, "Nobody started it in time."));
        }
    }
}

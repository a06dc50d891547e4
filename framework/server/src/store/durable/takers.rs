//! The way of tasks between callers and the thread that writes.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use framework_protocol::RequestError;
use framework_protocol::task::{NewTask, TaskId};
use framework_protocol::views::TaskSelector;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::journal::{JournalReader, LoadedTask, ReadError};
use super::outage::Outage;
use super::write_queue::{CommandRequest, PushRequest, WriteRequest};
use super::{DurableShared, DurableState, closed};
use crate::store::index::{TakeFrom, TakenTask, TaskIndex, WaitingEnd};
use crate::store::running_marks::RunningMarker;
use crate::store::{Accepted, AdminCommand, Lease, LeaseToken, Now, OnAccepted, RemoteScope, Settlement};

/// The interval between log lines about a journal that cannot be read.
const READ_ERROR_INTERVAL: Duration = Duration::from_secs(10);

impl<R: JournalReader> DurableShared<R> {
    pub(super) fn state(&self) -> MutexGuard<'_, DurableState> {
        self.state.lock().expect("no one panics while holding the state")
    }

    /// Unlocks the state, and then wakes the thread that writes if there is something for it; before, it
    /// would wake up to find the state locked.
    pub(super) fn unlock_and_wake(&self, mut state: MutexGuard<DurableState>) {
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
        let mut results = match count {
            0 => Vec::new(),
            _ => accepted.await.unwrap_or_else(|_| vec![Err(closed()); count]),
        };
        for (place, error) in rejected {
            results.insert(place, Err(error));
        }
        results
    }

    /// Whether there is something to take, or never will be; or the time until there may be.
    pub(super) fn look(&self, from: TakeFrom) -> Result<bool, Option<Duration>> {
        let now = self.clock.now();
        let mut state = self.state();
        state.wake(now);
        let found = if state.index.is_closed() {
            Ok(false)
        } else if state.index.is_due(from, now) && self.hands_out(&state) {
            Ok(true)
        } else {
            Err(state.index.next_due(from, now))
        };
        self.unlock_and_wake(state);
        found
    }

    /// Whether tasks may be taken: what becomes of them can be written, here and by nobody else.
    fn hands_out(&self, state: &DurableState) -> bool {
        self.reader.is_owner() && !state.outage.as_ref().is_some_and(Outage::is_final)
    }

    pub(super) fn take(&self, from: TakeFrom, limit: usize) -> BoxFuture<'_, Vec<Lease>> {
        self.take_chosen(from, |index, now| index.take(from, limit, now))
    }

    /// Takes one task, if it waits within the scope.
    pub(super) fn take_task(&self, id: TaskId, scope: &RemoteScope) -> BoxFuture<'_, Vec<Lease>> {
        let from = TakeFrom::Elsewhere(std::slice::from_ref(scope));
        self.take_chosen(from, |index, now| index.take_task(id, scope, now).into_iter().collect())
    }

    fn take_chosen(
        &self,
        from: TakeFrom,
        choose: impl FnOnce(&mut TaskIndex, Now) -> Vec<TakenTask>,
    ) -> BoxFuture<'_, Vec<Lease>> {
        let now = self.clock.now();
        let mut state = self.state();
        if state.index.is_closed() || !self.hands_out(&state) {
            return std::future::ready(Vec::new()).boxed();
        }
        state.wake(now);
        let mut taken = choose(&mut state.index, now);
        let slots = self.assign_slots(&mut state, &taken, matches!(from, TakeFrom::Elsewhere(_)));
        let wake_set = state.index.wake_set_of(from, now);
        self.unlock_and_wake(state);
        self.wakeups.notify(wake_set);
        if taken.iter().all(|taken| taken.task.is_some()) {
            return std::future::ready(self.leases(taken, slots)).boxed();
        }
        async move {
            self.read_bodies(&mut taken, now).await;
            self.leases(taken, slots)
        }
        .boxed()
    }

    fn assign_slots(&self, state: &mut DurableState, taken: &[TakenTask], is_remote: bool) -> Vec<u32> {
        let DurableState { index, free_slots, .. } = state;
        let slot = |taken: &TakenTask| {
            let slot = free_slots.take(is_remote);
            index.set_slot(taken.id, taken.token, slot);
            slot
        };
        if self.marks.is_none() { Vec::new() } else { taken.iter().map(slot).collect() }
    }

    fn leases(&self, taken: Vec<TakenTask>, slots: Vec<u32>) -> Vec<Lease> {
        let slots = slots.into_iter().chain(std::iter::repeat(u32::MAX));
        taken.into_iter().zip(slots).filter_map(|(taken, slot)| self.lease(taken, slot)).collect()
    }

    pub(super) fn lease(&self, taken: TakenTask, slot: u32) -> Option<Lease> {
        let TakenTask { task, token, .. } = taken;
        let task = task?;
        let marks = self.marks.clone().filter(|_| slot != u32::MAX);
        let marker = RunningMarker(marks.map(|marks| (marks, slot)));
        Some(Lease { attempt: task.attempts() + 1, token, marker, task })
    }

    /// Reads the bodies of tasks that only the journal has. Damaged ones are set aside as failed, so that
    /// they hold up no other.
    async fn read_bodies(&self, taken: &mut [TakenTask], now: Now) {
        let ids: Vec<_> = taken.iter().filter(|taken| taken.task.is_none()).map(|taken| taken.id).collect();
        let read = self.reader.tasks(&ids, now.wall_ms).await;
        let unread = taken.iter_mut().filter(|taken| taken.task.is_none());
        let mut state = self.state();
        match read {
            Ok(tasks) => state.set_bodies(unread, tasks, R::PLACE, now),
            Err(error) => state.postpone(unread, &error, now),
        }
        let wake_set = state.index.wake_set(now);
        self.unlock_and_wake(state);
        self.wakeups.notify(wake_set);
    }

    pub(super) fn settle(&self, batch: Vec<Settlement>) -> Vec<bool> {
        let now = self.clock.now();
        let mut records = Vec::with_capacity(batch.len());
        let mut state = self.state();
        let (settled, effects) = state.index.settle(batch, now, &mut records);
        if let Some(marks) = &self.marks {
            let used: Vec<_> = effects.slots.into_iter().filter(|slot| *slot != u32::MAX).collect();
            marks.clear(&used);
            state.free_slots.put_back(used);
        }
        state.write_queue.note(records);
        let wake_set = state.index.wake_set(now);
        self.unlock_and_wake(state);
        self.wakeups.notify(wake_set);
        settled
    }

    pub(super) fn renew(&self, leases: Vec<(TaskId, LeaseToken)>) -> Vec<bool> {
        let now = self.clock.now();
        let mut records = Vec::new();
        let mut state = self.state();
        let renewed = state.index.renew(leases, now, &mut records);
        // An attempt whose lease was lost may still begin, so that its slot is cleared and not used again.
        let lost_slots = state.index.lost_slots().into_iter().filter(|slot| *slot != u32::MAX);
        let lost_slots: Vec<_> = lost_slots.collect();
        self.marks.iter().for_each(|marks| marks.clear(&lost_slots));
        state.write_queue.note(records);
        let wake_set = state.index.wake_set(now);
        self.unlock_and_wake(state);
        self.wakeups.notify(wake_set);
        renewed
    }

    /// Hands a request to the thread that writes, and waits for its answer; `None` when that has ended.
    pub(super) async fn request<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> WriteRequest,
    ) -> Option<T> {
        self.request_with(request, |_| ()).await
    }

    /// Hands over a request likewise, and changes the index at that moment.
    pub(super) async fn request_with<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> WriteRequest,
        change: impl FnOnce(&mut TaskIndex),
    ) -> Option<T> {
        let (sender, answer) = oneshot::channel();
        {
            let mut state = self.state();
            // From a thread that has ended no answer would come.
            if state.write_queue.stops() {
                return None;
            }
            change(&mut state.index);
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

impl DurableState {
    /// Divides a batch into the tasks that may come in and the places of those that may not.
    fn admit(&self, batch: Vec<NewTask>, now: Now) -> (Vec<NewTask>, Vec<(usize, RequestError)>) {
        if let Some(outage) = self.outage.as_ref().filter(|outage| outage.refuses_pushes(now)) {
            return (Vec::new(), (0..batch.len()).map(|index| (index, outage.refusal())).collect());
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

    /// Notes the bodies of leased tasks that were read.
    fn set_bodies<'a>(
        &mut self,
        unread: impl Iterator<Item = &'a mut TakenTask>,
        tasks: Vec<LoadedTask>,
        place: &str,
        now: Now,
    ) {
        let mut found: HashMap<_, _> = tasks.into_iter().map(|task| (task.record.id, task)).collect();
        let mut records = Vec::new();
        for taken in unread {
            let (id, token) = (taken.id, taken.token);
            let missing = || LoadedTask::unreadable(id, "its row is gone".to_owned());
            let (is_there, task) = found.remove(&id).map_or_else(|| (false, missing()), |task| (true, task));
            let LoadedTask { mut record, damage } = task;
            self.index.complete(&mut record);
            let record = Arc::new(record);
            let Some(damage) = damage else {
                self.index.set_body(token, &record);
                taken.task = Some(record);
                continue;
            };
            tracing::error!(task = id, "the task is damaged in {place} and cannot run: {damage}");
            let reason = format!("It is damaged in {place} and is set aside: {damage}.");
            let slot = self.index.set_aside(token, record, &reason, is_there, now, &mut records);
            self.free_slots.put_back(slot);
        }
        self.write_queue.note(records);
    }

    /// Lets leased tasks that could not be read wait for another try.
    fn postpone<'a>(&mut self, unread: impl Iterator<Item = &'a mut TakenTask>, error: &ReadError, now: Now) {
        // Those that wait now meet the same error.
        if now.steady.saturating_sub(self.read_error) >= READ_ERROR_INTERVAL || self.read_error.is_zero() {
            self.read_error = now.steady;
            tracing::error!("tasks cannot be read, and are tried again: {error}");
        }
        for taken in unread {
            let slot = self.index.postpone(taken.id, taken.token, now);
            self.free_slots.put_back(slot);
        }
    }

    /// Moves on to this time.
    pub(super) fn wake(&mut self, now: Now) {
        let expired = self.index.wake(now);
        if !expired.is_empty() {
            self.write_queue.add(WriteRequest::Terminate(expired, WaitingEnd::EXPIRED));
        }
        for batch in self.index.idle_batches(now) {
            tracing::warn!(batch, "a batch that was never sealed got no task for too long, and is cancelled");
            self.index.batches().set_closing(batch, true);
            // Nobody waits for the answer.
            let (answer, _) = oneshot::channel();
            let command = AdminCommand::Cancel(TaskSelector::Batch(batch));
            self.write_queue.add(WriteRequest::Command(CommandRequest { command, answer }));
        }
    }
}

//! The index of all tasks that have not ended: the state that the stores share, without a disk and without a
//! wait.
//!
//! It is kept in memory and is always right; the [`Record`]s it writes make it so again after a restart. Time
//! comes in as an argument, so that a test can drive it through years.

mod backlog;
mod batches;
mod body_cache;
mod cancel;
mod concurrency;
mod expiry;
mod insert;
mod record;
mod recover;
mod settle;

use std::sync::Arc;
use std::time::Duration;

pub(super) use cancel::WaitingEnd;
use framework_protocol::task::{BatchId, TaskId, TaskRecord};
use framework_protocol::views::{Ledger, QueueDepth};
pub(super) use insert::Insertion;
pub use record::{AttemptRun, EndRecord, FollowUp, Record};
use rustc_hash::FxHashMap;

use self::batches::Batches;
use self::body_cache::BodyCache;
use self::concurrency::ConcurrencyKeys;
use self::expiry::ExpiryHeap;
use super::clock::Now;
use super::due_heap::ReadyAt;
use super::options::StoreOptions;
pub(super) use super::ready_queues::OldestTask;
pub(super) use super::ready_queues::TakeFrom;
use super::ready_queues::{QueuePosition, ReadyQueues, Waiting};
use super::stats::StoreStats;
use super::wakeups::WakeSet;
use super::{LeaseToken, Rules, TerminatedTask};
use crate::series::{Series, SeriesMap};

/// The index of all tasks that have not ended.
#[derive(Debug)]
pub(super) struct TaskIndex {
    rules: Arc<dyn Rules>,
    order: ReadyQueues,
    running: FxHashMap<TaskId, RunningTask>,
    /// Tasks of functions that this process does not contain, wherever their queue is.
    parked: FxHashMap<TaskId, Waiting>,
    keys: ConcurrencyKeys,
    expiries: ExpiryHeap,
    batches: Batches,
    bodies: BodyCache,
    next_token: u64,
    /// The numbers of tasks that were accepted and that have ended; the others are counted where they are.
    ended: Ledger,
    /// The newly accepted tasks by function and queue, since the store was opened.
    accepted: SeriesMap<u64>,
    /// The ends without a settlement that [`TaskIndex::terminated`] has not returned.
    terminated: Vec<TerminatedTask>,
    /// The slots of attempts whose leases were lost.
    lost_slots: Vec<u32>,
    limit: usize,
    /// The most bytes that may wait in memory.
    max_memory: usize,
    groups: usize,
    lease: Duration,
    closed: bool,
}

/// A task that is leased.
#[derive(Debug)]
struct RunningTask {
    token: LeaseToken,
    place: QueuePosition,
    until: Duration,
    /// The slot in which its attempt is marked as running.
    slot: u32,
    /// Whether it was cancelled before its body was read.
    is_unwanted: bool,
    /// `None` until it was read from the disk.
    task: Option<Arc<TaskRecord>>,
}

/// A task that was taken.
#[derive(Debug)]
pub(super) struct TakenTask {
    pub(super) id: TaskId,
    pub(super) task: Option<Arc<TaskRecord>>,
    pub(super) token: LeaseToken,
}

impl TaskIndex {
    /// An empty index that holds the bodies of waiting tasks of up to `body_bytes`; the others must be on a
    /// disk.
    pub(super) fn new(options: StoreOptions, body_bytes: usize, rules: Arc<dyn Rules>) -> Self {
        Self {
            rules,
            limit: options.limit,
            max_memory: options.max_memory,
            groups: options.groups.len().min(WakeSet::GROUPS),
            lease: options.lease,
            batches: Batches::new(&options),
            order: ReadyQueues::new(options),
            running: FxHashMap::default(),
            parked: FxHashMap::default(),
            keys: ConcurrencyKeys::default(),
            expiries: ExpiryHeap::default(),
            bodies: BodyCache::new(body_bytes),
            next_token: 0,
            ended: Ledger::default(),
            accepted: SeriesMap::default(),
            terminated: Vec::new(),
            lost_slots: Vec::new(),
            closed: false,
        }
    }

    pub(super) fn batches(&mut self) -> &mut Batches {
        &mut self.batches
    }

    pub(super) fn order(&mut self) -> &mut ReadyQueues {
        &mut self.order
    }

    /// Accepts nothing from now on.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    fn waiting(&self) -> usize {
        self.order.len() + self.keys.blocked_count() + self.batches.held_count() + self.parked.len()
    }

    /// The place of a task of this queue, function and priority.
    pub(super) fn place(&mut self, queue: &str, function: &str, priority: u8) -> QueuePosition {
        self.order.place(queue, function, priority)
    }

    /// The place of a task that is taken by this process, to be set aside.
    pub(super) fn local_place(&mut self, queue: &str, priority: u8) -> QueuePosition {
        self.order.local_place(queue, priority)
    }

    /// Moves on to this time: due tasks can be taken. Returns the tasks that have expired, to be
    /// [ended](Self::end_waiting).
    #[must_use]
    pub(super) fn wake(&mut self, now: Now) -> Vec<TaskId> {
        self.order.wake(now);
        if self.expiries.is_empty() { Vec::new() } else { self.expiries.due(now) }
    }

    /// Whether there is something to take now.
    pub(super) fn is_due(&mut self, from: TakeFrom, now: Now) -> bool {
        self.order.is_due(from, now)
    }

    /// The sleepers for which there may be something, now or after a time.
    pub(super) fn wake_set(&mut self, now: Now) -> WakeSet {
        let mut wake_set = WakeSet::default();
        (0..self.groups).for_each(|group| self.add_wakeup(group, now, &mut wake_set));
        self.add_remote_wakeup(now, &mut wake_set);
        if !self.terminated.is_empty() {
            wake_set.add(WakeSet::TERMINATED);
        } else if let Some(time) = self.next_expiry(now) {
            wake_set.add_later(WakeSet::TERMINATED, time);
        }
        wake_set
    }

    /// The sleepers that take from these queues, likewise.
    pub(super) fn wake_set_of(&mut self, from: TakeFrom, now: Now) -> WakeSet {
        let mut wake_set = WakeSet::default();
        match from {
            TakeFrom::Group(group) => self.add_wakeup(group, now, &mut wake_set),
            TakeFrom::Elsewhere(_) => self.add_remote_wakeup(now, &mut wake_set),
        }
        wake_set
    }

    fn add_wakeup(&mut self, group: usize, now: Now, wake_set: &mut WakeSet) {
        let from = TakeFrom::Group(group);
        if self.order.is_due(from, now) {
            wake_set.add(group);
        } else if let Some(time) = self.order.next_due(from, now) {
            wake_set.add_later(group, time);
        }
    }

    fn add_remote_wakeup(&mut self, now: Now, wake_set: &mut WakeSet) {
        let (has_news, next) = self.order.remote_news(now);
        if has_news {
            wake_set.add(WakeSet::REMOTE);
        }
        next.into_iter().for_each(|time| wake_set.add_later(WakeSet::REMOTE, time));
    }

    /// The open batches that have got no task for too long, to be abandoned.
    pub(super) fn idle_batches(&mut self, now: Now) -> Vec<BatchId> {
        self.batches.idle(now)
    }

    /// The time from now until the next task expires, or a batch may have got no task for too long.
    pub(super) fn next_expiry(&self, now: Now) -> Option<Duration> {
        self.expiries.next(now).into_iter().chain(self.batches.next_look(now)).min()
    }

    /// The time from now until there may be something to take, or another change by time.
    pub(super) fn next_due(&self, from: TakeFrom, now: Now) -> Option<Duration> {
        [self.order.next_due(from, now), self.expiries.next(now)].into_iter().flatten().min()
    }

    /// Leases up to `limit` tasks of these queues. Those that are too many of one concurrency key step aside.
    pub(super) fn take(&mut self, from: TakeFrom, limit: usize, now: Now) -> Vec<TakenTask> {
        let mut taken = Vec::with_capacity(limit.min(256));
        // Tasks that step aside cost a look each, so that the number of rounds is bounded too.
        for _ in 0..16 {
            let wanted = limit - taken.len();
            let before = self.order.len();
            let Self { order, keys, running, next_token, expiries, bodies, .. } = self;
            let until = now.steady + self.lease;
            let mut aside = Vec::new();
            order.take(from, wanted, now, |waiting| {
                let place = waiting.place;
                let Some(Waiting { id, task, place }) = keys.acquire(waiting) else {
                    aside.push(place);
                    return;
                };
                bodies.release(task.as_ref());
                let token = LeaseToken(*next_token);
                *next_token += 1;
                expiries.lease(id, true);
                let slot = u32::MAX;
                running.insert(
                    id,
                    RunningTask { token, place, until, slot, is_unwanted: false, task: task.clone() },
                );
                taken.push(TakenTask { id, task, token });
            });
            for place in &aside {
                order.refund_turn(*place);
            }
            if aside.is_empty() || taken.len() >= limit || order.len() == before {
                break;
            }
        }
        taken
    }

    /// Completes a body that was read from the disk with the counters that only the index knows.
    pub(super) fn complete(&mut self, task: &mut TaskRecord) {
        self.bodies.complete(task);
    }

    /// Notes the body of a leased task that was read from the disk.
    pub(super) fn set_body(&mut self, token: LeaseToken, task: &Arc<TaskRecord>) {
        if let Some(running) = self.running.get_mut(&task.id).filter(|running| running.token == token) {
            running.task = Some(task.clone());
            if running.is_unwanted {
                task.request_cancel();
            }
        }
    }

    /// Notes the slot in which the attempt of a leased task is marked as running.
    pub(super) fn set_slot(&mut self, id: TaskId, token: LeaseToken, slot: u32) {
        if let Some(running) = self.running.get_mut(&id).filter(|running| running.token == token) {
            running.slot = slot;
        }
    }

    /// The slots of attempts whose leases were lost since the last call. These attempts may still begin, so
    /// that their slots are never used again.
    pub(super) fn lost_slots(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.lost_slots)
    }

    /// Prolongs leases, and then ends those that were not renewed in time; `false` for one that is not held
    /// any more.
    ///
    /// Nothing else ends a lease. So a process that stood still for longer than a lease, and renews its own
    /// before anything else is done, loses none of them.
    pub(super) fn renew(
        &mut self,
        leases: Vec<(TaskId, LeaseToken)>,
        now: Now,
        records: &mut Vec<Record>,
    ) -> Vec<bool> {
        let renewed = leases.into_iter().map(|(id, token)| self.renew_one(id, token, now)).collect();
        self.sweep(now, records);
        renewed
    }

    fn renew_one(&mut self, id: TaskId, token: LeaseToken, now: Now) -> bool {
        let running = self.running.get_mut(&id).filter(|running| running.token == token);
        let is_held = running.is_some();
        if let Some(running) = running {
            running.until = now.steady + self.lease;
        }
        is_held
    }

    /// Records the changes of batches, and ends those that are complete.
    pub(super) fn note_batches(&mut self, now: Now, records: &mut Vec<Record>) {
        self.batches.note(&*self.rules, now.wall_ms, records);
    }

    /// The ids of all waiting tasks, or of those of one queue.
    pub(super) fn waiting_ids(&self, queue: Option<&str>) -> Vec<TaskId> {
        let wanted = match queue.map(|name| self.order.index_of(name)) {
            Some(None) => return Vec::new(),
            wanted => wanted.flatten(),
        };
        self.iter_in(wanted).map(|(id, ..)| id).collect()
    }

    /// Every waiting task, in no particular order.
    pub(super) fn iter(
        &self,
    ) -> impl Iterator<Item = (TaskId, Option<&Arc<TaskRecord>>, QueuePosition, ReadyAt)> {
        self.iter_in(None)
    }

    /// Every waiting task, or those of one queue.
    fn iter_in(
        &self,
        queue: Option<u16>,
    ) -> impl Iterator<Item = (TaskId, Option<&Arc<TaskRecord>>, QueuePosition, ReadyAt)> {
        let aside = self.keys.blocked().chain(self.parked.values());
        let aside = aside.map(|waiting| (waiting, ReadyAt::Now));
        let held = self.batches.held().map(|(waiting, when)| (waiting, *when));
        let others = aside.chain(held);
        let others = others.map(|(waiting, when)| (waiting.id, waiting.task.as_ref(), waiting.place, when));
        let others = others.filter(move |(_, _, place, _)| queue.is_none_or(|queue| place.queue == queue));
        self.order.iter_in(queue).chain(others)
    }

    /// The tasks that run.
    pub(super) fn running(&self) -> impl Iterator<Item = (TaskId, Option<&Arc<TaskRecord>>)> {
        self.running.iter().map(|(id, running)| (*id, running.task.as_ref()))
    }

    /// A task that runs.
    pub(super) fn running_task(&self, id: TaskId) -> Option<&Arc<TaskRecord>> {
        self.running.get(&id)?.task.as_ref()
    }

    pub(super) fn is_running(&self, id: TaskId) -> bool {
        self.running.contains_key(&id)
    }

    /// Whether a task waits for somebody who runs its function.
    pub(super) fn is_parked(&self, id: TaskId) -> bool {
        self.parked.contains_key(&id) || self.order.is_unserved(id)
    }

    /// Counts the tasks by where they are.
    pub(super) fn counts(&self) -> StoreStats {
        let ledger =
            Ledger { waiting: self.waiting() as u64, running: self.running.len() as u64, ..self.ended };
        let mut counts = StoreStats { ledger, ..StoreStats::default() };
        let mut depths: Vec<_> = self.order.depths().collect();
        let mut count =
            |place, change: fn(&mut QueueDepth)| change(&mut depths[self.order.queue_index(place)].1);
        self.keys.blocked().for_each(|waiting| count(waiting.place, |depth| depth.waiting += 1));
        self.parked.values().for_each(|waiting| count(waiting.place, |depth| depth.parked += 1));
        self.running.values().for_each(|running| count(running.place, |depth| depth.running += 1));
        let held = self.batches.held_by_queue().iter().zip(&mut depths);
        held.for_each(|(held, (_, depth))| depth.delayed += *held as u64);
        for (name, depth) in depths {
            counts.queues.entry(name.to_owned()).or_default().add(&depth);
        }
        counts
    }

    /// The due task of each queue with the smallest id, which has waited longest there.
    pub(super) fn oldest_by_queue(&self) -> Vec<OldestTask> {
        self.order.oldest_by_queue().collect()
    }

    /// The newly accepted tasks by function and queue, since the store was opened.
    pub(super) fn accepted(&self) -> Vec<Series<u64>> {
        self.accepted.series().to_vec()
    }

    /// The due task with the smallest id, which has waited longest.
    pub(super) fn oldest(&self) -> Option<(TaskId, Option<Arc<TaskRecord>>)> {
        self.order.oldest().map(|(id, task)| (id, task.cloned()))
    }
}

#[cfg(test)]
mod tests;

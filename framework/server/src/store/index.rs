//! Where every task is at this moment: what the stores of one process share, without a disk and without a wait.
//!
//! The books are kept in memory and are always right; what they write down as [`Record`]s makes them so again
//! after a restart. Time comes in from outside, so that a test can drive them through years.

mod insert;
mod batches;
mod expiry;
mod body_cache;
mod concurrency;
mod cancel;
mod record;
mod settle;

use std::sync::Arc;
use std::time::Duration;

pub(super) use batches::no_batch;
use framework_protocol::task::{TaskId, TaskRecord, WaiterId};
use framework_protocol::views::{Ledger, QueueDepth};
pub(super) use insert::Insertion;
pub(super) use record::{AttemptRun, EndRecord, FollowUp, Record};
use rustc_hash::FxHashMap;

use self::batches::Batches;
use self::body_cache::BodyCache;
use self::concurrency::ConcurrencyKeys;
use self::expiry::ExpiryHeap;
use super::clock::Now;
use super::options::StoreOptions;
pub(super) use super::ready_queues::ReadyAt;
use super::ready_queues::{QueuePosition, ReadyQueues, Waiting};
use super::stats::StoreStats;
use super::wakeups::WakeSet;
use super::{LeaseToken, TerminatedTask};

/// How often leases that nobody renewed are looked for.
const SWEEP: Duration = Duration::from_secs(5);
/// The concurrency key of all tasks in whose attempts the process died: they run one at a time, so that the next
/// crash tells which one it was.
const SUSPECT: &str = "\0suspect";

/// Where every task is.
#[derive(Debug)]
pub(super) struct TaskIndex {
    order: ReadyQueues,
    running: FxHashMap<TaskId, RunningTask>,
    keys: ConcurrencyKeys,
    expiries: ExpiryHeap,
    batches: Batches,
    hot: BodyCache,
    next_token: u64,
    /// What has been accepted and what has ended; the rest is counted where it is.
    ended: Ledger,
    /// Tasks that were taken out of the order and have not ended yet.
    departing: usize,
    /// Ends that nobody has been told of.
    terminated: Vec<TerminatedTask>,
    /// Where attempts are marked as running whose leases were lost.
    lost: Vec<u32>,
    limit: usize,
    /// How many bytes may wait in memory.
    max_memory: usize,
    lines: usize,
    lease: Duration,
    swept: Duration,
    closed: bool,
}

/// A task that is leased.
#[derive(Debug)]
struct RunningTask {
    token: LeaseToken,
    place: QueuePosition,
    until: Duration,
    /// Where it is marked as running.
    slot: u32,
    /// It was cancelled before its body was read.
    is_unwanted: bool,
    /// `None` until it was read from the disk.
    task: Option<Arc<TaskRecord>>,
}

/// A task that was taken.
#[derive(Debug)]
pub(super) struct TakenTasks {
    pub(super) id: TaskId,
    pub(super) task: Option<Arc<TaskRecord>>,
    pub(super) token: LeaseToken,
}

impl TaskIndex {
    /// Books that hold waiting tasks of up to `hot` bytes in memory; the bodies of others must be found elsewhere.
    pub(super) fn new(policy: StoreOptions, hot: usize) -> Self {
        Self {
            limit: policy.limit,
            max_memory: policy.max_memory,
            lines: policy.groups.len().min(WakeSet::LINES),
            lease: policy.lease,
            order: ReadyQueues::new(policy),
            running: FxHashMap::default(),
            keys: ConcurrencyKeys::default(),
            expiries: ExpiryHeap::default(),
            batches: Batches::default(),
            hot: BodyCache::new(hot),
            next_token: 0,
            ended: Ledger::default(),
            departing: 0,
            terminated: Vec::new(),
            lost: Vec::new(),
            swept: Duration::ZERO,
            closed: false,
        }
    }

    /// Goes on with the ledger of an earlier process.
    pub(super) fn resume(&mut self, ended: Ledger) {
        self.ended = ended;
    }

    pub(super) fn batches(&mut self) -> &mut Batches {
        &mut self.batches
    }

    pub(super) fn order(&mut self) -> &mut ReadyQueues {
        &mut self.order
    }

    /// Accepts nothing any more.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    fn waiting(&self) -> usize {
        self.order.len() + self.keys.blocked_count() + self.batches.held_count() + self.departing
    }

    /// Where a task of this queue and priority belongs.
    pub(super) fn place(&mut self, queue: &'static str, priority: u8) -> QueuePosition {
        self.order.place(queue, priority)
    }

    /// Moves on with the time: what is due can be taken, and leases that nobody renewed come back. Gives the
    /// tasks that have expired, to be [withdrawn](Self::withdraw) and [ended](Self::depart).
    #[must_use]
    pub(super) fn wake(&mut self, now: Now, records: &mut Vec<Record>) -> Vec<TaskId> {
        self.order.wake(now);
        if now.steady.saturating_sub(self.swept) >= SWEEP.min(self.lease) {
            self.swept = now.steady;
            self.sweep(now, records);
        }
        match self.expiries.is_empty() {
            true => Vec::new(),
            false => self.expiries.due(now),
        }
    }

    /// Whether a line has something to take now.
    pub(super) fn is_due(&mut self, line: usize, now: Now) -> bool {
        self.order.is_due(line, now)
    }

    /// For whom there may be something now.
    pub(super) fn wake_set(&mut self, now: Now) -> WakeSet {
        let sooner = self.order.is_sooner();
        let lines = (0..self.lines).filter(|line| sooner || self.order.is_due(*line, now));
        let departed =
            (!self.terminated.is_empty() || self.expiries.is_sooner()).then_some(WakeSet::DEPARTED);
        WakeSet(lines.chain(departed).fold(0, |bits, line| bits | 1 << line))
    }

    /// How long from now until the next task expires.
    pub(super) fn next_expiry(&self, now: Now) -> Option<Duration> {
        self.expiries.next(now)
    }

    /// How long from now until there may be something to take, or something else to do.
    pub(super) fn next_due(&self, line: usize, now: Now) -> Option<Duration> {
        let sweep = (!self.running.is_empty()).then_some(SWEEP);
        [self.order.next_due(line, now), self.expiries.next(now), sweep].into_iter().flatten().min()
    }

    /// Leases up to `limit` tasks of a line. Those of one concurrency key that are too many step aside.
    pub(super) fn take(&mut self, line: usize, limit: usize, now: Now) -> Vec<TakenTasks> {
        let mut taken = Vec::with_capacity(limit.min(256));
        // Who steps aside has been looked at for nothing, so that this is bounded too.
        for _ in 0..16 {
            let wanted = limit - taken.len();
            let before = self.order.len();
            let Self { order, keys, running, next_token, expiries, hot, .. } = self;
            let until = now.steady + self.lease;
            let mut aside = Vec::new();
            order.take(line, wanted, now, |waiting| {
                let place = waiting.place;
                let Some(Waiting { id, task, place }) = keys.acquire(waiting) else {
                    aside.push(place);
                    return;
                };
                hot.release(task.as_ref());
                let token = LeaseToken(*next_token);
                *next_token += 1;
                expiries.lease(id, true);
                let slot = u32::MAX;
                running.insert(
                    id,
                    RunningTask { token, place, until, slot, is_unwanted: false, task: task.clone() },
                );
                taken.push(TakenTasks { id, task, token });
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

    /// Completes the body of a task that was read from the disk with what only the books know.
    pub(super) fn complete(&mut self, task: &mut TaskRecord) {
        self.hot.complete(task);
    }

    /// Notes the body of a leased task that was read from the disk.
    pub(super) fn loaded(&mut self, token: LeaseToken, task: &Arc<TaskRecord>) {
        if let Some(running) = self.running.get_mut(&task.id).filter(|running| running.token == token) {
            running.task = Some(task.clone());
            if running.is_unwanted {
                task.request_cancel();
            }
        }
    }

    /// Where a leased task is marked as running.
    pub(super) fn mark(&mut self, id: TaskId, token: LeaseToken, slot: u32) {
        if let Some(running) = self.running.get_mut(&id).filter(|running| running.token == token) {
            running.slot = slot;
        }
    }

    /// Where attempts are marked as running whose leases were lost. They may still begin, and are never given to
    /// others.
    pub(super) fn lost_marks(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.lost)
    }

    /// Prolongs a lease; `false` when it is not held any more.
    pub(super) fn renew(&mut self, id: TaskId, token: LeaseToken, now: Now) -> bool {
        match self.running.get_mut(&id).filter(|running| running.token == token) {
            Some(running) => {
                running.until = now.steady + self.lease;
                true
            }
            None => false,
        }
    }

    /// Writes down what has changed about batches.
    pub(super) fn note_batches(&mut self, now: Now, records: &mut Vec<Record>) {
        self.batches.note(now.wall_ms, records);
    }

    /// The ids of tasks that wait, wherever they do: those of one queue if it is named.
    pub(super) fn waiting_ids(&self, queue: Option<&str>) -> Vec<TaskId> {
        let all = self
            .iter()
            .filter(|(_, _, place, _)| queue.is_none_or(|queue| self.order.queue_name(*place) == queue));
        all.map(|(id, ..)| id).collect()
    }

    /// Every waiting task, in no particular order.
    pub(super) fn iter(
        &self,
    ) -> impl Iterator<Item = (TaskId, Option<&Arc<TaskRecord>>, QueuePosition, ReadyAt)> {
        let aside = |waiting: &'_ Waiting| (waiting.id, waiting.place);
        let blocked = self.keys.blocked().map(move |waiting| {
            let (id, place) = aside(waiting);
            (id, waiting.task.as_ref(), place, ReadyAt::Now)
        });
        let held = self
            .batches
            .held()
            .map(|(waiting, when)| (waiting.id, waiting.task.as_ref(), waiting.place, *when));
        self.order.iter().chain(blocked).chain(held)
    }

    /// The tasks that have not ended and carry a ticket.
    pub(super) fn waiters(&self) -> Vec<(TaskId, WaiterId)> {
        let waiting = self.iter().map(|(id, task, ..)| (id, task));
        let hot = waiting.chain(self.running()).filter_map(|(id, task)| Some((id, task?.new.waiter?)));
        hot.chain(self.hot.cold_tickets()).collect()
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

    /// Counts everything; without what only the disk knows.
    pub(super) fn counts(&self) -> StoreStats {
        let ledger =
            Ledger { waiting: self.waiting() as u64, running: self.running.len() as u64, ..self.ended };
        let mut counts = StoreStats { ledger, ..StoreStats::default() };
        let mut depths: Vec<_> = self.order.depths().collect();
        let mut count =
            |place, change: fn(&mut QueueDepth)| change(&mut depths[self.order.queue_index(place)].1);
        self.keys.blocked().for_each(|waiting| count(waiting.place, |depth| depth.waiting += 1));
        self.batches.held().for_each(|(waiting, _)| count(waiting.place, |depth| depth.delayed += 1));
        self.running.values().for_each(|running| count(running.place, |depth| depth.running += 1));
        counts.queues.extend(depths.into_iter().map(|(name, depth)| (name.to_owned(), depth)));
        counts
    }

    /// The due task with the smallest id, which has waited longest.
    pub(super) fn oldest(&self) -> Option<(TaskId, Option<Arc<TaskRecord>>)> {
        self.order.oldest().map(|(id, task)| (id, task.cloned()))
    }
}

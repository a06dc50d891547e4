//! The reference model of a store: a few maps, and plain code for each rule.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use framework::store::Clock;
use framework::store::LeaseToken;
use framework::store::StoreOptions;
use framework::task::{BatchId, Due, Handlers, TaskId};
use framework::views::{BatchState, Ledger, State};

use super::drafts::Draft;

/// Everything that a store should hold.
#[derive(Clone)]
pub(super) struct Reference {
    pub(super) clock: Clock,
    pub(super) policy: StoreOptions,
    pub(super) handlers: Arc<Handlers>,
    pub(super) next_id: TaskId,
    pub(super) tasks: BTreeMap<TaskId, Sheet>,
    pub(super) batches: BTreeMap<BatchId, Batch>,
    pub(super) paused: BTreeSet<&'static str>,
    /// The task of each function's keys, and since when by the wall clock.
    pub(super) keys: BTreeMap<(&'static str, &'static str), (TaskId, u64)>,
    /// The counts of accepted and ended tasks, including forgotten ones.
    pub(super) ended: Ledger,
    /// Tasks that ended without a worker and are not reported yet; `false` for those that need not be.
    pub(super) unreported_ends: BTreeMap<TaskId, bool>,
    /// When tasks of a queue with a rate were started.
    pub(super) starts: BTreeMap<&'static str, Vec<Duration>>,
    /// The number of these that were requeued.
    pub(super) refunds: BTreeMap<&'static str, usize>,
    pub(super) tokens: BTreeSet<u64>,
    /// `true` if ids may skip some that an earlier process had reserved.
    pub(super) may_skip_ids: bool,
}

/// Everything about one task.
#[derive(Debug, Clone)]
pub(super) struct Sheet {
    pub(super) draft: Draft,
    pub(super) state: State,
    pub(super) when: When,
    pub(super) expires: Option<When>,
    pub(super) lease: Option<Leased>,
    /// An attempt of it has failed, or died: it does not expire any more.
    pub(super) has_begun: bool,
    /// It is not specified whether it expires: it was leased once, and perhaps begun.
    pub(super) may_expire: bool,
    /// Its time had come at some moment, whatever the clock shows now.
    pub(super) was_due: bool,
    /// It was taken and requeued, and comes before its peers.
    pub(super) is_returned: bool,
    /// It is taken in the order of its id among its peers.
    pub(super) is_in_order: bool,
    pub(super) failures: u32,
    pub(super) crashes: u32,
    /// Attempts of which it is not specified whether they count.
    pub(super) lapses: u32,
    pub(super) result: Option<String>,
    pub(super) error: Option<String>,
    /// The time of its end by the wall clock.
    pub(super) end_ms: Option<u64>,
    /// `true` if its end counts for its batch.
    pub(super) counts_for_batch: bool,
    /// At some moment it was too old to be kept, or there were too many newer ones.
    pub(super) was_in_excess: bool,
    /// Cancelled by a flush, or forgotten: nothing is kept of it.
    pub(super) is_forgotten: bool,
}

/// The lease on a task.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leased {
    pub(super) token: LeaseToken,
    pub(super) until: Duration,
    pub(super) has_begun: bool,
    pub(super) is_cancelled: bool,
}

/// When something is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Now,
    Steady(Duration),
    Wall(u64),
}

/// Everything about one batch.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub(super) state: BatchState,
    pub(super) then: Option<&'static str>,
    pub(super) name: String,
    pub(super) function: String,
    pub(super) total: u64,
    pub(super) done: u64,
    pub(super) failed: u64,
    pub(super) cancelled: u64,
    pub(super) expired: u64,
}

impl Reference {
    pub(super) fn new(clock: Clock, policy: StoreOptions, handlers: Arc<Handlers>) -> Self {
        Self {
            clock,
            policy,
            handlers,
            next_id: 0,
            tasks: BTreeMap::new(),
            batches: BTreeMap::new(),
            paused: BTreeSet::new(),
            keys: BTreeMap::new(),
            ended: Ledger::default(),
            unreported_ends: BTreeMap::new(),
            starts: BTreeMap::new(),
            refunds: BTreeMap::new(),
            tokens: BTreeSet::new(),
            may_skip_ids: false,
        }
    }

    pub(super) fn steady(&self) -> Duration {
        self.clock.now().steady
    }

    pub(super) fn wall_ms(&self) -> u64 {
        self.clock.now().wall_ms
    }

    fn when(&self, due: Due) -> When {
        match due {
            Due::Now => When::Now,
            Due::After(pause) => When::Steady(self.steady() + pause),
            Due::At(at_ms) => When::Wall(at_ms),
        }
    }

    pub(super) fn has_come(&self, when: When) -> bool {
        let now = self.clock.now();
        match when {
            When::Now => true,
            When::Steady(at) => at <= now.steady,
            When::Wall(at_ms) => at_ms <= now.wall_ms,
        }
    }

    /// A task waits, and counts.
    pub(super) fn accept(&mut self, id: TaskId, draft: Draft) {
        self.next_id = id + 1;
        self.ended.accepted += 1;
        if let Some(key) = draft.key {
            self.keys.insert((draft.function, key), (id, self.wall_ms()));
        }
        if let Some(batch) = draft.batch.and_then(|batch| self.batches.get_mut(&batch)) {
            batch.total += 1;
        }
        let sheet = Sheet {
            state: State::Waiting,
            when: self.when(draft.due),
            expires: draft.expires.map(|due| self.when(due)),
            lease: None,
            has_begun: false,
            may_expire: false,
            was_due: false,
            is_returned: false,
            is_in_order: draft.due == Due::Now && draft.concurrency_key.is_none() && draft.batch.is_none(),
            failures: 0,
            crashes: 0,
            lapses: 0,
            result: None,
            error: None,
            end_ms: None,
            counts_for_batch: draft.batch.is_some(),
            was_in_excess: false,
            is_forgotten: false,
            draft,
        };
        self.tasks.insert(id, sheet);
    }

    /// The first task with this function and key, as long as the key is remembered.
    pub(super) fn known(&self, draft: &Draft) -> Option<TaskId> {
        let (id, since) = self.keys.get(&(draft.function, draft.key?))?;
        let is_remembered = self.wall_ms() < since + self.policy.idempotency_window.as_millis() as u64;
        (is_remembered && !self.tasks.get(id)?.is_forgotten).then_some(*id)
    }

    /// A task ends; gives the tasks that the store accepts because of it.
    pub(super) fn end(&mut self, id: TaskId, state: State) -> Vec<Draft> {
        let wall_ms = self.wall_ms();
        let count = match state {
            State::Done => &mut self.ended.done,
            State::Failed => &mut self.ended.failed,
            State::Cancelled => &mut self.ended.cancelled,
            State::Expired => &mut self.ended.expired,
            State::Waiting | State::Running => panic!("{state:?} is no end"),
        };
        *count += 1;
        let sheet = self.tasks.get_mut(&id).expect("only known tasks end");
        sheet.state = state;
        sheet.lease = None;
        sheet.end_ms = Some(wall_ms);
        let batch = sheet.draft.batch.filter(|_| sheet.counts_for_batch);
        let mut follow = Vec::new();
        if let (State::Done, [first, rest @ ..]) = (state, &sheet.draft.then[..]) {
            let args = sheet.result.clone().expect("what is done has a result");
            follow.push(Draft { then: rest.to_vec(), ..Draft::of(&self.handlers, first, args) });
        }
        if let Some(id) = batch {
            if let Some(count) = self.batches.get_mut(&id).and_then(|batch| batch.count(state)) {
                *count += 1;
            }
            follow.extend(self.complete(id));
        }
        follow
    }

    /// A batch whose last task has ended is over, and its completion runs.
    pub(super) fn complete(&mut self, id: BatchId) -> Option<Draft> {
        let batch = self.batches.get_mut(&id)?;
        let may_end = matches!(batch.state, BatchState::Running | BatchState::Abandoned);
        if !may_end || batch.ended() < batch.total {
            return None;
        }
        batch.state = BatchState::Ended;
        let args = format!(
            r#"{{"batch":{id},"name":"{}","function":"{}","total":{},"done":{},"failed":{},"cancelled":{},"expired":{}}}"#,
            batch.name, batch.function, batch.total, batch.done, batch.failed, batch.cancelled, batch.expired
        );
        let function = batch.then?;
        Some(Draft { completes: Some(id), ..Draft::of(&self.handlers, function, args) })
    }

    /// An ended task waits again, with all its attempts.
    pub(super) fn again(&mut self, id: TaskId) {
        let sheet = self.tasks.get_mut(&id).expect("only known tasks are tried again");
        let count = match sheet.state {
            State::Failed => &mut self.ended.failed,
            State::Cancelled => &mut self.ended.cancelled,
            State::Expired => &mut self.ended.expired,
            state => panic!("{state:?} is not tried again"),
        };
        *count -= 1;
        let ended_as = sheet.state;
        sheet.state = State::Waiting;
        sheet.when = When::Now;
        sheet.end_ms = None;
        sheet.error = None;
        sheet.is_in_order = false;
        sheet.is_returned = false;
        // A retry removes the expiry.
        sheet.expires = None;
        sheet.may_expire = false;
        // It is not specified how its attempts are numbered from here.
        sheet.lapses += 1_000;
        sheet.failures = 0;
        sheet.crashes = 0;
        self.unreported_ends.remove(&id);
        if let Some(batch) = sheet.draft.batch.and_then(|batch| self.batches.get_mut(&batch)) {
            match batch.state {
                BatchState::Ended => {
                    sheet.counts_for_batch = false;
                    sheet.draft.batch = None;
                }
                _ if sheet.counts_for_batch => {
                    if let Some(count) = batch.count(ended_as) {
                        *count -= 1;
                    }
                }
                _ => {}
            }
        }
    }

    /// `true` if its batch is still open, or was abandoned, which holds it back.
    pub(super) fn is_held(&self, sheet: &Sheet) -> bool {
        let batch = sheet.draft.batch.and_then(|batch| self.batches.get(&batch));
        batch.is_some_and(|batch| matches!(batch.state, BatchState::Open | BatchState::Abandoned))
    }

    /// Processes everything that has become due or has expired.
    pub(super) fn wake(&mut self) -> Vec<Draft> {
        let due: Vec<_> =
            self.waiting().filter(|(_, sheet)| self.has_come(sheet.when)).map(|(id, _)| id).collect();
        for id in due {
            self.tasks.get_mut(&id).expect("it waits").was_due = true;
        }
        let late = |sheet: &Sheet| {
            !sheet.has_begun && !sheet.may_expire && sheet.expires.is_some_and(|when| self.has_come(when))
        };
        let late: Vec<_> = self.waiting().filter(|(_, sheet)| late(sheet)).map(|(id, _)| id).collect();
        let mut follow = Vec::new();
        if self.policy.retention_count < 100 {
            let ended = self.tasks.iter().filter(|(_, sheet)| self.may_be_gone(sheet));
            for id in ended.map(|(id, _)| *id).collect::<Vec<_>>() {
                self.tasks.get_mut(&id).expect("it has ended").was_in_excess = true;
            }
        }
        for id in late {
            self.unreported_ends.insert(id, true);
            follow.extend(self.end(id, State::Expired));
        }
        follow
    }

    pub(super) fn waiting(&self) -> impl Iterator<Item = (TaskId, &Sheet)> {
        self.in_state(State::Waiting)
    }

    pub(super) fn in_state(&self, state: State) -> impl Iterator<Item = (TaskId, &Sheet)> {
        self.tasks.iter().filter(move |(_, sheet)| sheet.state == state).map(|(id, sheet)| (*id, sheet))
    }

    pub(super) fn ledger(&self) -> Ledger {
        Ledger {
            waiting: self.waiting().count() as u64,
            running: self.in_state(State::Running).count() as u64,
            ..self.ended
        }
    }

    /// `true` if an ended task may have been removed by retention.
    pub(super) fn may_be_gone(&self, sheet: &Sheet) -> bool {
        let Some(at) = sheet.end_ms else { return sheet.is_forgotten };
        let class = |sheet: &Sheet| {
            let own = self.policy.function_retention.get(sheet.draft.function);
            (own.map(|_| sheet.draft.function), sheet.state == State::Failed)
        };
        // It is not specified which of those that ended together is older.
        let is_newer =
            |other: &&Sheet| class(other) == class(sheet) && other.end_ms.is_some_and(|end| end >= at);
        let newer = self.tasks.values().filter(is_newer).count() - 1;
        let (time, count) = match sheet.state {
            State::Failed => (self.policy.failed_retention_time, self.policy.failed_retention_count),
            _ => (self.policy.retention_time, self.policy.retention_count),
        };
        let time = *self.policy.function_retention.get(sheet.draft.function).unwrap_or(&time);
        sheet.is_forgotten
            || sheet.was_in_excess
            || newer >= count
            || self.wall_ms() >= at + time.as_millis() as u64
    }
}

impl Batch {
    pub(super) fn ended(&self) -> u64 {
        self.done + self.failed + self.cancelled + self.expired
    }

    fn count(&mut self, state: State) -> Option<&mut u64> {
        match state {
            State::Done => Some(&mut self.done),
            State::Failed => Some(&mut self.failed),
            State::Cancelled => Some(&mut self.cancelled),
            State::Expired => Some(&mut self.expired),
            State::Waiting | State::Running => None,
        }
    }
}

//! Who holds which task, for how long, and who waits for one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use framework_protocol::task::TaskId;
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

use super::{HeldEnd, HeldInfo, Holder, ReservedTask};
use crate::server::finisher::AttemptEnd;
use crate::server::leases::LeaseHold;
use crate::store::{Lease, Release};

/// Who holds which task, and who waits for one.
#[derive(Default)]
pub(super) struct HeldState {
    /// Tasks can be taken.
    pub(super) is_open: bool,
    held: FxHashMap<TaskId, HeldTask>,
    /// What each holder has, the one whose time is over first in front.
    by_holder: FxHashMap<u64, BTreeSet<(Option<Instant>, TaskId)>>,
    /// The times at which those of tasks are over.
    deadlines: BTreeSet<(Instant, TaskId)>,
    waiters: BTreeMap<u64, WaitingHolder>,
    last_waiter: u64,
    /// Those that wait for a task of each queue, the one first that has waited longest.
    by_queue: FxHashMap<Box<str>, BTreeSet<u64>>,
    /// The queues of which nothing is handed out, and until when.
    pauses: FxHashMap<Box<str>, Instant>,
    /// The queues that somebody waits for, apart from those; `None` when that has to be found anew.
    wanted: Option<Arc<[Box<str>]>>,
    /// Attempts that are over, on their way to the finisher.
    pub(super) over: Vec<(AttemptEnd, LeaseHold)>,
}

/// A task that somebody holds.
pub(super) struct HeldTask {
    holder: Holder,
    lease: Lease,
    hold: LeaseHold,
    started: Instant,
    until: Option<Instant>,
}

/// Somebody who waits for a task of these queues.
pub(super) struct WaitingHolder {
    pub(super) holder: Holder,
    pub(super) queues: Arc<[Box<str>]>,
    pub(super) sender: oneshot::Sender<ReservedTask>,
}

impl HeldTask {
    /// A task whose time to run begins now.
    pub(super) fn new(holder: Holder, lease: Lease, hold: LeaseHold, now: Instant) -> Self {
        let until = lease.task.new.timeout.and_then(|timeout| now.checked_add(timeout));
        Self { holder, lease, hold, started: now, until }
    }

    /// The end of the attempt now.
    pub(super) fn end(self, end: HeldEnd) -> (AttemptEnd, LeaseHold) {
        let mut ended = AttemptEnd::aborted(self.lease, self.started, Instant::now());
        ended.worker = Some(self.holder.name);
        match end {
            HeldEnd::Ended(outcome) => ended.outcome = Some(outcome),
            HeldEnd::Released(release) => ended.release = Some(Box::new(release)),
            HeldEnd::Returned => {}
        }
        (ended, self.hold)
    }

    /// The end of an attempt after which its task can be taken again at once, for this reason.
    fn put_back(self, reason: String) -> (AttemptEnd, LeaseHold) {
        let release = Release { reason, pause: Some(Duration::ZERO), revision: None, counts: true };
        self.end(HeldEnd::Released(release))
    }
}

impl HeldState {
    pub(super) fn set_open(&mut self, is_open: bool) {
        self.is_open = is_open;
        self.wanted = None;
    }

    pub(super) fn is_idle(&self) -> bool {
        self.held.is_empty() && self.over.is_empty()
    }

    /// Those of these queues of which something may be handed out; `None` if there are none.
    pub(super) fn open_queues(&mut self, queues: &Arc<[Box<str>]>, now: Instant) -> Option<Arc<[Box<str>]>> {
        self.end_pauses(now);
        if !self.is_open {
            return None;
        }
        if self.pauses.is_empty() {
            return Some(queues.clone());
        }
        let open: Arc<[Box<str>]> =
            queues.iter().filter(|queue| !self.pauses.contains_key(*queue)).cloned().collect();
        (!open.is_empty()).then_some(open)
    }

    fn end_pauses(&mut self, now: Instant) {
        let before = self.pauses.len();
        if before > 0 {
            self.pauses.retain(|_, until| *until > now);
            if self.pauses.len() < before {
                self.wanted = None;
            }
        }
    }

    pub(super) fn pause_queue(&mut self, queue: &str, until: Option<Instant>) {
        self.wanted = None;
        match until {
            Some(until) => self.pauses.insert(queue.into(), until),
            None => self.pauses.remove(queue),
        };
    }

    /// The queues that somebody waits for; none while nothing may be handed out.
    pub(super) fn wanted(&mut self, now: Instant) -> Arc<[Box<str>]> {
        self.end_pauses(now);
        let Self { is_open, by_queue, pauses, wanted, .. } = self;
        let find = || {
            let queues = by_queue.keys().filter(|queue| *is_open && !pauses.contains_key(*queue));
            queues.cloned().collect()
        };
        wanted.get_or_insert_with(find).clone()
    }

    /// When the next time to run or the next pause is over.
    pub(super) fn next_look(&self) -> Option<Instant> {
        let deadline = self.deadlines.first().map(|(until, _)| *until);
        deadline.into_iter().chain(self.pauses.values().copied()).min()
    }

    pub(super) fn add_waiter(&mut self, waiter: WaitingHolder) -> u64 {
        self.last_waiter += 1;
        for queue in waiter.queues.iter() {
            let waiting = self.by_queue.entry(queue.clone()).or_insert_with(|| {
                self.wanted = None;
                BTreeSet::new()
            });
            waiting.insert(self.last_waiter);
        }
        self.waiters.insert(self.last_waiter, waiter);
        self.last_waiter
    }

    pub(super) fn remove_waiter(&mut self, number: u64) -> Option<WaitingHolder> {
        let waiter = self.waiters.remove(&number)?;
        for queue in waiter.queues.iter() {
            let Some(waiting) = self.by_queue.get_mut(queue) else { continue };
            waiting.remove(&number);
            if waiting.is_empty() {
                self.by_queue.remove(queue);
                self.wanted = None;
            }
        }
        Some(waiter)
    }

    pub(super) fn has_waiters(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// Removes who has waited longest for a task of a queue.
    pub(super) fn next_waiter(&mut self, queue: &str) -> Option<WaitingHolder> {
        let number = *self.by_queue.get(queue)?.first()?;
        self.remove_waiter(number)
    }

    /// Notes a task that was taken; `true` if its time is over before that of all others.
    pub(super) fn hold(&mut self, held: HeldTask) -> bool {
        let (id, until) = (held.lease.task.id, held.until);
        self.by_holder.entry(held.holder.number).or_default().insert((until, id));
        self.held.insert(id, held);
        let Some(until) = until else { return false };
        self.deadlines.insert((until, id));
        self.deadlines.first() == Some(&(until, id))
    }

    /// Takes a task from its holder.
    pub(super) fn release(&mut self, holder: u64, id: TaskId) -> Option<HeldTask> {
        self.held.get(&id).filter(|held| held.holder.number == holder)?;
        let held = self.held.remove(&id)?;
        self.forget_deadline(holder, held.until, id);
        Some(held)
    }

    fn forget_deadline(&mut self, holder: u64, until: Option<Instant>, id: TaskId) {
        if let Some(until) = until {
            self.deadlines.remove(&(until, id));
        }
        if let Some(own) = self.by_holder.get_mut(&holder) {
            own.remove(&(until, id));
            if own.is_empty() {
                self.by_holder.remove(&holder);
            }
        }
    }

    pub(super) fn touch(&mut self, holder: u64, id: TaskId, now: Instant) -> bool {
        let Some(mut held) = self.release(holder, id) else { return false };
        held.until = held.lease.task.new.timeout.and_then(|timeout| now.checked_add(timeout));
        self.hold(held);
        true
    }

    pub(super) fn find(&self, holder: u64, id: TaskId) -> Option<HeldInfo> {
        let held = self.held.get(&id)?;
        let taken = ReservedTask { task: held.lease.task.clone(), attempt: held.lease.attempt };
        Some(HeldInfo { taken, is_own: held.holder.number == holder, until: held.until })
    }

    pub(super) fn held_by(&self, holder: u64) -> (usize, Option<Instant>) {
        let Some(own) = self.by_holder.get(&holder) else { return (0, None) };
        (own.len(), own.iter().find_map(|(until, _)| *until))
    }

    /// Puts back what a holder has; whether that is anything.
    pub(super) fn remove_holder(&mut self, holder: u64, reason: &str) -> bool {
        let own = self.by_holder.remove(&holder).unwrap_or_default();
        for (_, id) in &own {
            if let Some(held) = self.release(holder, *id) {
                self.over.push(held.put_back(reason.to_owned()));
            }
        }
        !own.is_empty()
    }

    /// Gives a task back as if it had not been taken.
    pub(super) fn give_back(&mut self, holder: u64, id: TaskId) {
        let held = self.release(holder, id);
        self.over.extend(held.map(|held| held.end(HeldEnd::Returned)));
    }

    pub(super) fn give_back_all(&mut self) {
        self.by_holder.clear();
        self.deadlines.clear();
        self.over.extend(self.held.drain().map(|(_, held)| held.end(HeldEnd::Returned)));
    }

    /// Puts back the tasks whose time is over; returns their number.
    pub(super) fn end_overdue(&mut self, now: Instant) -> u64 {
        let mut count = 0;
        while let Some((until, id)) = self.deadlines.first().copied().filter(|(until, _)| *until <= now) {
            self.deadlines.remove(&(until, id));
            let Some(holder) = self.held.get(&id).map(|held| held.holder.number) else { continue };
            let Some(held) = self.release(holder, id) else { continue };
            let time = held.lease.task.new.timeout.unwrap_or_default();
            let time = humantime::format_duration(time);
            self.over.push(held.put_back(format!("{}{time} was over.", HeldInfo::TIME_OVER)));
            count += 1;
        }
        count
    }
}

impl HeldInfo {
    /// The beginning of the reason for which a task goes back whose time is over.
    pub const TIME_OVER: &'static str = "Its time to run of ";
}

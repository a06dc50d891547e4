//! Wakes sleeping workers when there is something for them, and no more of them than there is work.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Two looks this close together count as one.
const SLACK: Duration = Duration::from_millis(1);

/// The sleepers that an event concerns.
///
/// Each worker group has a bit and an index; [`WakeSet::REMOTE`] stands for tasks of functions that run
/// elsewhere, and [`WakeSet::TERMINATED`] for ends without a settlement.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct WakeSet {
    /// The groups for which there may be something now.
    now: u64,
    /// The groups for which there may be something after a time, and that time.
    later: Vec<(usize, Duration)>,
}

impl WakeSet {
    /// The highest number of groups.
    pub(super) const GROUPS: usize = 62;
    pub(super) const REMOTE: usize = 62;
    pub(super) const TERMINATED: usize = 63;

    /// There may be something for a group now.
    pub(super) fn add(&mut self, group: usize) {
        self.now |= 1 << group;
    }

    /// There may be something for a group after this time.
    pub(super) fn add_later(&mut self, group: usize, time: Duration) {
        self.later.push((group, time));
    }

    fn has(&self, group: usize) -> bool {
        self.now & (1 << group) != 0
    }
}

/// The sleeping workers by group, those that wait for tasks of functions that run elsewhere, and the callers
/// that wait for ends without a settlement.
#[derive(Debug)]
pub(super) struct Wakeups {
    groups: Vec<WaitSlot>,
    remote: WaitSlot,
    terminated: WaitSlot,
}

#[derive(Debug, Default)]
struct WaitSlot {
    signal: Notify,
    /// Whether its sleepers look for different things, so that one must not be woken for another.
    wakes_all: bool,
    idle: AtomicUsize,
    /// The times at which sleepers look again without being woken.
    looks: Mutex<Vec<Instant>>,
}

impl Wakeups {
    pub(super) fn new(groups: usize) -> Self {
        let groups = (0..groups).map(|_| WaitSlot::default()).collect();
        let remote = WaitSlot { wakes_all: true, ..WaitSlot::default() };
        Self { groups, remote, terminated: WaitSlot::default() }
    }

    /// Wakes one sleeper of each group that has something to do, or that will have before any of its sleepers
    /// looks again.
    pub(super) fn notify(&self, wake_set: WakeSet) {
        if wake_set.now != 0 {
            let groups = self.groups.iter().enumerate().filter(|(group, _)| wake_set.has(*group));
            groups.for_each(|(_, slot)| slot.notify());
            if wake_set.has(WakeSet::REMOTE) {
                self.remote.notify();
            }
            if wake_set.has(WakeSet::TERMINATED) {
                self.terminated.notify();
            }
        }
        for (group, time) in wake_set.later {
            self.slot(group).notify_before(time);
        }
    }

    fn slot(&self, index: usize) -> &WaitSlot {
        match index {
            WakeSet::REMOTE => &self.remote,
            WakeSet::TERMINATED => &self.terminated,
            group => &self.groups[group],
        }
    }

    /// Wakes all sleepers.
    pub(super) fn notify_all(&self) {
        self.groups
            .iter()
            .chain([&self.remote, &self.terminated])
            .for_each(|slot| slot.signal.notify_waiters());
    }

    /// Sleeps until `look` finds something; its error is the longest time to sleep before the next look. The
    /// sleeper is one of a group, of [`WakeSet::REMOTE`] or of [`WakeSet::TERMINATED`].
    pub(super) async fn wait<T>(&self, index: usize, look: impl Fn() -> Result<T, Option<Duration>>) -> T {
        self.slot(index).wait(look).await
    }
}

impl WaitSlot {
    fn notify(&self) {
        if self.idle.load(Ordering::SeqCst) > 0 {
            self.signal();
        }
    }

    fn signal(&self) {
        if self.wakes_all {
            self.signal.notify_waiters();
        } else {
            self.signal.notify_one();
        }
    }

    /// Wakes a sleeper unless one looks again within this time anyway.
    ///
    /// So the time is kept by one sleeper, and when that goes to work, by another one.
    fn notify_before(&self, time: Duration) {
        if self.idle.load(Ordering::SeqCst) == 0 {
            return;
        }
        let latest = Instant::now().checked_add(time.saturating_add(SLACK));
        let is_kept = self.looks().iter().any(|look| latest.is_none_or(|latest| *look <= latest));
        if !is_kept {
            self.signal();
        }
    }

    fn looks(&self) -> MutexGuard<'_, Vec<Instant>> {
        self.looks.lock().expect("no one panics while holding the times")
    }

    async fn wait<T>(&self, look: impl Fn() -> Result<T, Option<Duration>>) -> T {
        let _idle = IdleGuard::new(&self.idle);
        loop {
            let mut signal = pin!(self.signal.notified());
            // Enlisted before the look: a wakeup from then on is not missed.
            signal.as_mut().enable();
            let time = match look() {
                Ok(found) => return found,
                Err(time) => time,
            };
            match time.and_then(|time| Some((time, NextLook::new(self, time)?))) {
                None => signal.await,
                Some((time, _look)) => drop(tokio::time::timeout(time, signal).await),
            }
        }
    }
}

/// A look to come, noted as long as its sleeper waits for it.
struct NextLook<'a> {
    slot: &'a WaitSlot,
    at: Instant,
}

impl<'a> NextLook<'a> {
    /// `None` when the time lies beyond what a clock can show.
    fn new(slot: &'a WaitSlot, time: Duration) -> Option<Self> {
        let at = Instant::now().checked_add(time)?;
        slot.looks().push(at);
        Some(Self { slot, at })
    }
}

impl Drop for NextLook<'_> {
    fn drop(&mut self) {
        let mut looks = self.slot.looks();
        if let Some(index) = looks.iter().position(|look| *look == self.at) {
            looks.swap_remove(index);
        }
    }
}

/// A sleeper, counted as long as it sleeps.
struct IdleGuard<'a>(&'a AtomicUsize);

impl<'a> IdleGuard<'a> {
    fn new(idle: &'a AtomicUsize) -> Self {
        idle.fetch_add(1, Ordering::SeqCst);
        Self(idle)
    }
}

impl Drop for IdleGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

//! Wakes sleeping workers when there is something for them, and no more of them than there is work.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// The worker groups for which there may be something now, a bit each; the highest bit is for ends without a
/// settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct WakeSet(pub(super) u64);

impl WakeSet {
    /// The highest number of groups.
    pub(super) const GROUPS: usize = 63;
    pub(super) const TERMINATED: usize = 63;

    pub(super) fn group(group: usize) -> Self {
        Self(1 << group.min(Self::GROUPS))
    }

    fn has(self, bit: usize) -> bool {
        self.0 & (1 << bit) != 0
    }
}

/// The sleeping workers by group, and the callers that wait for ends without a settlement.
#[derive(Debug)]
pub(super) struct Wakeups {
    groups: Vec<WaitSlot>,
    terminated: WaitSlot,
}

#[derive(Debug, Default)]
struct WaitSlot {
    signal: Notify,
    idle: AtomicUsize,
}

impl Wakeups {
    pub(super) fn new(groups: usize) -> Self {
        let groups = (0..groups).map(|_| WaitSlot::default()).collect();
        Self { groups, terminated: WaitSlot::default() }
    }

    /// Wakes one sleeper of each group that has something to do.
    pub(super) fn notify(&self, wake_set: WakeSet) {
        if wake_set.0 == 0 {
            return;
        }
        let groups = self.groups.iter().enumerate().filter(|(group, _)| wake_set.has(*group));
        groups.for_each(|(_, slot)| slot.notify());
        if wake_set.has(WakeSet::TERMINATED) {
            self.terminated.notify();
        }
    }

    /// Wakes all sleepers.
    pub(super) fn notify_all(&self) {
        self.groups.iter().chain([&self.terminated]).for_each(|slot| slot.signal.notify_waiters());
    }

    /// Sleeps until `look` finds something; its error is the longest time to sleep before the next look.
    pub(super) async fn wait<T>(&self, group: usize, look: impl Fn() -> Result<T, Option<Duration>>) -> T {
        self.groups[group].wait(look).await
    }

    /// Sleeps likewise, for ends without a settlement.
    pub(super) async fn wait_terminated<T>(&self, look: impl Fn() -> Result<T, Option<Duration>>) -> T {
        self.terminated.wait(look).await
    }
}

impl WaitSlot {
    fn notify(&self) {
        if self.idle.load(Ordering::SeqCst) > 0 {
            self.signal.notify_one();
        }
    }

    async fn wait<T>(&self, look: impl Fn() -> Result<T, Option<Duration>>) -> T {
        let _idle = IdleGuard::new(&self.idle);
        loop {
            let mut signal = pin!(self.signal.notified());
            // Enlisted before the look: a wakeup from then on is not missed.
            signal.as_mut().enable();
            match look() {
                Ok(found) => return found,
                Err(None) => signal.await,
                Err(Some(time)) => drop(tokio::time::timeout(time, signal).await),
            }
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

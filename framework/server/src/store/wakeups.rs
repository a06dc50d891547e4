//! Wakes takers when there is something for them, and no more of them than there is work.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// The lines for which there may be something now, a bit each; the highest bit is for ends to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct WakeSet(pub(super) u64);

impl WakeSet {
    /// How many lines there can be.
    pub(super) const LINES: usize = 63;
    pub(super) const DEPARTED: usize = 63;

    pub(super) fn line(line: usize) -> Self {
        Self(1 << line.min(Self::LINES))
    }

    fn has(self, bit: usize) -> bool {
        self.0 & (1 << bit) != 0
    }
}

/// Where takers sleep, by line.
#[derive(Debug)]
pub(super) struct Wakeups {
    places: Vec<WaitSlot>,
    departed: WaitSlot,
}

#[derive(Debug, Default)]
struct WaitSlot {
    rung: Notify,
    idle: AtomicUsize,
}

impl Wakeups {
    pub(super) fn new(lines: usize) -> Self {
        Self { places: (0..lines).map(|_| WaitSlot::default()).collect(), departed: WaitSlot::default() }
    }

    /// Wakes one sleeper of each line that has something to do.
    pub(super) fn notify(&self, wake_set: WakeSet) {
        if wake_set.0 == 0 {
            return;
        }
        let lines = self.places.iter().enumerate().filter(|(line, _)| wake_set.has(*line));
        lines.for_each(|(_, place)| place.notify());
        if wake_set.has(WakeSet::DEPARTED) {
            self.departed.notify();
        }
    }

    /// Wakes everybody.
    pub(super) fn notify_all(&self) {
        self.places.iter().chain([&self.departed]).for_each(|place| place.rung.notify_waiters());
    }

    /// Sleeps until `look` finds something; it says how long to sleep at most if there is nothing.
    pub(super) async fn wait<T>(&self, line: usize, look: impl Fn() -> Result<T, Option<Duration>>) -> T {
        self.places[line].wait(look).await
    }

    /// The same, for ends to be told.
    pub(super) async fn wait_terminated<T>(&self, look: impl Fn() -> Result<T, Option<Duration>>) -> T {
        self.departed.wait(look).await
    }
}

impl WaitSlot {
    fn notify(&self) {
        if self.idle.load(Ordering::SeqCst) > 0 {
            self.rung.notify_one();
        }
    }

    async fn wait<T>(&self, look: impl Fn() -> Result<T, Option<Duration>>) -> T {
        let _idle = IdleGuard::new(&self.idle);
        loop {
            let mut rung = pin!(self.rung.notified());
            // Enlisted before the look: who has something from then on rings for this sleeper.
            rung.as_mut().enable();
            match look() {
                Ok(found) => return found,
                Err(None) => rung.await,
                Err(Some(time)) => drop(tokio::time::timeout(time, rung).await),
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

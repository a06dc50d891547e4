//! Two clocks: a steady one, and the wall clock, which may be set.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use framework_protocol::task::now_ms;

/// A source of the time.
#[derive(Debug, Clone)]
pub struct Clock(ClockKind);

#[derive(Debug, Clone)]
enum ClockKind {
    /// The machine's clocks; steady time is counted from here.
    Machine(Instant),
    /// Stands still until a test advances or sets it.
    Fake(Arc<Mutex<Now>>),
}

/// A moment on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// The time since the clock was made, whatever the wall clock shows.
    pub steady: Duration,
    /// Milliseconds since 1970 in UTC.
    pub wall_ms: u64,
}

impl Clock {
    /// The machine's clocks.
    pub fn machine() -> Self {
        Self(ClockKind::Machine(Instant::now()))
    }

    /// A clock for tests, which [`Clock::advance`] and [`Clock::set`] move.
    pub fn fake(wall_ms: u64) -> Self {
        Self(ClockKind::Fake(Arc::new(Mutex::new(Now { steady: Duration::ZERO, wall_ms }))))
    }

    pub fn now(&self) -> Now {
        match &self.0 {
            ClockKind::Machine(begin) => Now { steady: begin.elapsed(), wall_ms: now_ms() },
            ClockKind::Fake(now) => *now.lock().expect("no one panics while holding the time"),
        }
    }

    /// Lets time pass on a fake clock; without effect on the machine's.
    pub fn advance(&self, time: Duration) {
        if let ClockKind::Fake(now) = &self.0 {
            let mut now = now.lock().expect("no one panics while holding the time");
            now.steady += time;
            now.wall_ms = now.wall_ms.saturating_add(time.as_millis() as u64);
        }
    }

    /// Sets the wall clock of a fake one, as an administrator would.
    pub fn set(&self, wall_ms: u64) {
        if let ClockKind::Fake(now) = &self.0 {
            now.lock().expect("no one panics while holding the time").wall_ms = wall_ms;
        }
    }
}

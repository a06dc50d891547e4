//! How many tasks a worker holds that runs one at a time: more while they are short.

use std::time::Duration;

/// The most tasks that are held.
const DEPTH_MAX: u32 = 64;
/// An attempt of this length or less is short.
const SHORT: Duration = Duration::from_millis(1);
/// The tasks behind an attempt that takes longer go back to the server, so that others run them.
pub(super) const LONG: Duration = Duration::from_millis(10);

/// The number of tasks to hold, the running one included.
#[derive(Debug)]
pub(super) struct Prefetch {
    depth: u32,
}

impl Default for Prefetch {
    fn default() -> Self {
        Self { depth: 1 }
    }
}

impl Prefetch {
    pub(super) fn depth(&self) -> u32 {
        self.depth
    }

    /// Notes how long an attempt has taken.
    pub(super) fn note(&mut self, ran: Duration) {
        if ran <= SHORT {
            self.depth = (self.depth * 2).min(DEPTH_MAX);
        } else {
            self.reset();
        }
    }

    /// Holds no task beyond the running one.
    pub(super) fn reset(&mut self) {
        self.depth = 1;
    }

    /// The credit to give for `room` tasks more: not for each of them alone.
    pub(super) fn worthwhile(&self, room: u32) -> u32 {
        if room >= self.depth.div_ceil(2) { room } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_grows_with_short_attempts_and_falls_with_a_longer_one() {
        let mut prefetch = Prefetch::default();
        assert_eq!((prefetch.depth(), prefetch.worthwhile(1)), (1, 1));
        (0..10).for_each(|_| prefetch.note(SHORT));
        assert_eq!(prefetch.depth(), DEPTH_MAX);
        assert_eq!((prefetch.worthwhile(31), prefetch.worthwhile(32)), (0, 32));
        prefetch.note(SHORT * 2);
        assert_eq!(prefetch.depth(), 1);
    }
}

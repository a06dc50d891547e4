//! Notices that a peer is gone which never said so.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// How many pings in a row may stay without any sign of life.
const MISSED_MAX: u32 = 2;

/// The signs of life of a peer.
pub(super) struct Heartbeat {
    /// `None`: nobody asks for any.
    silence: Option<Pin<Box<Sleep>>>,
    interval: Duration,
    last: Instant,
    missed: u32,
}

impl Heartbeat {
    /// `interval`: how long a silence is before a sign is asked for, and asked for again; zero is never.
    pub(super) fn new(interval: Duration) -> Self {
        let silence = (!interval.is_zero()).then(|| Box::pin(sleep(interval)));
        Self { silence, interval, last: Instant::now(), missed: 0 }
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.silence.is_some()
    }

    /// Here is a sign of life.
    pub(super) fn beat(&mut self) {
        if self.is_wanted() {
            self.last = Instant::now();
            self.missed = 0;
        }
    }

    /// Ready whenever one more interval has passed without a sign.
    pub(super) fn poll_missed(&mut self, context: &mut Context) -> Poll<()> {
        loop {
            let Some(silence) = &mut self.silence else { return Poll::Pending };
            ready!(silence.as_mut().poll(context));
            let has_missed = self.look(Instant::now());
            let due = self.due();
            if let Some(silence) = &mut self.silence {
                silence.as_mut().reset(due);
            }
            if has_missed {
                return Poll::Ready(());
            }
        }
    }

    /// Notes one more interval without a sign, if that is so by now.
    fn look(&mut self, now: Instant) -> bool {
        let has_missed = self.due() <= now;
        self.missed += u32::from(has_missed);
        has_missed
    }

    /// When the next sign is missed.
    fn due(&self) -> Instant {
        self.last + self.interval * (self.missed + 1)
    }

    /// Whether too many signs were missed.
    pub(super) fn is_over(&self) -> bool {
        self.missed > MISSED_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_gone_after_two_pings_without_any_sign() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut pulse =
            Heartbeat { silence: None, interval: Duration::from_secs(30), last: start, missed: 0 };
        assert!(!pulse.look(after(29)) && pulse.look(after(30)) && !pulse.look(after(59)));
        assert!(pulse.look(after(60)) && !pulse.is_over(), "two pings are out");
        assert!(pulse.look(after(90)) && pulse.is_over());
    }
}

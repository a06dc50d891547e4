//! Detects peers that are gone without having closed, by pings.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// The number of pings in a row that may stay unanswered.
const MISSED_MAX: u32 = 2;

/// The heartbeat of a peer: any input, or output that it reads.
pub(crate) struct Heartbeat {
    /// Ready when the next interval is over; `None` without pings.
    silence: Option<Pin<Box<Sleep>>>,
    interval: Duration,
    last: Instant,
    missed: u32,
}

impl Heartbeat {
    /// `interval`: the time of silence before a ping, and before each further one; zero is never.
    pub(crate) fn new(interval: Duration) -> Self {
        let silence = (!interval.is_zero()).then(|| Box::pin(sleep(interval)));
        Self { silence, interval, last: Instant::now(), missed: 0 }
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.silence.is_some()
    }

    /// The peer is alive.
    pub(crate) fn beat(&mut self) {
        if self.is_wanted() {
            self.last = Instant::now();
            self.missed = 0;
        }
    }

    /// Ready whenever one more interval has passed in silence.
    pub(crate) fn poll_missed(&mut self, context: &mut Context) -> Poll<()> {
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

    /// Counts one more interval of silence, if it is over by now.
    fn look(&mut self, now: Instant) -> bool {
        let has_missed = self.due() <= now;
        self.missed += u32::from(has_missed);
        has_missed
    }

    /// The end of the next interval.
    fn due(&self) -> Instant {
        self.last + self.interval * (self.missed + 1)
    }

    /// True when too many pings stayed unanswered.
    pub(crate) fn is_over(&self) -> bool {
        self.missed > MISSED_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeat_is_over_after_two_unanswered_pings() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut heartbeat =
            Heartbeat { silence: None, interval: Duration::from_secs(30), last: start, missed: 0 };
        assert!(!heartbeat.look(after(29)) && heartbeat.look(after(30)) && !heartbeat.look(after(59)));
        assert!(heartbeat.look(after(60)) && !heartbeat.is_over(), "two pings are out");
        assert!(heartbeat.look(after(90)) && heartbeat.is_over());
    }
}

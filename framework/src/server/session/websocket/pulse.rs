//! Notices that a peer is gone which never said so.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// How many pings in a row may stay without any sign of life.
const MISSED_MAX: u32 = 2;

/// The signs of life of a peer.
pub(super) struct Pulse {
    /// `None`: nobody asks for any.
    silence: Option<Pin<Box<Sleep>>>,
    interval: Duration,
    last: Instant,
    missed: u32,
}

impl Pulse {
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
        let Some(silence) = &mut self.silence else { return Poll::Pending };
        while silence.as_mut().poll(context).is_ready() {
            let due = self.last + self.interval * (self.missed + 1);
            if due <= Instant::now() {
                self.missed += 1;
                silence.as_mut().reset(self.last + self.interval * (self.missed + 1));
                return Poll::Ready(());
            }
            silence.as_mut().reset(due);
        }
        Poll::Pending
    }

    /// Whether too many signs were missed.
    pub(super) fn is_over(&self) -> bool {
        self.missed > MISSED_MAX
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_is_gone_after_two_pings_without_any_sign() {
        let mut pulse = Pulse::new(Duration::from_secs(30));
        let start = Instant::now();
        for _ in 0..2 {
            poll_fn(|context| pulse.poll_missed(context)).await;
            assert!(!pulse.is_over());
        }
        pulse.beat();
        for round in 1..=3 {
            poll_fn(|context| pulse.poll_missed(context)).await;
            assert_eq!(pulse.is_over(), round == 3);
        }
        assert_eq!(start.elapsed().as_secs(), 60 + 90);
    }
}

//! The rate of a queue: a token bucket.

use std::time::Duration;

use crate::store::options::Rate;

/// A token bucket: fills at the queue's rate, and holds a tenth of a period's worth, so that starts are
/// spread.
#[derive(Debug)]
pub(super) struct TokenBucket {
    pub(super) rate: Rate,
    tokens: f64,
    filled: Duration,
}

impl TokenBucket {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, tokens: Self::size(rate), filled: Duration::ZERO }
    }

    fn size(rate: Rate) -> f64 {
        (f64::from(rate.count) / 10.0).max(1.0)
    }

    fn per_second(&self) -> f64 {
        f64::from(self.rate.count) / self.rate.per.as_secs_f64()
    }

    /// Adds the tokens of the time since the last call.
    pub(super) fn refill(&mut self, now: Duration) {
        let time = now.saturating_sub(self.filled).as_secs_f64();
        self.filled = now;
        self.tokens = (self.tokens + time * self.per_second()).min(Self::size(self.rate));
    }

    pub(super) fn has_token(&self) -> bool {
        self.tokens >= 1.0
    }

    pub(super) fn take(&mut self) {
        self.tokens -= 1.0;
    }

    pub(super) fn put_back(&mut self) {
        self.tokens += 1.0;
    }

    /// The time until there is a token.
    pub(super) fn pause(&self) -> Duration {
        Duration::from_secs_f64(((1.0 - self.tokens) / self.per_second()).max(0.000_1))
    }
}

//! Ends a connection on which nothing has happened for too long.

use std::time::Duration;

use tokio::time::Instant;

/// When a connection was last heard of, and how long it may be silent.
pub(super) struct Idle {
    limit: Option<Duration>,
    last: Instant,
}

impl Idle {
    /// `limit` of zero: never.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit: (!limit.is_zero()).then_some(limit), last: Instant::now() }
    }

    pub(super) fn touch(&mut self) {
        if self.limit.is_some() {
            self.last = Instant::now();
        }
    }

    /// Waits until it has been silent for too long.
    pub(super) async fn over(&self) {
        match self.limit {
            Some(limit) => tokio::time::sleep_until(self.last + limit).await,
            None => std::future::pending().await,
        }
    }
}

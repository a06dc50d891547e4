//! The idle timeout of a connection.

use std::time::Duration;

use tokio::time::Instant;

/// When a connection was last active, and how long it may be idle.
pub(super) struct Idle {
    limit: Option<Duration>,
    last: Instant,
}

impl Idle {
    /// A `limit` of zero is none.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit: (!limit.is_zero()).then_some(limit), last: Instant::now() }
    }

    pub(super) fn touch(&mut self) {
        if self.limit.is_some() {
            self.last = Instant::now();
        }
    }

    /// Waits until the connection has been idle for too long.
    pub(super) async fn over(&self) {
        match self.limit {
            Some(limit) => tokio::time::sleep_until(self.last + limit).await,
            None => std::future::pending().await,
        }
    }
}

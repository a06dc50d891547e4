//! Slow queries take turns, so that the others do not wait for many of them.

use framework_protocol::{ErrorCode, RequestError};
use tokio::sync::{Semaphore, SemaphorePermit};

/// The slow queries that wait for their turn, or have it; each takes about a second at most.
const PLACES: usize = 8;

/// The turns of slow queries: one at a time, and a bounded number of others that wait.
#[derive(Debug)]
pub(super) struct SlowQueries {
    places: Semaphore,
    turn: Semaphore,
}

/// The turn of one query.
pub(super) struct SlowQueryTurn<'a> {
    _place: SemaphorePermit<'a>,
    _turn: SemaphorePermit<'a>,
}

impl Default for SlowQueries {
    fn default() -> Self {
        Self { places: Semaphore::new(PLACES), turn: Semaphore::new(1) }
    }
}

impl SlowQueries {
    /// Waits for a turn, which ends when it is dropped.
    ///
    /// # Errors
    /// `busy`: too many others wait.
    pub(super) async fn turn(&self) -> Result<SlowQueryTurn<'_>, RequestError> {
        let busy = || {
            let message = format!("{PLACES} searches wait already: try again in a moment.");
            RequestError::new(ErrorCode::Busy, message)
        };
        let place = self.places.try_acquire().map_err(|_| busy())?;
        let turn = self.turn.acquire().await.map_err(|_| busy())?;
        Ok(SlowQueryTurn { _place: place, _turn: turn })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn slow_queries_take_turns_and_no_more_than_some_wait() {
        let queries = SlowQueries::default();
        let first = queries.turn().await.unwrap();
        let mut waiting: Vec<_> = (1..PLACES).map(|_| Box::pin(queries.turn())).collect();
        assert!(waiting.iter_mut().all(|turn| turn.now_or_never().is_none()));
        assert_eq!(queries.turn().await.err().unwrap().code, ErrorCode::Busy);
        drop(first);
        let second = waiting.remove(0).await.unwrap();
        assert!(waiting[0].as_mut().now_or_never().is_none());
        drop((second, waiting));
        assert!(queries.turn().now_or_never().is_some_and(|turn| turn.is_ok()));
    }
}

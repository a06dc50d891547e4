//! Writes outcomes to the store, many at a time, and decides what follows a failed attempt.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::events::Finished;
use super::status::Board;
use crate::store::{Lease, Settlement, Store, Verdict};
use crate::task::{Outcome, Retry};

/// How many outcomes are settled together at most.
const GROUP: usize = 4096;
/// The pause of a backoff never grows beyond this, its spread aside.
const BACKOFF_MAX: Duration = Duration::from_secs(60 * 60);

/// A handler's own word on the pause holds up to here, beyond which times overflow: a century.
const PAUSE_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// An attempt that is over.
pub(super) struct Ended {
    lease: Lease,
    /// `None`: the attempt did not come to anything and does not count.
    outcome: Option<Outcome>,
    started: Instant,
    ended: Instant,
}

impl Ended {
    pub(super) fn new(lease: Lease, outcome: Outcome, started: Instant, ended: Instant) -> Self {
        Self { lease, outcome: Some(outcome), started, ended }
    }

    /// The lease goes back as if it had not been taken.
    pub(super) fn returned(lease: Lease) -> Self {
        let now = Instant::now();
        Self { lease, outcome: None, started: now, ended: now }
    }

    fn settlement(&self) -> Settlement {
        let verdict = match &self.outcome {
            None => Verdict::Return,
            Some(Outcome::Done(result)) => Verdict::Done(result.clone()),
            Some(Outcome::Failed(failure)) => match self.pause(failure.retry) {
                Some(pause) => Verdict::Retry(pause),
                None => Verdict::Failed(failure.message.clone()),
            },
        };
        Settlement { task: self.lease.task.id, token: self.lease.token, verdict }
    }

    /// How long to wait before another attempt; `None` if there is none.
    fn pause(&self, retry: Retry) -> Option<Duration> {
        let new = &self.lease.task.new;
        match retry {
            Retry::Never => None,
            _ if self.lease.attempt >= new.attempts => None,
            Retry::After(pause) => Some(pause.min(PAUSE_MAX)),
            Retry::Backoff => Some(backoff(new.handler.options.backoff, self.lease.attempt)),
        }
    }
}

/// Doubles from attempt to attempt, and is spread over half to one and a half of that, so that tasks which
/// failed together do not come back together.
fn backoff(base: Duration, attempt: u32) -> Duration {
    let doubled = base.saturating_mul(1 << attempt.saturating_sub(1).min(20));
    doubled.min(BACKOFF_MAX).mul_f64(0.5 + fastrand::f64())
}

/// Settles what comes from the workers until the last of them is gone.
pub(super) async fn run(
    store: Arc<dyn Store>,
    board: Arc<Board>,
    mut inbox: mpsc::Receiver<Vec<Ended>>,
    notifier: mpsc::Sender<Vec<Finished>>,
) {
    while let Some(mut group) = inbox.recv().await {
        while group.len() < GROUP {
            let Ok(mut more) = inbox.try_recv() else { break };
            group.append(&mut more);
        }
        let settlements: Vec<_> = group.iter().map(Ended::settlement).collect();
        let terminal: Vec<_> =
            settlements.iter().map(|settlement| settlement.verdict.is_terminal()).collect();
        let settled = store.settle(settlements).await;
        board.record(group.iter().filter(|ended| ended.outcome.is_some()).map(|ended| {
            let new = &ended.lease.task.new;
            let due = ended.lease.task.accepted + new.delay;
            let waited = ended.started.saturating_duration_since(due);
            (
                (ended.lease.attempt == 1).then_some(waited),
                ended.ended.saturating_duration_since(ended.started),
            )
        }));
        let finished: Vec<_> = group
            .into_iter()
            .zip(settled.into_iter().zip(terminal))
            .filter(|(_, (settled, terminal))| *settled && *terminal)
            .filter_map(|(ended, _)| ended.finished())
            .collect();
        if !finished.is_empty() && notifier.send(finished).await.is_err() {
            tracing::error!("the notifier is gone");
        }
    }
}

impl Ended {
    fn finished(self) -> Option<Finished> {
        Some(Finished {
            attempts: self.lease.attempt,
            task: self.lease.task,
            outcome: self.outcome?,
            running: self.ended.saturating_duration_since(self.started),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_and_is_spread_around_its_mean() {
        for (attempt, mean) in [(1, 1), (2, 2), (3, 4), (30, 3600)] {
            for _ in 0..100 {
                let pause = backoff(Duration::from_secs(1), attempt).as_secs_f64();
                let mean = f64::from(mean);
                assert!((mean * 0.5..mean * 1.5).contains(&pause), "attempt {attempt}: {pause}");
            }
        }
    }
}

//! One group of workers: pulls leases from the store, runs the attempts, and sends their ends to the
//! finisher.

use std::sync::Arc;
use std::time::{Duration, Instant};

use framework_console::log::{TaskScope, with_task};
use framework_protocol::task::{Attempt, AttemptContext, Handler, Outcome};
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::timed_out;
use crate::server::caught::Caught;
use crate::server::events::DynEvents;
use crate::server::finisher::{AttemptEnd, BatchHold, EndedBatch};
use crate::server::leases::LeaseHold;
use crate::server::metrics::WorkerGroupStats;
use crate::server::poll::{at_once, raised};
use crate::store::Lease;

/// The target duration of an inline batch: a task behind a slow one waits for it about this long.
const BATCH_TIME: Duration = Duration::from_micros(200);
const BATCH_MAX: usize = 256;

/// The parts that the pools of all groups share.
pub(super) struct PoolContext {
    pub(super) source: Arc<dyn LeaseSource>,
    pub(super) events: Arc<dyn DynEvents>,
    pub(super) attempts: Arc<AttemptContext>,
    pub(super) finisher: mpsc::Sender<EndedBatch>,
    /// Becomes true when running attempts are to be aborted.
    pub(super) abort: watch::Receiver<bool>,
}

/// The place that the pools take their tasks from.
pub(super) trait LeaseSource: Send + Sync {
    /// Waits until there may be something for a group; `false` when there never will be. May be cancelled at
    /// any time.
    fn ready(&self, group: usize) -> BoxFuture<'_, bool>;

    /// Leases up to `limit` tasks. Must not be cancelled.
    fn take(&self, group: usize, limit: usize) -> BoxFuture<'_, Vec<Lease>>;

    /// Holds the leases of a batch up to their settlement.
    fn hold_batch(&self, leases: &[Lease]) -> Option<LeaseHold>;

    /// Holds one lease; the receiver, if there is one, fails when the lease is lost.
    fn hold(&self, lease: &Lease) -> (Option<LeaseHold>, Option<oneshot::Receiver<()>>);

    /// Settles ends itself; `false` leaves that to the finisher.
    fn settles(&self, _ends: &[AttemptEnd]) -> bool {
        false
    }
}

/// The workers of one group.
pub(super) struct WorkerPool {
    shared: Arc<PoolContext>,
    /// The index of the group in the store's options.
    group: usize,
    count: usize,
    /// One permit per worker; held by an attempt that did not finish at its first poll.
    workers: Arc<Semaphore>,
}

/// A running attempt with its future.
struct ActiveAttempt {
    future: TaskScope<Caught<'static, Outcome>>,
    attempt: Attempt,
    lease: Lease,
    started: Instant,
}

impl WorkerPool {
    pub(super) fn new(shared: Arc<PoolContext>, group: usize, stats: &WorkerGroupStats) -> Self {
        Self { shared, group, count: stats.count, workers: stats.free.clone() }
    }

    /// The number of workers.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Pulls and runs tasks until the store is closed and has none left, then waits for the running attempts.
    ///
    /// Most handlers are done at their first poll or wait for most of their time. So a puller, one for each
    /// thread, polls each new attempt once in place; only one that waits becomes a spawned task, which
    /// keeps a worker. The number of leases pulled at a time follows from how long the last ones took.
    ///
    /// Nothing more is pulled once `pause` is raised.
    pub(super) async fn run_puller(self: Arc<Self>, mut pause: watch::Receiver<bool>) {
        let mut running = JoinSet::new();
        let mut batch_size = 1;
        loop {
            let Some(worker) = self.next_permit(&mut pause).await else { break };
            let leases = self.shared.source.take(self.group, batch_size).await;
            while running.try_join_next().is_some() {}
            batch_size = self.run(leases, worker, batch_size, &mut running).await;
        }
        while running.join_next().await.is_some() {}
    }

    /// Waits for work and then for a free worker; `None` when no more is to be pulled.
    async fn next_permit(&self, pause: &mut watch::Receiver<bool>) -> Option<OwnedSemaphorePermit> {
        let mut abort = self.shared.abort.clone();
        let work = async {
            let has_work = self.shared.source.ready(self.group).await;
            if has_work { self.workers.clone().acquire_owned().await.ok() } else { None }
        };
        tokio::select! {
            worker = work => worker,
            () = raised(&mut abort) => None,
            () = raised(pause) => None,
        }
    }

    /// Runs a batch and returns the size of the next one.
    async fn run(
        self: &Arc<Self>,
        leases: Vec<Lease>,
        worker: OwnedSemaphorePermit,
        batch_size: usize,
        running: &mut JoinSet<()>,
    ) -> usize {
        let mut free = Some(worker);
        let hold = self.shared.source.hold_batch(&leases);
        let mut ended = Vec::with_capacity(leases.len());
        let begin = Instant::now();
        let mut now = begin;
        let mut waits = false;
        for lease in leases {
            let Some(handler) = self.shared.attempts.handlers.get(&lease.task.new.function) else {
                ended.push(AttemptEnd::parked(lease, now));
                continue;
            };
            let is_wanted = !lease.task.is_cancel_requested();
            let worker = || free.take().or_else(|| self.workers.clone().try_acquire_owned().ok());
            let Some(worker) = is_wanted.then(worker).flatten() else {
                ended.push(AttemptEnd::aborted(lease, now, now));
                continue;
            };
            let mut run = self.start(lease, handler, now);
            match at_once(&mut run.future).await {
                Some(outcome) => {
                    now = Instant::now();
                    ended.push(run.end(outcome.unwrap_or_else(Outcome::panicked), now));
                    free = Some(worker);
                }
                None => {
                    waits = true;
                    running.spawn(self.clone().finish(run, worker));
                    now = Instant::now();
                }
            }
        }
        drop(free);
        let ran = ended.len();
        self.send(ended, hold).await;
        if waits || now.duration_since(begin) > BATCH_TIME {
            (batch_size / 2).max(1)
        } else if ran >= batch_size {
            (batch_size * 2).min(BATCH_MAX)
        } else {
            batch_size
        }
    }

    fn start(&self, lease: Lease, handler: &'static Handler, started: Instant) -> ActiveAttempt {
        lease.task.set_blocking(handler.options.blocking);
        let attempt = Attempt::new(lease.task.clone(), handler, lease.attempt, self.shared.attempts.clone());
        let task = attempt.id();
        let future = Caught::new(self.shared.events.clone().task(attempt.clone()));
        let future = TaskScope { task, future };
        lease.begin();
        ActiveAttempt { future, attempt, lease, started }
    }

    /// Waits for an attempt while its lease is renewed, and sends its end to the finisher.
    async fn finish(self: Arc<Self>, mut run: ActiveAttempt, worker: OwnedSemaphorePermit) {
        let (hold, lost) = self.shared.source.hold(&run.lease);
        let lost = async {
            match lost {
                Some(lost) => drop(lost.await),
                None => std::future::pending().await,
            }
        };
        let outcome = tokio::select! {
            biased;
            outcome = self.outcome(&mut run, lost) => outcome,
            () = self.aborted() => {
                run.attempt.stop();
                None
            }
        };
        run.discard();
        let ended = match outcome {
            Some(outcome) => run.end(outcome, Instant::now()),
            None => run.abort(Instant::now()),
        };
        self.send(vec![ended], hold).await;
        drop(worker);
    }

    /// Waits for an attempt until its timeout, the loss of its lease or a cancel; `None` if it came to
    /// nothing. An async attempt is then dropped, a blocking one is asked to stop and keeps its worker until
    /// it does.
    async fn outcome(&self, run: &mut ActiveAttempt, lost: impl Future<Output = ()>) -> Option<Outcome> {
        let task = run.lease.task.clone();
        let deadline = task.new.timeout.and_then(|timeout| run.started.checked_add(timeout));
        let blocking = task.is_blocking();
        tokio::select! {
            biased;
            outcome = &mut run.future => Some(outcome.unwrap_or_else(Outcome::panicked)),
            () = until(deadline) => {
                run.attempt.stop();
                if blocking {
                    let _ = (&mut run.future).await;
                }
                Some(timed_out(task.new.timeout.unwrap_or_default()))
            }
            () = task.cancel_requested() => {
                if !blocking {
                    return None;
                }
                Some((&mut run.future).await.unwrap_or_else(Outcome::panicked))
            }
            () = lost => {
                if blocking {
                    let _ = (&mut run.future).await;
                }
                None
            }
        }
    }

    async fn aborted(&self) {
        raised(&mut self.shared.abort.clone()).await;
    }

    async fn send(&self, ends: Vec<AttemptEnd>, hold: Option<LeaseHold>) {
        let is_done = ends.is_empty() || self.shared.source.settles(&ends);
        if !is_done
            && self.shared.finisher.send(EndedBatch { ends, hold: BatchHold::Local(hold) }).await.is_err()
        {
            tracing::error!("the finisher has ended; outcomes are lost");
        }
    }
}

impl ActiveAttempt {
    /// Drops what is left of the handler, within the log's scope of its task.
    fn discard(&mut self) {
        let TaskScope { task, future } = &mut self.future;
        // A panic meanwhile is logged, and changes nothing: the attempt has its outcome.
        let _ = with_task(*task, || future.discard());
    }

    fn end(self, outcome: Outcome, now: Instant) -> AttemptEnd {
        let follow = self.attempt.take_pushed(&outcome);
        AttemptEnd { outcome: Some(outcome), follow, ..AttemptEnd::aborted(self.lease, self.started, now) }
    }

    fn abort(self, now: Instant) -> AttemptEnd {
        AttemptEnd::aborted(self.lease, self.started, now)
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;

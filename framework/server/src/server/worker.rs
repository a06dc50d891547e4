//! Runs the attempts: pulls leases from the store, hands outcomes to the finisher.

mod leases;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use framework_console::log::TaskScope;
use framework_protocol::task::{Attempt, AttemptContext, Outcome, Retry, caught};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;

pub(super) use self::leases::Leases;
use super::events::DynEvents;
use super::finisher::AttemptEnd;
use super::poll::{at_once, raised};
use crate::store::{Lease, Store};

/// An inline batch is to take about this long, so that a task behind a slow one waits for it only that long.
const BATCH_TIME: Duration = Duration::from_micros(200);
const BATCH_MAX: usize = 256;

/// What every puller of one line of workers needs.
pub(super) struct WorkerPool {
    pub(super) store: Arc<dyn Store>,
    pub(super) events: Arc<dyn DynEvents>,
    pub(super) context: Arc<AttemptContext>,
    /// The place of the line in the store's policy.
    pub(super) line: usize,
    /// How many workers the line has.
    pub(super) count: usize,
    /// They themselves: an attempt that waits holds one of them.
    pub(super) workers: Arc<Semaphore>,
    pub(super) leases: Arc<Leases>,
    /// How long a lease lasts.
    pub(super) lease: Duration,
    pub(super) finisher: mpsc::Sender<Vec<AttemptEnd>>,
    /// Becomes true when running attempts are to be given up.
    pub(super) halt: watch::Receiver<bool>,
}

/// An attempt with its future and the worker it occupies.
struct ActiveAttempt {
    future: BoxFuture<'static, Outcome>,
    attempt: Attempt,
    lease: Lease,
    started: Instant,
}

impl WorkerPool {
    /// Pulls and runs tasks until the store has none to give any more, then waits for those under way.
    ///
    /// Most handlers are done at their first poll or wait for most of their time. So a puller, one for each
    /// thread, polls each new attempt once where it stands; only one that waits becomes a task of its own, which
    /// keeps a worker. How many leases are pulled at a time follows from how long the last ones took.
    ///
    /// Once `rest` is raised nothing more is pulled.
    pub(super) async fn run_puller(self: Arc<Self>, mut rest: watch::Receiver<bool>) {
        let mut under_way = JoinSet::new();
        let mut appetite = 1;
        loop {
            let Some(worker) = self.next_permit(&mut rest).await else { break };
            let leases = self.store.take(self.line, appetite).await;
            while under_way.try_join_next().is_some() {}
            appetite = self.run(leases, worker, appetite, &mut under_way).await;
        }
        while under_way.join_next().await.is_some() {}
    }

    /// Waits for work and then for a free worker; `None` when there will be no more.
    async fn next_permit(&self, rest: &mut watch::Receiver<bool>) -> Option<OwnedSemaphorePermit> {
        let mut halt = self.halt.clone();
        let work = async {
            match self.store.ready(self.line).await {
                true => self.workers.clone().acquire_owned().await.ok(),
                false => None,
            }
        };
        tokio::select! {
            worker = work => worker,
            () = raised(&mut halt) => None,
            () = raised(rest) => None,
        }
    }

    /// Runs a batch and returns how many to take next time.
    async fn run(
        self: &Arc<Self>,
        leases: Vec<Lease>,
        worker: OwnedSemaphorePermit,
        appetite: usize,
        under_way: &mut JoinSet<()>,
    ) -> usize {
        let mut free = Some(worker);
        let mut ended = Vec::with_capacity(leases.len());
        let begin = Instant::now();
        let mut now = begin;
        let mut waits = false;
        for lease in leases {
            // Nobody renews what has not begun: behind a handler that does not yield, a lease may grow old.
            let is_fresh = now.duration_since(begin) < self.lease / 3 && !lease.task.is_cancel_requested();
            let worker = || free.take().or_else(|| self.workers.clone().try_acquire_owned().ok());
            let Some(worker) = is_fresh.then(worker).flatten() else {
                ended.push(AttemptEnd::given_up(lease, now, now));
                continue;
            };
            let mut run = self.start(lease, now);
            match at_once(&mut run.future).await {
                Some(outcome) => {
                    now = Instant::now();
                    ended.push(run.end(outcome, now));
                    free = Some(worker);
                }
                None => {
                    waits = true;
                    under_way.spawn(self.clone().finish(run, worker));
                    now = Instant::now();
                }
            }
        }
        drop(free);
        let ran = ended.len();
        self.send(ended).await;
        match waits || now.duration_since(begin) > BATCH_TIME {
            true => (appetite / 2).max(1),
            false if ran >= appetite => (appetite * 2).min(BATCH_MAX),
            false => appetite,
        }
    }

    fn start(&self, lease: Lease, started: Instant) -> ActiveAttempt {
        let attempt = Attempt::new(lease.task.clone(), lease.attempt, self.context.clone());
        let future = AssertUnwindSafe(self.events.clone().task(attempt.clone())).catch_unwind();
        let future = future.map(|outcome| outcome.unwrap_or_else(caught));
        let future = TaskScope { task: attempt.id(), future }.boxed();
        lease.mark.begin();
        ActiveAttempt { future, attempt, lease, started }
    }

    /// Waits for an attempt, keeps its lease meanwhile, and hands over what came of it.
    async fn finish(self: Arc<Self>, mut run: ActiveAttempt, worker: OwnedSemaphorePermit) {
        let lost = self.leases.hold(&run.lease);
        let outcome = tokio::select! {
            biased;
            outcome = self.outcome(&mut run, async { drop(lost.await) }) => outcome,
            () = self.halted() => {
                run.attempt.stop();
                None
            }
        };
        self.leases.release(run.lease.token);
        let ended = match outcome {
            Some(outcome) => run.end(outcome, Instant::now()),
            None => run.give_up(Instant::now()),
        };
        drop(worker);
        self.send(vec![ended]).await;
    }

    /// Waits for an attempt as long as its timeout, its lease and people allow; then the truth is told: an async
    /// attempt is dropped, a blocking one is asked to stop and keeps its worker until it does.
    async fn outcome(&self, run: &mut ActiveAttempt, lost: impl Future<Output = ()>) -> Option<Outcome> {
        let task = run.lease.task.clone();
        let deadline = task.new.timeout.and_then(|timeout| run.started.checked_add(timeout));
        let blocking = task.new.handler.options.blocking;
        tokio::select! {
            biased;
            outcome = &mut run.future => Some(outcome),
            () = until(deadline) => {
                run.attempt.stop();
                if blocking {
                    (&mut run.future).await;
                }
                Some(timed_out(task.new.timeout.unwrap_or_default()))
            }
            () = task.cancel_requested() => match blocking {
                true => Some((&mut run.future).await),
                false => None,
            },
            () = lost => {
                if blocking {
                    (&mut run.future).await;
                }
                None
            }
        }
    }

    async fn halted(&self) {
        raised(&mut self.halt.clone()).await;
    }

    async fn send(&self, ended: Vec<AttemptEnd>) {
        if !ended.is_empty() && self.finisher.send(ended).await.is_err() {
            tracing::error!("the finisher is gone");
        }
    }
}

impl ActiveAttempt {
    fn end(self, outcome: Outcome, now: Instant) -> AttemptEnd {
        let follow = self.attempt.take_pushed(&outcome);
        AttemptEnd { outcome: Some(outcome), follow, ..AttemptEnd::given_up(self.lease, self.started, now) }
    }

    fn give_up(self, now: Instant) -> AttemptEnd {
        AttemptEnd::given_up(self.lease, self.started, now)
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

fn timed_out(timeout: Duration) -> Outcome {
    let after = humantime::format_duration(timeout);
    Outcome::failed(format!("The attempt took longer than its timeout of {after}."), Retry::Backoff)
}

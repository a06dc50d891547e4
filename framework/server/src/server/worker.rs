//! Runs the tasks: the worker pools, with the finisher and the notifier behind them.

mod leases;
mod pool;

use std::sync::Arc;
use std::time::Duration;

use framework_protocol::task::AttemptContext;
use futures_util::future::join_all;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use self::leases::Leases;
use self::pool::{PoolContext, WorkerPool};
use super::events::DynEvents;
use super::metrics::Metrics;
use super::notifier::ReplyTargets;
use super::runtime::ThreadPool;
use super::{finisher, notifier};
use crate::store::Store;

/// The number of batches that may wait between two stages.
const CHANNEL_CAPACITY: usize = 256;
/// The time that aborted attempts and the last callbacks have to end, beyond any deadline.
const ABORT_TIMEOUT: Duration = Duration::from_secs(2);

/// The parts of a server that attempts are run with.
pub(super) struct WorkerResources {
    pub(super) store: Arc<dyn Store>,
    pub(super) events: Arc<dyn DynEvents>,
    pub(super) attempts: Arc<AttemptContext>,
    /// The duration of a lease.
    pub(super) lease: Duration,
}

/// The stages behind the intake: worker pools, finisher and notifier, on the threads that run tasks.
pub(super) struct Workers {
    runtime: ThreadPool,
    pools: Vec<Arc<WorkerPool>>,
    /// Raised or dropped: no further task begins.
    pause: watch::Sender<bool>,
    abort: watch::Sender<bool>,
    pullers: Vec<JoinHandle<()>>,
    /// An aborted attempt goes on all the same, as a blocking one may.
    is_stuck: bool,
    notifier: JoinHandle<()>,
    /// The finisher and the renewal of leases.
    background: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Spawns all stages; no task begins before [`Workers::resume`].
    pub(super) fn spawn(
        runtime: ThreadPool,
        resources: WorkerResources,
        metrics: &Arc<Metrics>,
        replies: ReplyTargets,
    ) -> Self {
        let WorkerResources { store, events, attempts, lease } = resources;
        let (pause, _) = watch::channel(true);
        let (abort, aborted) = watch::channel(false);
        let (to_finisher, from_workers) = mpsc::channel(CHANNEL_CAPACITY);
        let (to_notifier, from_finisher) = mpsc::channel(CHANNEL_CAPACITY);
        let notifier = runtime.spawn(notifier::run(events.clone(), replies, from_finisher));
        let handlers = attempts.handlers.clone();
        let finisher = finisher::run(store.clone(), handlers, metrics.clone(), from_workers, to_notifier);
        let leases = Arc::new(Leases::new(store.clone()));
        let background = vec![runtime.spawn(finisher), runtime.spawn(leases.clone().run(lease))];
        let finisher = to_finisher;
        let shared =
            Arc::new(PoolContext { store, events, attempts, leases, lease, finisher, abort: aborted });
        let groups = metrics.groups.iter().enumerate();
        let pools = groups.map(|(group, stats)| WorkerPool::new(shared.clone(), group, stats));
        let pools = pools.map(Arc::new).collect();
        Self { runtime, pools, pause, abort, pullers: Vec::new(), is_stuck: false, notifier, background }
    }

    /// Lets tasks begin: starts the pullers of each group, one for each thread as far as there are workers.
    pub(super) fn resume(&mut self) {
        let (pause, paused) = watch::channel(false);
        self.pause = pause;
        self.abort.send_replace(false);
        for pool in &self.pools {
            for _ in 0..self.runtime.threads().min(pool.count()) {
                self.pullers.push(self.runtime.spawn(pool.clone().run_puller(paused.clone())));
            }
        }
    }

    /// Lets no further task begin, and waits for the running attempts; `false` if some have not ended by
    /// `deadline`.
    pub(super) async fn pause(&mut self, deadline: Instant) -> bool {
        self.pause.send_replace(true);
        self.wait_idle(deadline).await
    }

    /// Aborts the running attempts; their tasks run again later.
    pub(super) async fn abort_running(&mut self) {
        self.abort.send_replace(true);
        self.is_stuck = !self.pause(Instant::now() + ABORT_TIMEOUT).await;
        if self.is_stuck {
            tracing::warn!("a blocking task is still running although it was aborted");
        }
    }

    /// Waits until the store has no more tasks to run, aborts those that still run at `deadline`, and
    /// finishes the later stages.
    pub(super) async fn drain(&mut self, deadline: Instant) {
        if !self.wait_idle(deadline).await {
            tracing::warn!("the grace period is over; running tasks are aborted");
            self.abort_running().await;
        }
        self.finish(deadline).await;
    }

    /// Lets the later stages end, each when the one before it has ended and its inbox is empty.
    pub(super) async fn finish(&mut self, deadline: Instant) {
        self.pools.clear();
        let deadline = deadline.max(Instant::now() + ABORT_TIMEOUT);
        if timeout_at(deadline, &mut self.notifier).await.is_err() {
            tracing::warn!("callbacks of ended tasks are still running and are abandoned");
        }
    }

    /// Stops what runs beside the stages, once these have finished.
    pub(super) async fn abort_background(&mut self) {
        for task in &mut self.background {
            task.abort();
            let _ = task.await;
        }
    }

    /// `true` if an aborted attempt goes on all the same.
    pub(super) fn is_stuck(&self) -> bool {
        self.is_stuck
    }

    /// Waits until the pullers have ended, as they do when the store is closed and has nothing left; `false`
    /// if some have not by `deadline`.
    async fn wait_idle(&mut self, deadline: Instant) -> bool {
        // An earlier wait may have seen the end of some of them, which must not be awaited twice.
        self.pullers.retain(|puller| !puller.is_finished());
        timeout_at(deadline, join_all(&mut self.pullers)).await.is_ok()
    }
}

//! Runs the tasks: the worker pools and the workers outside of this process, with the finisher and the
//! notifier behind them.

pub(super) mod held;
pub(super) mod isolated;
mod pool;
mod program_status;
pub(super) mod programs;
pub(super) mod remote;
pub(super) mod runner;
mod store_source;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use framework_protocol::task::{AttemptContext, Outcome, Retry};
use futures_util::future::join_all;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use self::held::HeldTasks;
use self::isolated::{ChildConnection, ChildPool, IsolatedOptions, IsolatedWorkers};
use self::pool::{PoolContext, WorkerPool};
use self::programs::{ProgramList, WorkerPrograms};
use self::remote::{RemoteLimits, RemoteResources, RemoteWorkers};
use self::store_source::StoreSource;
use super::events::DynEvents;
use super::finisher::FinishRules;
use super::leases::Leases;
use super::metrics::Metrics;
use super::notifier::ReplyTargets;
use super::progress_listeners::running;
use super::runtime::ThreadPool;
use super::{finisher, notifier};
use crate::rules::RetryLimits;
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
    pub(super) retries: RetryLimits,
    pub(super) remote: RemoteLimits,
    /// The functions whose tasks clients of other systems' protocols take.
    pub(super) foreign: Arc<[Arc<str>]>,
    pub(super) programs: WorkerPrograms,
    pub(super) isolated: IsolatedOptions,
    /// To where the connections of child processes are served.
    pub(super) connections: mpsc::Sender<ChildConnection>,
}

/// The stages behind the intake: worker pools, finisher and notifier, on the threads that run tasks.
pub(super) struct Workers {
    runtime: ThreadPool,
    /// Handlers may hold all threads of tasks for any time, and their leases are renewed all the same.
    _lease_runtime: ThreadPool,
    store: Arc<dyn Store>,
    pools: Vec<Arc<WorkerPool>>,
    remote: Arc<RemoteWorkers>,
    held: Arc<HeldTasks>,
    programs: WorkerPrograms,
    isolated: IsolatedWorkers,
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
    ///
    /// # Errors
    /// The system refuses to start a thread.
    pub(super) fn spawn(
        runtime: ThreadPool,
        resources: WorkerResources,
        metrics: &Arc<Metrics>,
        replies: ReplyTargets,
    ) -> Result<Self> {
        let WorkerResources {
            store,
            events,
            attempts,
            lease,
            retries,
            remote: limits,
            foreign,
            programs,
            isolated,
            connections,
        } = resources;
        let (pause, _) = watch::channel(true);
        let (abort, aborted) = watch::channel(false);
        let (to_finisher, from_workers) = mpsc::channel(CHANNEL_CAPACITY);
        let (to_notifier, from_finisher) = mpsc::channel(CHANNEL_CAPACITY);
        let notifier = runtime.spawn(notifier::run(events.clone(), replies, from_finisher));
        let rules = FinishRules { retries, handlers: attempts.handlers.clone() };
        let finisher = finisher::run(store.clone(), rules, metrics.clone(), from_workers, to_notifier);
        let leases = Arc::new(Leases::new(store.clone()));
        let lease_runtime = ThreadPool::new("lease", 1, 0)?;
        let held = HeldTasks::new(store.clone(), leases.clone(), foreign, to_finisher.clone());
        let held = Arc::new(held);
        let remote = RemoteResources {
            store: store.clone(),
            handlers: attempts.handlers.clone(),
            sink: attempts.sink.clone(),
            leases: leases.clone(),
            hits: metrics.limits.clone(),
            limits,
            others: held.scope(),
        };
        let remote = Arc::new(RemoteWorkers::new(remote, to_finisher.clone()));
        let isolated = IsolatedWorkers::new(isolated, remote.clone(), connections)?;
        let background = vec![
            runtime.spawn(finisher),
            lease_runtime.spawn(leases.clone().run(lease)),
            lease_runtime.spawn(remote.clone().run()),
            lease_runtime.spawn(held.clone().run()),
        ];
        let finisher = to_finisher;
        let source = Arc::new(StoreSource { store: store.clone(), leases });
        let shared = PoolContext { source, events, attempts, finisher, abort: aborted };
        let shared = Arc::new(shared);
        let groups = metrics.groups.iter().enumerate();
        let pools = groups.map(|(group, stats)| WorkerPool::new(shared.clone(), group, stats));
        let pools = pools.map(Arc::new).collect();
        let (pullers, is_stuck) = (Vec::new(), false);
        Ok(Self {
            runtime,
            _lease_runtime: lease_runtime,
            store,
            pools,
            remote,
            held,
            programs,
            isolated,
            pause,
            abort,
            pullers,
            is_stuck,
            notifier,
            background,
        })
    }

    /// Lets tasks begin: starts the pullers of each group, one for each thread as far as there are workers.
    pub(super) fn resume(&mut self) {
        let (pause, paused) = watch::channel(false);
        self.pause = pause;
        self.abort.send_replace(false);
        self.remote.resume();
        self.held.resume();
        self.programs.start();
        self.isolated.start();
        for pool in &self.pools {
            for _ in 0..self.runtime.threads().min(pool.count()) {
                self.pullers.push(self.runtime.spawn(pool.clone().run_puller(paused.clone())));
            }
        }
    }

    /// Lets no further task begin, and waits for the running attempts, apart from those that the next process
    /// inherits; `false` if some have not ended by `deadline`.
    pub(super) async fn pause(&mut self, deadline: Instant) -> bool {
        self.pause.send_replace(true);
        self.remote.pause();
        self.held.pause();
        self.wait_idle(deadline, true).await
    }

    /// Aborts the running attempts, whose tasks run again later; with `spares`, apart from those that the
    /// next process inherits.
    pub(super) async fn abort_running(&mut self, spares: bool) {
        self.abort.send_replace(true);
        self.remote.abort_running(spares);
        self.held.abort_running();
        self.is_stuck = !self.pause(Instant::now() + ABORT_TIMEOUT).await;
        if self.is_stuck {
            let running = self.describe_running().await;
            tracing::warn!(
                running,
                "some tasks go on although they were aborted, as a handler may that blocks or never waits; they end \
                 with the process, and run again after the next start"
            );
        }
    }

    /// Waits until the store has no more tasks to run, aborts those that still run at `deadline`, and
    /// finishes the later stages.
    pub(super) async fn drain(&mut self, deadline: Instant) {
        self.remote.drain_children("shutdown");
        self.held.pause();
        if !self.wait_idle(deadline, false).await {
            let running = self.describe_running().await;
            tracing::warn!(running, "the grace period is over; running tasks are aborted");
            self.abort_running(false).await;
        }
        self.finish(deadline).await;
    }

    /// Lets the later stages end, each when the one before it has ended and its inbox is empty.
    pub(super) async fn finish(&mut self, deadline: Instant) {
        self.pools.clear();
        let deadline = deadline.max(Instant::now() + ABORT_TIMEOUT);
        self.stop_processes(deadline).await;
        self.remote.close();
        self.held.close();
        if timeout_at(deadline, &mut self.notifier).await.is_err() {
            tracing::warn!("callbacks of ended tasks are still running and are abandoned");
        }
    }

    /// Stops what runs beside the stages, once these have finished. A task that no thread is free for any
    /// more ends with the process.
    pub(super) async fn abort_background(&mut self) {
        self.background.iter().for_each(JoinHandle::abort);
        let _ = timeout(ABORT_TIMEOUT, join_all(&mut self.background)).await;
    }

    /// The running tasks for the log, as far as the store says within [`ABORT_TIMEOUT`].
    async fn describe_running(&self) -> String {
        let running = timeout(ABORT_TIMEOUT, running(&self.store)).await.unwrap_or_default();
        let counts = running.iter().map(|(function, count)| format!("{count} of {function}"));
        counts.collect::<Vec<_>>().join(", ")
    }

    /// The workers outside of this process.
    pub(super) fn remote(&self) -> Arc<RemoteWorkers> {
        self.remote.clone()
    }

    /// The tasks that clients of other systems' protocols hold.
    pub(super) fn held(&self) -> Arc<HeldTasks> {
        self.held.clone()
    }

    /// The programs that are workers, with what became of them.
    pub(super) fn programs(&self) -> ProgramList {
        self.programs.list()
    }

    /// What reports on the child processes.
    pub(super) fn isolated(&self) -> Arc<ChildPool> {
        self.isolated.pool()
    }

    /// Asks the programs and the child processes to end, which run no task any more, and kills those that
    /// take longer than [`ABORT_TIMEOUT`]: until then nobody serves.
    pub(super) async fn replace_programs(&mut self) {
        self.stop_processes(Instant::now() + ABORT_TIMEOUT).await;
    }

    async fn stop_processes(&mut self, deadline: Instant) {
        tokio::join!(self.programs.stop(deadline), self.isolated.stop(deadline));
    }

    /// `true` if an aborted attempt goes on all the same.
    pub(super) fn is_stuck(&self) -> bool {
        self.is_stuck
    }

    /// Waits until the pullers have ended, as they do when the store is closed and has nothing left; `false`
    /// if some have not by `deadline`.
    async fn wait_idle(&mut self, deadline: Instant, spares: bool) -> bool {
        // An earlier wait may have seen the end of some of them, which must not be awaited twice.
        self.pullers.retain(|puller| !puller.is_finished());
        let local = join_all(&mut self.pullers);
        let others = async { tokio::join!(local, self.remote.wait_idle(spares), self.held.wait_idle()) };
        timeout_at(deadline, others).await.is_ok()
    }
}

/// The outcome of an attempt that took longer than its timeout.
fn timed_out(timeout: Duration) -> Outcome {
    let after = humantime::format_duration(timeout);
    Outcome::failed(format!("The attempt took longer than its timeout of {after}."), Retry::Backoff)
}

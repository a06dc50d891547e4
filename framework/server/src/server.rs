//! The asynchronous task server: a house of rooms through which data walks one way.
//!
//! ```text
//! listener ─ session ─ queue ─ worker ─ finisher ─ notifier ─ on_finish / waiting client
//!  socket    request    task    attempt  outcome    finished
//!           (protocol) (store)           (store)
//! ```
//!
//! The scheduler stands beside the sessions, and makes tasks when the clock says so.
//!
//! Every room hands batches to the next and never calls back; this module alone knows them all. I/O and tasks
//! run on threads of their own, so that a handler which burns CPU delays no acknowledgement.

mod access;
mod subscriptions;
mod connection;
mod policy;
mod shutdown;
mod events;
mod finisher;
mod inherited_sockets;
mod handover;
mod listener;
mod notifier;
mod outbox;
mod peer;
mod runtime;
mod intake;
mod poll;
mod reload;
mod handle;
mod connections;
mod scheduler;
mod session;
mod settings;
mod status;
mod stream;
mod waiters;
mod reloadable;
mod progress_listeners;
mod worker;

use std::sync::Arc;

pub use access::Scope;
use anyhow::{Context, Result};
pub use connection::Connection;
pub use events::{ConsoleEvents, DynEvents, Events, Finished, events_of};
use framework_console::config::Config;
use framework_console::log::log_panics;
use framework_protocol::task::{AttemptContext, Handlers};
use framework_protocol::views::Threads;
pub use handle::{DrainingServer, PreparedHandover, ServerHandle, ShutdownReport};
use handle::{ReplyTargets, WorkerRuntime};
pub use handover::Handover;
pub use inherited_sockets::InheritedSocket;
use inherited_sockets::InheritedSockets;
use intake::Intake;
pub use listener::AlreadyRunning;
use listener::{BoundListener, Listener};
pub use peer::Peer;
pub use reload::ReloadControl;
use runtime::ThreadPool;
use scheduler::Scheduler;
use session::SessionContext;
pub use settings::{ListenerSettings, QueueRate, ServerSettings};
use shutdown::ShutdownControl;
use status::{Metrics, WorkerGroupStats};
pub use subscriptions::PendingWaiter;
use tokio::sync::{mpsc, watch};
use worker::{Leases, WorkerPool};

use crate::schedule::Schedules;
use crate::store::{Clock, Store};

/// How many batches may lie between two rooms.
const CHANNEL_CAPACITY: usize = 256;

/// What a server is made of.
pub struct Server {
    pub config: Config,
    pub settings: ServerSettings,
    pub handlers: Arc<Handlers>,
    pub events: Arc<dyn DynEvents>,
    pub store: Arc<dyn Store>,
}

impl Server {
    /// Opens the doors: listens, runs tasks, and has called `on_start` when this returns.
    ///
    /// # Errors
    /// When an address cannot be listened on, a file of the settings cannot be used, threads cannot be started,
    /// or `on_start` fails.
    pub async fn start(self) -> Result<ServerHandle> {
        self.start_from(Handover::default()).await
    }

    /// As [`Server::start`], with what a server before this one or a service manager has handed over.
    ///
    /// # Errors
    /// As there, and when a socket of a service manager is none that the settings name.
    pub async fn start_from(self, handover: Handover) -> Result<ServerHandle> {
        log_panics();
        status::raise_limit(self.settings.max_connection);
        let schedules = check(&self.settings, &self.config, &self.handlers)?;
        let groups = self.worker_group_stats();
        let io = ThreadPool::new("io", self.settings.worker_num, 0)?;
        let blocking = groups.iter().map(|group| group.count).sum();
        let tasks = ThreadPool::new("task", self.settings.task_threads, blocking)?;
        let threads = Threads { io: self.settings.worker_num, task: self.settings.task_threads };
        let metrics = Arc::new(Metrics::new(self.store.clone(), groups, threads));
        // Within the pool, whose reactor the sockets belong to from now on.
        let (limits, given) = (metrics.limits.clone(), InheritedSockets::from(handover.sockets));
        let opening = listener::open(self.settings.clone(), self.config.clone(), limits, given);
        let bound = io.spawn(opening).await??;
        let default_function = self.settings.default_function.clone();
        let queue = Intake::new(self.store.clone(), self.handlers.clone(), default_function, metrics.clone());
        let scheduler =
            Scheduler::open(schedules, queue.clone(), self.store.clone(), Clock::machine()).await?;
        self.events.start().await.context("on_start")?;

        let work = self.spawn_workers(&tasks, &metrics);
        let mut telling = None;
        if let Some(line) = handover.line {
            let (subscriptions, awaited) = (work.hearing.subscriptions.clone(), handover.awaited);
            // Within the pool, as above, and before any task begins.
            let seated = io.spawn(async move { handover::seat(&subscriptions, &awaited, line) }).await??;
            telling = Some(io.spawn(seated));
        }
        let running = self.spawn_listener(bound, [io, tasks], queue, Arc::new(scheduler), metrics, work);
        Ok(ServerHandle { telling, ..running })
    }

    fn worker_group_stats(&self) -> Vec<WorkerGroupStats> {
        let lines = self.settings.lines();
        lines.iter().map(|(line, count)| WorkerGroupStats::new(settings::name(line), *count)).collect()
    }

    /// Opens the rooms behind the queue: workers, finisher and notifier.
    fn spawn_workers(&self, tasks: &ThreadPool, metrics: &Arc<Metrics>) -> WorkerRuntime {
        let (halt, halted) = watch::channel(false);
        let (to_finisher, from_workers) = mpsc::channel(CHANNEL_CAPACITY);
        let (to_notifier, from_finisher) = mpsc::channel(CHANNEL_CAPACITY);
        let hearing = ReplyTargets::new(&self.store);
        let ReplyTargets { waiters, subscriptions } = &hearing;
        let (events, config, handlers) = (self.events.clone(), self.config.clone(), self.handlers.clone());
        let notifier = notifier::run(events.clone(), waiters.clone(), subscriptions.clone(), from_finisher);
        let finisher = finisher::run(self.store.clone(), metrics.clone(), from_workers, to_notifier);
        let context = Arc::new(AttemptContext { config, handlers, sink: subscriptions.clone() });
        let leases = Arc::new(Leases::new(self.store.clone()));
        let lease = self.settings.policy().lease;
        let beside = vec![tasks.spawn(finisher), tasks.spawn(leases.clone().keep(lease))];
        let pools = metrics.groups.iter().enumerate().map(|(line, group)| WorkerPool {
            store: self.store.clone(),
            events: events.clone(),
            context: context.clone(),
            line,
            count: group.count,
            workers: group.free.clone(),
            leases: leases.clone(),
            lease,
            finisher: to_finisher.clone(),
            halt: halted.clone(),
        });
        let pools = pools.map(Arc::new).collect();
        WorkerRuntime::new(pools, self.settings.task_threads, halt, tasks.spawn(notifier), beside, hearing)
    }

    /// Opens the rooms before it: the sessions, and the listener that owns them.
    fn spawn_listener(
        self,
        bound: Vec<BoundListener>,
        [io, tasks]: [ThreadPool; 2],
        queue: Intake,
        scheduler: Arc<Scheduler>,
        metrics: Arc<Metrics>,
        mut work: WorkerRuntime,
    ) -> ServerHandle {
        let (stop, stopped) = watch::channel(false);
        let (guard, reading) = mpsc::channel(1);
        let sockets = bound.iter().map(|listener| listener.socket.clone()).collect();
        let policies: Vec<_> = bound.iter().map(|listener| listener.policy.clone()).collect();
        let addresses: Vec<_> = policies.iter().map(|policy| policy.describe()).collect();
        let max_wait_time = self.settings.max_wait_time;
        work.add_background([
            io.spawn(metrics.clone().sample()),
            io.spawn(queue.clone().run_wakeups()),
            io.spawn(work.hearing.subscriptions.batches.clone().run()),
            io.spawn(scheduler.clone().run(stopped.clone(), guard.clone())),
        ]);
        let ending = Arc::new(ShutdownControl::new(self.store.clone(), max_wait_time));
        let reload = Arc::new(ReloadControl::new(self.store.clone(), max_wait_time));
        let context = Arc::new(SessionContext {
            ending: ending.clone(),
            reload: reload.clone(),
            settings: self.settings,
            events: self.events,
            queue: queue.clone(),
            scheduler,
            waiters: work.hearing.waiters.clone(),
            subscriptions: work.hearing.subscriptions.clone(),
            metrics,
            addresses: addresses.clone(),
        });
        let listener = io.spawn(Listener { context, stop: stopped, reading: guard }.run(bound));
        work.resume(&tasks);
        ServerHandle {
            pools: [io, tasks],
            addresses,
            sockets,
            policies,
            max_wait_time,
            store: self.store,
            queue,
            stop,
            reading,
            listener,
            work,
            telling: None,
            ending,
            reload_control: reload,
        }
    }
}

/// Whether settings, schedules, tokens and certificates fit each other and the handlers, without starting anything.
///
/// # Errors
/// What does not fit, and where it stands.
pub fn check_start(settings: &ServerSettings, config: &Config, handlers: &Arc<Handlers>) -> Result<()> {
    check(settings, config, handlers)?;
    listener::check(settings, config)
}

fn check(settings: &ServerSettings, config: &Config, handlers: &Arc<Handlers>) -> Result<Schedules> {
    settings.check_queues(handlers).context("config/server.toml")?;
    if let Some(name) = &settings.default_function {
        handlers.find(name).context("default_function in config/server.toml")?;
    }
    Schedules::collect(config, handlers)
}

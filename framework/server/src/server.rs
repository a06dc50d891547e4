//! The asynchronous task server: stages through which data walks one way.
//!
//! ```text
//! listener -> session -> intake -> store -> worker -> finisher -> notifier -> on_finish / waiting client
//!  socket     request     task     durable   attempt   outcome     finished
//! ```
//!
//! The scheduler stands beside the sessions, and makes tasks at the times of its schedules.
//!
//! Every stage sends batches to the next and never calls back; this module, the handle and the takeover alone
//! know them all. I/O (`frontend`) and tasks (`worker`) run on separate threads, so that a handler which
//! burns CPU delays no acknowledgement.

mod access;
mod caught;
mod connection;
mod connections;
mod context;
mod control;
mod events;
mod finisher;
mod frontend;
mod handle;
mod history;
mod http;
mod intake;
mod leases;
mod listener;
mod metrics;
mod notifier;
mod outbox;
mod pages;
mod peer;
mod poll;
mod progress_listeners;
mod reloadable;
mod runtime;
mod scheduler;
mod service;
mod session;
mod settings;
mod shutdown;
mod status;
mod stream;
mod subscriptions;
mod takeover;
mod testing;
mod verbs;
mod waiters;
mod websocket;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use access::Scope;
use anyhow::{Context, Result};
pub use connection::Connection;
use context::SessionContext;
use control::Control;
pub use events::{ConsoleEvents, DynEvents, Events, Finished, events_of};
use framework_console::config::Config;
use framework_console::log::log_panics;
use framework_protocol::task::{AttemptContext, Handlers};
use framework_protocol::views::{FunctionRecord, Threads};
use frontend::Frontend;
pub use handle::{ServerHandle, ShutdownReport};
use intake::Intake;
pub use listener::AlreadyRunning;
use listener::BoundListener;
pub use metrics::needed_files;
use metrics::{Metrics, WorkerGroupStats};
use notifier::ReplyTargets;
pub use pages::{PageBody, PageFields, PageRequest, PageResponse, PageServer, Pages};
pub use peer::Peer;
use runtime::ThreadPool;
use scheduler::Scheduler;
use service::{Service, VerbTable};
use session::foreign;
pub use session::foreign::{
    ForeignConnection, ForeignEntry, ForeignProtocol, ForeignTasks, Input, Waited, foreign_protocol,
};
pub use settings::{ListenerSettings, QueueRate, RetentionTime, ServerSettings};
pub use takeover::control::ReloadControl;
use takeover::relay::import_waiters;
pub use takeover::sockets::InheritedSocket;
use takeover::sockets::InheritedSockets;
pub use takeover::{DrainingServer, Handover, PendingWaiter, PreparedHandover};
pub use testing::{TestServer, TestServerBuilder};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
pub use worker::held::{HeldEnd, HeldInfo, ReservedTask};
use worker::isolated::{ChildConnection, IsolatedOptions};
use worker::programs::{self, WorkerPrograms};
use worker::remote::{KeptFunctions, RemoteLimits};
pub use worker::runner::HandlerRunner;
use worker::{WorkerResources, Workers};

use crate::schedule::Schedules;
use crate::store::{Clock, Store};

/// The number of connections of child processes that may wait to be served.
const CONNECTIONS_WAITING: usize = 16;

/// The parts of a server that is to be started.
pub struct Server {
    pub config: Config,
    pub settings: ServerSettings,
    pub handlers: Arc<Handlers>,
    pub events: Arc<dyn DynEvents>,
    pub store: Arc<dyn Store>,
    /// The pages for people; `None` for a server without.
    pub pages: Option<Arc<dyn Pages>>,
}

impl Server {
    /// Starts the server: it listens, runs tasks, and has called `on_start` when this returns.
    ///
    /// # Errors
    /// An address cannot be listened on, a file of the settings cannot be used, threads cannot be started,
    /// or `on_start` fails.
    pub async fn start(self) -> Result<ServerHandle> {
        self.start_from(Handover::default()).await
    }

    /// As [`Server::start`], with what an old process or a service manager has handed over.
    ///
    /// # Errors
    /// As there, and when the settings name no listener for a socket of the service manager.
    pub async fn start_from(mut self, handover: Handover) -> Result<ServerHandle> {
        log_panics();
        self.settings.max_connection = metrics::raise_limit(self.settings.max_connection);
        let kept = KeptFunctions::read(&*self.store, &self.handlers).await;
        let CheckedStart { schedules, unknown, foreign } =
            check(&self.settings, &self.config, &self.handlers)?;
        unknown.iter().for_each(|unknown| tracing::warn!("{unknown}"));
        let Handover { sockets, awaited, line } = handover;
        let programs = WorkerPrograms::new(&self.settings, &self.config)?;
        let metrics = self.metrics();
        let blocking = metrics.groups.iter().map(|group| group.count).sum();
        let io = ThreadPool::new("io", self.settings.worker_num, 0)?;
        let tasks = ThreadPool::new("task", self.settings.task_threads, blocking)?;
        let listeners = self.bind(&io, &metrics, sockets).await?;
        let intake = Intake::new(self.store.clone(), self.handlers.clone(), &self.settings, metrics.clone());
        let scheduler =
            Scheduler::open(schedules, intake.clone(), self.store.clone(), Clock::machine()).await?;
        self.events.start().await.context("on_start")?;

        let replies = ReplyTargets::new(&self.store);
        let relay = match line {
            Some(stream) => Some(relay(&io, &replies, awaited, stream).await?),
            None => None,
        };
        let (connections, children) = mpsc::channel(CONNECTIONS_WAITING);
        let resources = self.resources(&replies, foreign, programs, connections);
        let mut workers = Workers::spawn(tasks, resources, &metrics, replies.clone())?;
        let remote = workers.remote();
        remote.restore(kept).await;
        let control = Control::new(&self.store, self.settings.max_wait_time);
        let service = Service {
            verbs: VerbTable::new(verbs::ALL),
            intake,
            remote,
            held: workers.held(),
            programs: workers.programs(),
            isolated: workers.isolated(),
            store: self.store.clone(),
            waiters: replies.waiters.clone(),
            subscriptions: replies.subscriptions.clone(),
            scheduler: Arc::new(scheduler),
            metrics: metrics.clone(),
            control: control.clone(),
            root: resolved(self.config.root()),
            addresses: listeners.iter().map(|listener| listener.policy.describe()).collect(),
        };
        let context =
            SessionContext::new(&self.settings, self.events, metrics, Arc::new(service), self.pages);
        let frontend = Frontend::spawn(io, listeners, children, context, relay);
        workers.resume();
        Ok(ServerHandle { frontend, workers, replies, control, store: self.store })
    }

    fn metrics(&self) -> Arc<Metrics> {
        let groups = self.settings.worker_groups();
        let groups = groups
            .iter()
            .map(|(group, count)| WorkerGroupStats::new(settings::name(group), *count))
            .collect();
        let threads = Threads { io: self.settings.worker_num, task: self.settings.task_threads };
        Arc::new(Metrics::new(self.store.clone(), groups, threads))
    }

    /// Binds the listeners within the I/O runtime, whose reactor the sockets belong to from then on.
    async fn bind(
        &self,
        io: &ThreadPool,
        metrics: &Metrics,
        sockets: Vec<InheritedSocket>,
    ) -> Result<Vec<BoundListener>> {
        let (settings, config) = (self.settings.clone(), self.config.clone());
        io.spawn(listener::open(settings, config, metrics.limits.clone(), InheritedSockets::from(sockets)))
            .await?
    }

    fn resources(
        &self,
        replies: &ReplyTargets,
        foreign: Arc<[Arc<str>]>,
        programs: WorkerPrograms,
        connections: mpsc::Sender<ChildConnection>,
    ) -> WorkerResources {
        let (config, handlers) = (self.config.clone(), self.handlers.clone());
        let sink = replies.subscriptions.clone();
        WorkerResources {
            store: self.store.clone(),
            events: self.events.clone(),
            attempts: Arc::new(AttemptContext { config, handlers, sink }),
            lease: self.settings.policy().lease,
            retries: self.settings.retry_limits(),
            remote: RemoteLimits::new(&self.settings, &self.handlers),
            foreign,
            programs,
            isolated: IsolatedOptions::new(&self.settings, &self.config, &self.handlers),
            connections,
        }
    }
}

/// The path without symbolic links.
fn resolved(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Subscribes to the tasks that clients of an old process wait for, within the I/O runtime, and reports their
/// ends.
async fn relay(
    io: &ThreadPool,
    replies: &ReplyTargets,
    awaited: Vec<PendingWaiter>,
    stream: std::os::unix::net::UnixStream,
) -> Result<JoinHandle<()>> {
    let subscriptions = replies.subscriptions.clone();
    let report = io.spawn(async move { import_waiters(&subscriptions, &awaited, stream) }).await??;
    Ok(io.spawn(report))
}

/// Checks that settings, schedules, tokens and certificates fit each other and the handlers, without starting
/// anything.
///
/// # Errors
/// The first one that does not fit, with its place.
pub fn check_start(settings: &ServerSettings, config: &Config, handlers: &Arc<Handlers>) -> Result<()> {
    check(settings, config, handlers)?;
    programs::check(settings, config)?;
    listener::check(settings, config)
}

/// Makes the functions known that workers have registered, as the file of a queue has them. A server does so
/// when it starts.
pub fn register_kept(kept: Vec<FunctionRecord>, handlers: &Handlers) {
    KeptFunctions::register(kept, handlers);
}

/// Makes the functions known whose tasks are those of other systems' protocols that listeners speak, and
/// returns their names. A server does so when it starts.
///
/// # Errors
/// This program does not contain one of the protocols.
pub fn register_protocols(settings: &ServerSettings, handlers: &Handlers) -> Result<Arc<[Arc<str>]>> {
    let functions = foreign::functions(settings).context("config/server.toml")?;
    let names = functions.iter().map(|function| function.name.as_str().into()).collect();
    KeptFunctions::register_foreign(functions, handlers)?;
    Ok(names)
}

/// Settings that fit each other and the functions.
struct CheckedStart {
    schedules: Schedules,
    /// A sentence for each name in the settings that nobody knows yet: a worker may register it.
    unknown: Vec<String>,
    /// The functions whose tasks are those of other systems' protocols.
    foreign: Arc<[Arc<str>]>,
}

fn check(settings: &ServerSettings, config: &Config, handlers: &Handlers) -> Result<CheckedStart> {
    let foreign = register_protocols(settings, handlers)?;
    let mut unknown = settings.check_queues(handlers).context("config/server.toml")?;
    unknown.extend(settings.check_functions(handlers).context("config/server.toml")?);
    settings.check_isolated_functions(handlers).context("config/server.toml")?;
    let schedules = Schedules::collect(config, handlers)?;
    unknown.extend(schedules.unknown().iter().cloned());
    Ok(CheckedStart { schedules, unknown, foreign })
}

//! The asynchronous task server: a house of rooms through which data walks one way.
//!
//! ```text
//! listener ─ session ─ queue ─ worker ─ finisher ─ notifier ─ on_finish / waiting client
//!  socket    request    task    attempt  outcome    finished
//!           (protocol) (store)           (store)
//! ```
//!
//! Every room hands batches to the next and never calls back; this module alone knows them all. I/O and tasks
//! run on threads of their own, so that a handler which burns CPU delays no acknowledgement.

mod connection;
mod events;
mod finisher;
mod listener;
mod notifier;
mod outbox;
mod queue;
mod ready;
mod session;
pub mod settings;
mod status;
mod waiters;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

pub use connection::Connection;
pub use events::{AnyEvents, Events, Finished};
pub use settings::ServerSettings;
pub use status::{Connections, Percentiles, Rates, Status, Threads, Workers};

use crate::config::Config;
use crate::store::Store;
use crate::task::{Handlers, remember_panics};
use listener::Listener;
use queue::Queue;
use session::Hall;
use status::Board;
use waiters::Waiters;
use worker::Crew;

/// How many batches may lie between two rooms.
const DOOR: usize = 256;
/// How long a stop waits for what cannot take long once the tasks are over.
const GRACE: Duration = Duration::from_secs(2);

/// What a server is made of.
pub struct Server {
    pub config: Config,
    pub settings: ServerSettings,
    pub handlers: Handlers,
    pub events: Arc<dyn AnyEvents>,
    pub store: Arc<dyn Store>,
}

/// A server that runs. Dropping it ends it at once, whatever is under way; [`Running::stop`] ends it properly.
pub struct Running {
    io: Pool,
    tasks: Pool,
    addresses: Vec<SocketAddr>,
    max_wait_time: Duration,
    store: Arc<dyn Store>,
    queue: Queue,
    stop: watch::Sender<bool>,
    halt: watch::Sender<bool>,
    reading: mpsc::Receiver<()>,
    listener: JoinHandle<()>,
    pullers: Vec<JoinHandle<()>>,
    notifier: JoinHandle<()>,
}

/// What was left when a server had stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Tasks that wait, or whose attempt was given up.
    pub left: u64,
    /// Whether these will be run after the next start.
    pub kept: bool,
}

impl Server {
    /// Opens the doors: listens, runs tasks, and has called `on_start` when this returns.
    ///
    /// # Errors
    /// When the address cannot be listened on, threads cannot be started, or `on_start` fails.
    pub async fn start(self) -> Result<Running> {
        remember_panics();
        let Self { config, settings, handlers, events, store } = self;
        if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
            tracing::warn!("the limit of open files stays as it is: {error}");
        }
        let io = Pool::new("io", settings.worker_num, 0)?;
        let tasks = Pool::new("task", settings.task_threads, settings.task_worker_num)?;
        // Within the pool, whose reactor the socket belongs to from now on.
        let socket = io.spawn(listen(settings.clone())).await??;
        let addresses = vec![socket.local_addr()?];
        let threads = Threads { io: settings.worker_num, task: settings.task_threads };
        let board = Arc::new(Board::new(store.clone(), settings.task_worker_num, threads));
        let waiters = Arc::new(Waiters::default());
        let default_function = settings.default_function.clone();
        if let Some(name) = &default_function {
            handlers.find(name).context("default_function in config/server.toml")?;
        }
        let queue = Queue::new(store.clone(), Arc::new(handlers), default_function, board.clone());
        events.start().await.context("on_start")?;

        let (halt, halted) = watch::channel(false);
        let (stop, stopped) = watch::channel(false);
        let (guard, reading) = mpsc::channel(1);
        let (to_finisher, from_workers) = mpsc::channel(DOOR);
        let (to_notifier, from_finisher) = mpsc::channel(DOOR);
        let max_wait_time = settings.max_wait_time;

        let notifier = tasks.spawn(notifier::run(events.clone(), waiters.clone(), from_finisher));
        tasks.spawn(finisher::run(store.clone(), board.clone(), from_workers, to_notifier));
        let crew = Arc::new(Crew {
            store: store.clone(),
            events: events.clone(),
            config,
            workers: board.workers(),
            finisher: to_finisher,
            halt: halted,
        });
        let pullers = (0..settings.task_threads).map(|_| tasks.spawn(crew.clone().pull())).collect();
        io.spawn(board.clone().sample());
        io.spawn(queue.clone().ring());
        let hall = Arc::new(Hall {
            settings,
            events,
            queue: queue.clone(),
            waiters,
            board,
            addresses: addresses.iter().map(ToString::to_string).collect(),
        });
        let listener = io.spawn(Listener { socket, hall, stop: stopped, reading: guard }.run());
        Ok(Running {
            io,
            tasks,
            addresses,
            max_wait_time,
            store,
            queue,
            stop,
            halt,
            reading,
            listener,
            pullers,
            notifier,
        })
    }
}

impl Running {
    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Ends the server in the order of the rooms: no new requests, then no new tasks, then the running tasks
    /// finish within `max_wait_time`, then all of it is settled and told, then the connections close.
    ///
    /// A store that does not survive the process has its due tasks run to the end as well, within the same time.
    pub async fn stop(mut self) -> Stopped {
        let deadline = Instant::now() + self.max_wait_time;
        self.stop.send_replace(true);
        if timeout_at(deadline, self.reading.recv()).await.is_err() {
            tracing::warn!("callbacks of connections still run and are given up");
        }
        self.queue.close();
        let mut pullers = futures_util::future::join_all(self.pullers.drain(..));
        if timeout_at(deadline, &mut pullers).await.is_err() {
            tracing::warn!("running tasks are given up after {:?} (max_wait_time)", self.max_wait_time);
            self.halt.send_replace(true);
            if timeout(GRACE, pullers).await.is_err() {
                tracing::warn!("a task does not let go of its thread");
            }
        }
        // Each room ends when the one before it is gone and its inbox is empty.
        let notified = timeout(GRACE.max(deadline - Instant::now()), &mut self.notifier).await;
        let told = timeout(GRACE, &mut self.listener).await;
        if notified.is_err() || told.is_err() {
            tracing::warn!("not every client could be told before the end");
        }
        let ledger = self.store.counts().await.ledger;
        Stopped { left: ledger.waiting + ledger.running, kept: self.store.is_durable() }
    }
}

/// Threads that end with their owner, without waiting for what runs on them.
struct Pool(Option<Runtime>);

impl Pool {
    fn new(name: &'static str, threads: usize, blocking: usize) -> Result<Self> {
        /// Beside the blocking handlers, async ones use blocking threads for files and names.
        const SPARE: usize = 16;
        Builder::new_multi_thread()
            .worker_threads(threads)
            .max_blocking_threads(blocking + SPARE)
            .thread_name(name)
            .enable_all()
            .build()
            .map(|runtime| Self(Some(runtime)))
            .with_context(|| format!("starting {threads} {name} threads"))
    }

    fn runtime(&self) -> &Runtime {
        self.0.as_ref().expect("the runtime is only taken by drop")
    }

    fn spawn<F: Future<Output: Send> + Send + 'static>(&self, future: F) -> JoinHandle<F::Output> {
        self.runtime().spawn(future)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

async fn listen(settings: ServerSettings) -> Result<TcpListener> {
    let (host, port) = (settings.host.as_str(), settings.port);
    let mut found = tokio::net::lookup_host((host, port))
        .await
        .with_context(|| format!("host \"{host}\" in config/server.toml is not an address"))?;
    let address = found.next().with_context(|| format!("host \"{host}\" has no address"))?;
    if !address.ip().is_loopback() && !settings.insecure {
        bail!(
            "{address} can be reached by other machines, and this server asks nobody for a password: \
             listen on 127.0.0.1, or write insecure = true into config/server.toml"
        );
    }
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(settings.backlog)
    };
    bind().with_context(|| format!("cannot listen on {address}"))
}

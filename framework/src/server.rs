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
mod audience;
mod connection;
mod door;
mod ending;
mod events;
mod finisher;
mod listener;
mod notifier;
mod outbox;
mod peer;
mod queue;
mod ready;
mod scheduler;
mod session;
mod settings;
mod status;
mod stream;
mod waiters;
mod watched;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

pub use access::Scope;
pub use connection::Connection;
pub use ending::{Farewell, Phase};
pub use events::{AnyEvents, Events, Finished};
pub use peer::Peer;
pub use settings::{Auth, ListenerSettings, Protocol, QueueRate, ServerSettings};
pub use status::{Connections, Percentiles, Rates, Status, Threads, Workers};

use crate::config::Config;
use crate::protocol::{Code, Durability, Refusal};
use crate::schedule::Schedules;
use crate::store::{Clock, Store};
use crate::task::{Handlers, Workshop, remember_panics};
use audience::Audience;
use door::{Door, Guard};
use ending::Ending;
use listener::Listener;
use queue::Queue;
use scheduler::Scheduler;
use session::Hall;
use status::{Bench, Board};
use waiters::Waiters;
use worker::{Crew, Leases};

/// How many batches may lie between two rooms.
const DOOR: usize = 256;
/// How long a stop waits for what cannot take long once the tasks are over.
const GRACE: Duration = Duration::from_secs(2);

/// What a server is made of.
pub struct Server {
    pub config: Config,
    pub settings: ServerSettings,
    pub handlers: Arc<Handlers>,
    pub events: Arc<dyn AnyEvents>,
    pub store: Arc<dyn Store>,
}

/// A server that runs. Dropping it ends it at once, whatever is under way; [`Running::stop`] ends it properly.
pub struct Running {
    _pools: [Pool; 2],
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
    /// What goes on beside the rooms for as long as they need it.
    beside: Vec<JoinHandle<()>>,
    waiters: Arc<Waiters>,
    audience: Arc<Audience>,
    ending: Arc<Ending>,
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
        settings.check_queues(&handlers).context("config/server.toml")?;
        let lines = settings.lines();
        let benches: Vec<_> =
            lines.iter().map(|(line, count)| Bench::new(settings::name(line), *count)).collect();
        let io = Pool::new("io", settings.worker_num, 0)?;
        let tasks = Pool::new("task", settings.task_threads, benches.iter().map(|bench| bench.count).sum())?;
        // Within the pool, whose reactor the socket belongs to from now on.
        let socket = io.spawn(listen(settings.clone())).await??;
        let addresses = vec![socket.local_addr()?];
        let threads = Threads { io: settings.worker_num, task: settings.task_threads };
        let board = Arc::new(Board::new(store.clone(), benches.clone(), threads));
        let waiters = Arc::new(Waiters::default());
        let audience = Arc::new(Audience::new(store.clone()));
        let default_function = settings.default_function.clone();
        if let Some(name) = &default_function {
            handlers.find(name).context("default_function in config/server.toml")?;
        }
        let schedules = Schedules::collect(&config, &handlers)?;
        let queue = Queue::new(store.clone(), handlers.clone(), default_function, board.clone());
        let scheduler = Scheduler::open(schedules, queue.clone(), store.clone(), Clock::machine()).await?;
        let scheduler = Arc::new(scheduler);
        events.start().await.context("on_start")?;

        let (halt, halted) = watch::channel(false);
        let (stop, stopped) = watch::channel(false);
        let (guard, reading) = mpsc::channel(1);
        let (to_finisher, from_workers) = mpsc::channel(DOOR);
        let (to_notifier, from_finisher) = mpsc::channel(DOOR);
        let max_wait_time = settings.max_wait_time;
        let first = settings.first_listener();
        let tokens = Guard::open(&settings, &config, board.limits.clone())?;
        let tokens = tokens.filter(|_| settings.wants_token(&first));
        let door = Door::new(addresses[0].to_string(), &first, &config, tokens)?;

        let notifier =
            tasks.spawn(notifier::run(events.clone(), waiters.clone(), audience.clone(), from_finisher));
        let finisher = tasks.spawn(finisher::run(store.clone(), board.clone(), from_workers, to_notifier));
        let workshop = Arc::new(Workshop { config, handlers, audience: audience.clone() });
        let leases = Arc::new(Leases::new(store.clone()));
        let lease = settings.policy().lease;
        let beside = vec![
            finisher,
            tasks.spawn(leases.clone().keep(lease)),
            io.spawn(board.clone().sample()),
            io.spawn(queue.clone().ring()),
            io.spawn(scheduler.clone().run(stopped.clone(), guard.clone())),
        ];
        let crew = |line, workers| Crew {
            store: store.clone(),
            events: events.clone(),
            workshop: workshop.clone(),
            line,
            workers,
            leases: leases.clone(),
            lease,
            finisher: to_finisher.clone(),
            halt: halted.clone(),
        };
        let pullers = pull(&tasks, settings.task_threads, &benches, crew);
        let ending = Arc::new(Ending::new(store.clone(), max_wait_time));
        let hall = Arc::new(Hall {
            ending: ending.clone(),
            settings,
            events,
            queue: queue.clone(),
            scheduler,
            waiters: waiters.clone(),
            audience: audience.clone(),
            board,
            addresses: addresses.iter().map(ToString::to_string).collect(),
        });
        let listener =
            io.spawn(Listener { socket, hall, door: Arc::new(door), stop: stopped, reading: guard }.run());
        Ok(Running {
            _pools: [io, tasks],
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
            beside,
            waiters,
            audience,
            ending,
        })
    }
}

/// Starts the pullers of each line: one for each thread, as far as there are workers.
fn pull(
    tasks: &Pool,
    threads: usize,
    benches: &[Bench],
    crew: impl Fn(usize, Arc<Semaphore>) -> Crew,
) -> Vec<JoinHandle<()>> {
    let mut pullers = Vec::new();
    for (line, bench) in benches.iter().enumerate() {
        let crew = Arc::new(crew(line, bench.free.clone()));
        pullers.extend((0..threads.min(bench.count)).map(|_| tasks.spawn(crew.clone().pull())));
    }
    pullers
}

impl Running {
    /// Notes what the server was started with, for whoever stops it to start it again.
    pub fn started_with(&self, arguments: Vec<String>) {
        self.ending.started_with(arguments);
    }

    /// Waits until a client asks for the end, and tells how long running tasks may take: [`Running::stop_within`].
    pub async fn asked_to_stop(&self) -> Duration {
        self.ending.asked().await
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Ends the server in the order of the rooms: no new requests, then no new tasks, then the running tasks
    /// finish within `max_wait_time`, then all of it is settled and told, then the connections close.
    ///
    /// A store that does not survive the process has its due tasks run to the end as well, within the same time.
    pub async fn stop(self) -> Stopped {
        let patience = self.max_wait_time;
        self.stop_within(patience).await
    }

    /// As [`Running::stop`], with a time of its own for the running tasks.
    pub async fn stop_within(mut self, patience: Duration) -> Stopped {
        let deadline = Instant::now() + patience;
        let ending = self.ending.clone();
        let telling = tokio::spawn(async move { ending.tell(deadline).await });
        self.stop.send_replace(true);
        if timeout_at(deadline, self.reading.recv()).await.is_err() {
            tracing::warn!("callbacks of connections still run and are given up");
        }
        self.queue.close();
        let mut pullers = futures_util::future::join_all(self.pullers.drain(..));
        if timeout_at(deadline, &mut pullers).await.is_err() {
            tracing::warn!("running tasks are given up after {patience:?}");
            self.halt.send_replace(true);
            if timeout(GRACE, pullers).await.is_err() {
                tracing::warn!("a task does not let go of its thread");
            }
        }
        // Each room ends when the one before it is gone and its inbox is empty.
        let notified = timeout(GRACE.max(deadline - Instant::now()), &mut self.notifier).await;
        let refusal = Refusal::new(Code::ShuttingDown, "The server stops before the task has ended.");
        self.waiters.dismiss(&refusal);
        self.audience.dismiss(&refusal);
        telling.abort();
        self.ending.over().await;
        let told = timeout(GRACE, &mut self.listener).await;
        if notified.is_err() || told.is_err() {
            tracing::warn!("not every client could be told before the end");
        }
        if timeout(GRACE, self.store.flush()).await.is_err() {
            tracing::warn!("the disk does not take the last ends; their tasks run once more");
        }
        for task in &mut self.beside {
            task.abort();
            drop(task.await);
        }
        let ledger = self.store.counts().await.ledger;
        Stopped { left: ledger.waiting + ledger.running, kept: self.store.durability() != Durability::Memory }
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

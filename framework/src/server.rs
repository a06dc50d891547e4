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
mod pool;
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

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

pub use access::Scope;
pub use connection::Connection;
pub use ending::{Farewell, Phase};
pub use events::{AnyEvents, Events, Finished};
pub use listener::AlreadyRunning;
pub use peer::Peer;
pub use settings::{Auth, ListenerSettings, Protocol, QueueRate, ServerSettings};
pub use status::{Address, Connections, Percentiles, Rates, Status, Threads, Workers};

use crate::config::Config;
use crate::protocol::{Code, Durability, Refusal};
use crate::schedule::Schedules;
use crate::store::{Clock, Store};
use crate::task::{Handlers, Workshop, remember_panics};
use audience::Audience;
use door::Door;
use ending::Ending;
use listener::{Entrance, Listener};
use pool::Pool;
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
    addresses: Vec<Address>,
    doors: Vec<Arc<Door>>,
    max_wait_time: Duration,
    store: Arc<dyn Store>,
    queue: Queue,
    stop: watch::Sender<bool>,
    reading: mpsc::Receiver<()>,
    listener: JoinHandle<()>,
    work: Work,
    ending: Arc<Ending>,
}

/// The rooms behind the queue while they are open.
struct Work {
    halt: watch::Sender<bool>,
    pullers: Vec<JoinHandle<()>>,
    notifier: JoinHandle<()>,
    /// What goes on beside the rooms for as long as they need it.
    beside: Vec<JoinHandle<()>>,
    waiters: Arc<Waiters>,
    audience: Arc<Audience>,
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
    /// When an address cannot be listened on, a file of the settings cannot be used, threads cannot be started,
    /// or `on_start` fails.
    pub async fn start(self) -> Result<Running> {
        remember_panics();
        if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
            tracing::warn!("the limit of open files stays as it is: {error}");
        }
        let schedules = self.check()?;
        let benches = self.benches();
        let io = Pool::new("io", self.settings.worker_num, 0)?;
        let blocking = benches.iter().map(|bench| bench.count).sum();
        let tasks = Pool::new("task", self.settings.task_threads, blocking)?;
        let threads = Threads { io: self.settings.worker_num, task: self.settings.task_threads };
        let board = Arc::new(Board::new(self.store.clone(), benches, threads));
        // Within the pool, whose reactor the sockets belong to from now on.
        let opening = listener::open(self.settings.clone(), self.config.clone(), board.limits.clone());
        let entrances = io.spawn(opening).await??;
        let default_function = self.settings.default_function.clone();
        let queue = Queue::new(self.store.clone(), self.handlers.clone(), default_function, board.clone());
        let scheduler =
            Scheduler::open(schedules, queue.clone(), self.store.clone(), Clock::machine()).await?;
        self.events.start().await.context("on_start")?;

        let work = self.work(&tasks, &board);
        Ok(self.let_in(entrances, [io, tasks], queue, Arc::new(scheduler), board, work))
    }

    /// Whether the settings fit the handlers.
    fn check(&self) -> Result<Schedules> {
        self.settings.check_queues(&self.handlers).context("config/server.toml")?;
        if let Some(name) = &self.settings.default_function {
            self.handlers.find(name).context("default_function in config/server.toml")?;
        }
        Schedules::collect(&self.config, &self.handlers)
    }

    fn benches(&self) -> Vec<Bench> {
        let lines = self.settings.lines();
        lines.iter().map(|(line, count)| Bench::new(settings::name(line), *count)).collect()
    }

    /// Opens the rooms behind the queue: workers, finisher and notifier.
    fn work(&self, tasks: &Pool, board: &Arc<Board>) -> Work {
        let (halt, halted) = watch::channel(false);
        let (to_finisher, from_workers) = mpsc::channel(DOOR);
        let (to_notifier, from_finisher) = mpsc::channel(DOOR);
        let waiters = Arc::new(Waiters::default());
        let audience = Arc::new(Audience::new(self.store.clone()));
        let (events, config, handlers) = (self.events.clone(), self.config.clone(), self.handlers.clone());
        let notifier = notifier::run(events.clone(), waiters.clone(), audience.clone(), from_finisher);
        let finisher = finisher::run(self.store.clone(), board.clone(), from_workers, to_notifier);
        let workshop = Arc::new(Workshop { config, handlers, audience: audience.clone() });
        let leases = Arc::new(Leases::new(self.store.clone()));
        let lease = self.settings.policy().lease;
        let beside = vec![tasks.spawn(finisher), tasks.spawn(leases.clone().keep(lease))];
        let crew = |line, workers| Crew {
            store: self.store.clone(),
            events: events.clone(),
            workshop: workshop.clone(),
            line,
            workers,
            leases: leases.clone(),
            lease,
            finisher: to_finisher.clone(),
            halt: halted.clone(),
        };
        let pullers = pull(tasks, self.settings.task_threads, &board.benches, crew);
        Work { halt, pullers, notifier: tasks.spawn(notifier), beside, waiters, audience }
    }

    /// Opens the rooms before it: the sessions, and the listener that owns them.
    fn let_in(
        self,
        entrances: Vec<Entrance>,
        [io, tasks]: [Pool; 2],
        queue: Queue,
        scheduler: Arc<Scheduler>,
        board: Arc<Board>,
        mut work: Work,
    ) -> Running {
        let (stop, stopped) = watch::channel(false);
        let (guard, reading) = mpsc::channel(1);
        let doors: Vec<_> = entrances.iter().map(|entrance| entrance.door.clone()).collect();
        let addresses: Vec<_> = doors.iter().map(|door| door.sign()).collect();
        let max_wait_time = self.settings.max_wait_time;
        work.beside.extend([
            io.spawn(board.clone().sample()),
            io.spawn(queue.clone().ring()),
            io.spawn(work.audience.batches.clone().tell_on()),
            io.spawn(scheduler.clone().run(stopped.clone(), guard.clone())),
        ]);
        let ending = Arc::new(Ending::new(self.store.clone(), max_wait_time));
        let hall = Arc::new(Hall {
            ending: ending.clone(),
            settings: self.settings,
            events: self.events,
            queue: queue.clone(),
            scheduler,
            waiters: work.waiters.clone(),
            audience: work.audience.clone(),
            board,
            addresses: addresses.clone(),
        });
        let listener = io.spawn(Listener { hall, stop: stopped, reading: guard }.run(entrances));
        let (store, _pools) = (self.store, [io, tasks]);
        Running {
            _pools,
            addresses,
            doors,
            max_wait_time,
            store,
            queue,
            stop,
            reading,
            listener,
            work,
            ending,
        }
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

    /// Where it listens: the first listener, the further ones, then the control socket.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Looks now whether the files of tokens and certificates have changed, which it otherwise does when somebody
    /// connects. What cannot be used leaves what was in force, and is logged.
    pub fn reload(&self) {
        self.doors.iter().for_each(|door| door.reload());
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
        let mut pullers = futures_util::future::join_all(self.work.pullers.drain(..));
        if timeout_at(deadline, &mut pullers).await.is_err() {
            tracing::warn!("running tasks are given up after {patience:?}");
            self.work.halt.send_replace(true);
            if timeout(GRACE, pullers).await.is_err() {
                tracing::warn!("a task does not let go of its thread");
            }
        }
        // Each room ends when the one before it is gone and its inbox is empty.
        let notified = timeout(GRACE.max(deadline - Instant::now()), &mut self.work.notifier).await;
        let refusal = Refusal::new(Code::ShuttingDown, "The server stops before the task has ended.");
        self.work.waiters.dismiss(&refusal);
        self.work.audience.dismiss(&refusal);
        telling.abort();
        self.ending.over().await;
        let told = timeout(GRACE, &mut self.listener).await;
        if notified.is_err() || told.is_err() {
            tracing::warn!("not every client could be told before the end");
        }
        if timeout(GRACE, self.store.flush()).await.is_err() {
            tracing::warn!("the disk does not take the last ends; their tasks run once more");
        }
        for task in &mut self.work.beside {
            task.abort();
            drop(task.await);
        }
        let ledger = self.store.counts().await.ledger;
        Stopped { left: ledger.waiting + ledger.running, kept: self.store.durability() != Durability::Memory }
    }
}

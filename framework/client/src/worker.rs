//! Is a worker of a server: joins it, runs what it hands out, and comes back when the server was away.

mod kept_messages;
mod prefetch;
mod server_socket;
mod session;
mod unsettled;

use std::sync::Arc;
use std::time::Duration;

use framework_protocol::backoff;
use framework_protocol::task::{Handlers, Registration, TaskRecord};
use framework_protocol::worker::{EndedAttempt, TaskRunner};
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use self::prefetch::Prefetch;
use self::server_socket::{ServerSocket, SocketWriter};
use self::session::{Ended, WorkerSession};
use self::unsettled::{LeasedEnd, UnsettledEnds};
use crate::client::Client;
use crate::connection::Connection;
use crate::connector::Unreachable;
use crate::error::{ClientError, Result};

/// The pause after the first failed try to connect; it doubles with every further one.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// The longest pause of a worker whose leases are held for it.
const PAUSE_MAX_HELD: Duration = Duration::from_millis(500);
/// A session of this length was a success: the next pause is short again.
const STABLE: Duration = Duration::from_secs(5);
/// The most leases that a worker comes back for.
const RESUMES_MAX: usize = 10_000;
/// The ends on their way to the server beyond which a worker asks for no further task.
const UNSETTLED_MAX: usize = 100_000;

/// What a worker is and runs.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// Its name, such as `host:4242`.
    pub name: String,
    /// Its language and version, such as `rust/1.0.0`.
    pub language: String,
    /// The functions that it runs; the runner must have a handler for each.
    pub functions: Vec<Registration>,
    /// The only queues that it takes tasks from; empty is all.
    pub queues: Vec<String>,
    /// The most attempts at once.
    pub concurrency: u32,
    /// The time that running attempts have to end once the worker is to stop.
    pub grace: Duration,
}

/// The request to a worker to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum WorkerStop {
    /// None: it works.
    #[default]
    No,
    /// It takes no further tasks, and ends when those that run have ended or its grace is over.
    Graceful,
    /// It ends at once.
    Now,
}

/// The state of a worker, across its connections.
struct Worker<'a> {
    options: &'a WorkerOptions,
    handlers: &'a Handlers,
    runner: &'a mut dyn TaskRunner,
    /// The secret by which the server knows it again after a lost connection.
    session: String,
    /// The attempts whose leases it holds, by their numbers.
    held: FxHashMap<u64, HeldTask>,
    unsettled: UnsettledEnds,
    /// The time until which it keeps leases without a connection; `None` while it has one, or never had.
    keeps_until: Option<Instant>,
    /// The time by which it ends, once it is to stop while it has no connection.
    leaves_by: Option<Instant>,
    /// The attempts that have not ended yet, and whose leases it does not hold any more.
    abandoned: u32,
    next_number: u64,
    /// The tasks that it holds beyond the one that it runs; `None` for one that runs several at once.
    prefetch: Option<Prefetch>,
    /// What its attempts are reported by, once it has joined.
    writer: Option<(Arc<SocketWriter>, Arc<Handlers>)>,
}

/// An attempt that the worker holds the lease of.
struct HeldTask {
    lease: Arc<str>,
    task: Arc<TaskRecord>,
}

impl Client {
    /// Is a worker until it is to stop: joins the server with the functions of `options`, and runs the tasks
    /// that this hands out. When the connection is lost, as at a restart or a reload of the server, it
    /// connects again with growing pauses. What it runs goes on, until the server has given it to others or
    /// was away for longer than a lease. One that is to stop meanwhile tries to report what it has within its
    /// grace.
    ///
    /// `handlers` are those of the runner. Settings of retries do not apply.
    ///
    /// # Errors
    /// No server can be reached at the beginning; another try would fail in the same way, as with a wrong
    /// token; or the server refuses the worker, as with `schema_conflict`.
    pub async fn work(
        &self,
        options: &WorkerOptions,
        handlers: &Handlers,
        runner: &mut dyn TaskRunner,
        mut stop: watch::Receiver<WorkerStop>,
    ) -> Result<()> {
        let mut worker = Worker::new(options, handlers, runner)?;
        let mut has_joined = false;
        let mut failures = 0;
        while !worker.ends_without_connection(&mut stop) {
            let connected = worker.wait_without_connection(self.pool.connector.connect(), &mut stop).await;
            let Some(connected) = connected else { continue };
            if worker.leaves_by.is_some() {
                // So that the session hears of it, too.
                stop.mark_changed();
            }
            let (error, is_final) = match connected {
                Ok(connection) => {
                    let begin = Instant::now();
                    let mut session = WorkerSession::new(&mut worker, connection);
                    let ended = session.run(&mut stop).await;
                    let lease = session.lease();
                    has_joined |= lease.is_some();
                    worker.lost_connection(lease, matches!(ended, Ended::Refused(_)));
                    if begin.elapsed() >= STABLE || lease.is_some() && worker.leases().next().is_some() {
                        failures = 0;
                    }
                    match ended {
                        Ended::Stopped => return Ok(()),
                        Ended::Lost(error) | Ended::Refused(error) => (error.clone(), error.is_final()),
                    }
                }
                Err(Unreachable { error, is_final }) => (error, is_final),
            };
            if !has_joined || is_final {
                return Err(error);
            }
            failures += 1;
            let pause = backoff(PAUSE, failures, worker.max_pause());
            tracing::warn!(?pause, "the connection to the server is lost, and is tried again: {error}");
            worker.wait_without_connection(sleep(pause), &mut stop).await;
        }
        Ok(())
    }
}

/// Is a worker over a connection that is there already, until that ends or the worker is to stop: what a
/// server starts of its own program. It runs one attempt at a time. The server knows of each before it
/// begins, and has the end of the one before by then. While attempts are short it holds further tasks,
/// which go back when one takes longer. Otherwise as [`Client::work`].
///
/// # Errors
/// The stream cannot be used; the server refuses the worker; or the connection has ended.
pub async fn work_over(
    stream: std::os::unix::net::UnixStream,
    options: &WorkerOptions,
    handlers: &Arc<Handlers>,
    runner: &mut dyn TaskRunner,
    mut stop: watch::Receiver<WorkerStop>,
) -> Result<()> {
    const SERVER: &str = "the server";
    let failed = |error| ClientError::io(SERVER, error);
    let (socket, writer) = ServerSocket::new(stream).map_err(failed)?;
    // Whatever the server has accepted: it is its own program.
    let connection = Connection::new(Box::new(socket), 0, SERVER, usize::MAX);
    let mut worker = Worker {
        prefetch: Some(Prefetch::default()),
        writer: Some((writer, handlers.clone())),
        ..Worker::new(options, handlers, runner)?
    };
    match WorkerSession::new(&mut worker, connection).run(&mut stop).await {
        Ended::Stopped => Ok(()),
        Ended::Lost(error) | Ended::Refused(error) => Err(error),
    }
}

impl<'a> Worker<'a> {
    fn new(
        options: &'a WorkerOptions,
        handlers: &'a Handlers,
        runner: &'a mut dyn TaskRunner,
    ) -> Result<Self> {
        Ok(Self {
            options,
            handlers,
            runner,
            session: draw_secret()?,
            held: FxHashMap::default(),
            unsettled: UnsettledEnds::default(),
            keeps_until: None,
            leaves_by: None,
            abandoned: 0,
            next_number: 0,
            prefetch: None,
            writer: None,
        })
    }

    /// Whether a worker without a connection ends: it is to stop, and has nothing to report or no time for it
    /// any more.
    fn ends_without_connection(&mut self, stop: &mut watch::Receiver<WorkerStop>) -> bool {
        let wanted = *stop.borrow_and_update();
        // Nobody may be there any more who could stop it.
        if wanted == WorkerStop::No && stop.has_changed().is_ok() {
            return false;
        }
        let grace = self.options.grace;
        let leaves_by = *self.leaves_by.get_or_insert_with(|| Instant::now() + grace);
        wanted == WorkerStop::Now || self.leases().next().is_none() || Instant::now() >= leaves_by
    }

    /// Waits for something while there is no connection; `None` when that is to be looked at before.
    async fn wait_without_connection<T>(
        &mut self,
        wait: impl Future<Output = T>,
        stop: &mut watch::Receiver<WorkerStop>,
    ) -> Option<T> {
        let mut wait = std::pin::pin!(wait);
        loop {
            let keeps_until = self.keeps_until.unwrap_or_else(Instant::now);
            let leaves_by = self.leaves_by.unwrap_or_else(Instant::now);
            let is_unowned = stop.has_changed().is_err();
            tokio::select! {
                waited = &mut wait => return Some(waited),
                _ = stop.changed(), if !is_unowned => return None,
                () = sleep_until(leaves_by), if self.leaves_by.is_some() => return None,
                () = sleep_until(keeps_until), if self.keeps_until.is_some() => {
                    self.abandon();
                    if self.leaves_by.is_some() {
                        return None;
                    }
                }
                update = self.runner.next() => {
                    let ends = self.take_ended(update.ends);
                    self.unsettled.keep(ends);
                }
            }
        }
    }

    /// Takes the ended attempts out of those that are held, in their order, without those that were
    /// abandoned.
    fn take_ended(&mut self, ends: Vec<EndedAttempt>) -> Vec<LeasedEnd> {
        let take = |end: EndedAttempt| {
            let held = self.held.remove(&end.number);
            self.abandoned -= u32::from(held.is_none());
            Some((held?, end))
        };
        ends.into_iter().filter_map(take).collect()
    }

    /// Notes that the connection is lost, over which the worker had leases of this length, if it had joined.
    /// One that has had a message refused begins anew, because the same message would be refused again.
    fn lost_connection(&mut self, lease: Option<Duration>, was_refused: bool) {
        match lease {
            Some(_) if was_refused => self.abandon(),
            Some(lease) => self.keeps_until = Some(Instant::now() + lease),
            None => {}
        }
    }

    /// Gives up all leases: attempts are asked to stop, and ends are not reported.
    fn abandon(&mut self) {
        let running = self.held.len();
        if running > 0 {
            tracing::warn!(running, "running tasks are given up: the server gives them to others");
        }
        self.keeps_until = None;
        self.unsettled.take_all();
        self.keep_held(&FxHashSet::default());
    }

    /// The leases that it holds: those of ended attempts first.
    fn leases(&self) -> impl Iterator<Item = &str> {
        self.unsettled.leases().chain(self.held.values().map(|held| &*held.lease))
    }

    /// Goes on with these leases after a lost connection, and returns the ends that are to be sent again.
    fn resume(&mut self, leases: &[String]) -> Vec<LeasedEnd> {
        self.keeps_until = None;
        let leases: FxHashSet<_> = leases.iter().map(String::as_str).collect();
        self.keep_held(&leases);
        let mut ends = self.unsettled.take_all();
        ends.retain(|(held, _)| leases.contains(&*held.lease));
        ends
    }

    /// Asks the attempts of all other leases to stop.
    fn keep_held(&mut self, leases: &FxHashSet<&str>) {
        let before = self.held.len();
        self.held.retain(|_, held| {
            let is_kept = leases.contains(&*held.lease);
            if !is_kept {
                held.task.request_cancel();
            }
            is_kept
        });
        self.abandoned += (before - self.held.len()) as u32;
    }

    /// The longest pause between two tries to connect.
    fn max_pause(&self) -> Duration {
        if self.leases().next().is_some() { PAUSE_MAX_HELD } else { PAUSE_MAX }
    }

    /// The number of attempts that could begin now.
    fn room(&self) -> u32 {
        let running = self.held.len() as u32 + self.abandoned;
        let most = self.prefetch.as_ref().map_or(self.options.concurrency, Prefetch::depth);
        let room = most.saturating_sub(running);
        if self.unsettled.len() < UNSETTLED_MAX { room } else { 0 }
    }
}

/// Draws a secret that nobody can guess.
fn draw_secret() -> Result<String> {
    let mut bytes = [0; 16];
    let drawn = rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes);
    drawn.map_err(|_| ClientError::Settings("the system gives no random numbers".to_owned()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

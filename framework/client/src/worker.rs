//! Is a worker of a server: joins it, runs what it hands out, and comes back when the server was away.

mod session;

use std::sync::Arc;
use std::time::Duration;

use framework_protocol::backoff;
use framework_protocol::task::{Handlers, Registration, TaskRecord};
use framework_protocol::worker::{RunnerUpdate, TaskRunner};
use rustc_hash::FxHashMap;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use self::session::{Ended, WorkerSession};
use crate::client::Client;
use crate::connector::Unreachable;
use crate::error::Result;

/// The pause after the first failed try to connect; it doubles with every further one.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A session of this length was a success: the next pause is short again.
const STABLE: Duration = Duration::from_secs(5);

/// What a worker is and runs.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// Its name, such as `host:4242`.
    pub name: String,
    /// Its language and version, such as `rust/1.0.0`.
    pub language: String,
    /// The functions that it runs; the runner must have a handler for each.
    pub functions: Vec<Registration>,
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
    /// The attempts that the server of the present connection knows, by their numbers.
    held: FxHashMap<u64, HeldTask>,
    /// The attempts of earlier connections that have not ended yet.
    abandoned: u32,
    next_number: u64,
}

/// An attempt that the worker holds the lease of.
struct HeldTask {
    lease: Box<str>,
    task: Arc<TaskRecord>,
}

impl Client {
    /// Is a worker until it is to stop: joins the server with the functions of `options`, and runs the tasks
    /// that this hands out. When the connection is lost, as at a restart or a reload of the server, it
    /// connects again with growing pauses; what it runs is stopped then, because the server gives it to
    /// others.
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
        let held = FxHashMap::default();
        let mut worker = Worker { options, handlers, runner, held, abandoned: 0, next_number: 0 };
        let mut has_joined = false;
        let mut failures = 0;
        while *stop.borrow_and_update() == WorkerStop::No {
            let connected = worker.wait_without_connection(self.pool.connector.connect(), &mut stop).await;
            let Some(connected) = connected else { return Ok(()) };
            let (error, is_final) = match connected {
                Ok(connection) => {
                    let begin = Instant::now();
                    let mut session = WorkerSession::new(&mut worker, connection);
                    let ended = session.run(&mut stop).await;
                    has_joined |= session.has_joined();
                    worker.abandon();
                    if begin.elapsed() >= STABLE {
                        failures = 0;
                    }
                    match ended {
                        Ended::Stopped => return Ok(()),
                        Ended::Lost(error) => (error.clone(), error.is_final()),
                    }
                }
                Err(Unreachable { error, is_final }) => (error, is_final),
            };
            if !has_joined || is_final {
                return Err(error);
            }
            failures += 1;
            let pause = backoff(PAUSE, failures, PAUSE_MAX);
            tracing::warn!(?pause, "the connection to the server is lost, and is tried again: {error}");
            if worker.wait_without_connection(sleep(pause), &mut stop).await.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }
}

impl Worker<'_> {
    /// Waits for something while there is no connection; `None` when the worker is to stop before.
    async fn wait_without_connection<T>(
        &mut self,
        wait: impl Future<Output = T>,
        stop: &mut watch::Receiver<WorkerStop>,
    ) -> Option<T> {
        let mut wait = std::pin::pin!(wait);
        loop {
            tokio::select! {
                waited = &mut wait => return Some(waited),
                _ = stop.wait_for(|stop| *stop != WorkerStop::No) => return None,
                update = self.runner.next() => drop(self.settled(&update)),
            }
        }
    }

    /// Takes the ended attempts out of those that are held, in their order; `None` for one of an earlier
    /// connection.
    fn settled(&mut self, update: &RunnerUpdate) -> Vec<Option<HeldTask>> {
        let take = |number| {
            let held = self.held.remove(&number);
            self.abandoned -= u32::from(held.is_none());
            held
        };
        update.ends.iter().map(|end| end.number).map(take).collect()
    }

    /// Gives up what is held, because the connection is lost: these attempts are asked to stop.
    fn abandon(&mut self) {
        for held in self.held.drain().map(|(_, held)| held) {
            held.task.request_cancel();
            self.abandoned += 1;
        }
    }

    /// The number of attempts that could begin now.
    fn room(&self) -> u32 {
        let running = self.held.len() as u32 + self.abandoned;
        self.options.concurrency.saturating_sub(running)
    }
}

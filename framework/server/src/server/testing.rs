//! A task server for the tests of a program: in memory, with a clock that the test moves.

mod assertions;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use framework_console::config::Config;
use framework_protocol::task::{Attempt, AttemptContext, Handlers, NewTask, Outcome, Retry, Task, TaskId};
use framework_protocol::views::Threads;
use framework_protocol::{Message, RequestError};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::caught::Caught;
use super::events::{DynEvents, Events, Finished};
use super::finisher::{AttemptEnd, FinishRules, settle};
use super::intake::Intake;
use super::metrics::{Metrics, WorkerGroupStats};
use super::poll::at_once;
use super::scheduler::Scheduler;
use super::settings::ServerSettings;
use crate::schedule::Schedules;
use crate::store::{Clock, Lease, Memory, Store};

/// The time at which a test begins, unless it sets another: 2026-01-01T00:00:00Z.
const BEGIN_MS: u64 = 1_767_225_600_000;
/// The attempts that may follow each other without time passing: more are tasks that make each other forever.
const MOST_ATTEMPTS: usize = 100_000;
/// The shortest step of the clock.
const STEP: Duration = Duration::from_millis(1);

/// A task server for the tests of a program, with all handlers that are compiled into it.
///
/// It is in memory, has no port, and nothing runs by itself: [`run_due`](Self::run_due) runs what is due, one
/// after the other, and [`advance`](Self::advance) lets time pass, with all that falls due meanwhile: delays,
/// retries and schedules take no time. Handlers themselves run with the machine's clock.
///
/// ```
/// # use framework_server::server::TestServer;
/// # use framework_protocol::task::*;
/// # use std::time::Duration;
/// let server = TestServer::new();
/// let id = server.request(r#"{"function":"no_such_function"}"#);
/// assert!(id.is_err());
/// server.advance(Duration::from_secs(3600));
/// assert_eq!(server.run_due(), 0);
/// ```
pub struct TestServer {
    handlers: Arc<Handlers>,
    store: Arc<Memory>,
    clock: Clock,
    groups: usize,
    events: Arc<dyn DynEvents>,
    attempts: Arc<AttemptContext>,
    rules: FinishRules,
    metrics: Arc<Metrics>,
    scheduler: Scheduler,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

/// How a [`TestServer`] is made.
pub struct TestServerBuilder {
    root: PathBuf,
    begin_ms: u64,
    events: Arc<dyn DynEvents>,
}

impl TestServerBuilder {
    /// Reads the settings and schedules of the project in this folder; without it, there are none.
    #[must_use]
    pub fn root(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = root.into();
        self
    }

    /// Sets the time at which the test begins, in milliseconds since 1970.
    #[must_use]
    pub fn begin_at(mut self, begin_ms: u64) -> Self {
        self.begin_ms = begin_ms;
        self
    }

    /// Sets the callbacks, of which `on_task` and `on_finish` are called.
    #[must_use]
    pub fn events(mut self, events: impl Events) -> Self {
        self.events = Arc::new(events);
        self
    }

    /// # Panics
    /// When the settings or the schedules of the project are wrong.
    #[track_caller]
    pub fn build(self) -> TestServer {
        let config = Config::at(self.root, []);
        let settings: ServerSettings = config.section().expect("the settings of the server");
        let handlers = Arc::new(Handlers::collect().expect("handlers of different names"));
        let schedules = Schedules::collect(&config, &handlers).expect("the schedules");
        let clock = Clock::fake(self.begin_ms);
        let store = Arc::new(settings.memory_store(handlers.clone(), clock.clone()));
        let groups = settings.worker_groups();
        let stats = groups.iter().map(|(_, count)| WorkerGroupStats::new("*", *count)).collect();
        let threads = Threads { io: 0, task: 0 };
        let metrics = Arc::new(Metrics::new(store.clone(), stats, threads));
        let intake = Intake::new(store.clone(), handlers.clone(), &settings, metrics.clone());
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime for the test");
        let scheduler = Scheduler::open(schedules, intake, store.clone(), clock.clone());
        let scheduler = block(&runtime, scheduler).expect("the states of the schedules");
        let rules = FinishRules { retries: settings.retry_limits(), handlers: handlers.clone() };
        let attempts = Arc::new(AttemptContext { config, handlers: handlers.clone(), sink: Arc::new(()) });
        let (groups, events) = (groups.len(), self.events);
        let runtime = Some(runtime);
        TestServer { handlers, store, clock, groups, events, attempts, rules, metrics, scheduler, runtime }
    }
}

impl Default for TestServer {
    fn default() -> Self {
        Self::new()
    }
}

impl TestServer {
    /// A server without a project: it has the handlers of the program, and no schedules but theirs.
    #[track_caller]
    pub fn new() -> Self {
        Self::builder().build()
    }

    pub fn builder() -> TestServerBuilder {
        TestServerBuilder { root: "/no/project".into(), begin_ms: BEGIN_MS, events: Arc::new(()) }
    }

    /// Sends a task.
    ///
    /// # Panics
    /// When it is not accepted.
    #[track_caller]
    pub fn send<T: Task>(&self, task: T) -> TaskId {
        self.send_with(task, |_| ())
    }

    /// Sends a task whose options are changed before: its time, its queue, its attempts.
    ///
    /// # Panics
    /// When it is not accepted.
    #[track_caller]
    pub fn send_with<T: Task>(&self, task: T, change: impl FnOnce(&mut NewTask)) -> TaskId {
        let mut task = NewTask::of(&self.handlers, &task).expect("the task of a handler of this program");
        change(&mut task);
        self.push(task).expect("the task is accepted")
    }

    /// Sends a request as a client would: `{"function":"send_mail","args":{..},"delay":"10m"}`.
    ///
    /// # Errors
    /// What a client is answered with.
    pub fn request(&self, json: &str) -> Result<TaskId, RequestError> {
        match Message::parse(json.as_bytes()) {
            Ok(Message::Task(request)) => self.push(NewTask::from_request(&self.handlers, &request, None)?),
            Ok(_) => Err(RequestError::bad_request("That is no request for a task.")),
            Err(error) => Err(error.refusal),
        }
    }

    fn push(&self, task: NewTask) -> Result<TaskId, RequestError> {
        let accepted = self.block(self.store.push(vec![task])).pop();
        accepted.expect("an answer for the task").map(|accepted| accepted.id)
    }

    /// The time, in milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.clock.now().wall_ms
    }

    /// Runs all that is due now and what that makes due, one after the other; the number of attempts.
    ///
    /// # Panics
    /// When tasks make each other without end.
    pub fn run_due(&self) -> usize {
        self.block(self.drain())
    }

    /// Lets time pass, and runs all that falls due meanwhile at its time; the number of attempts.
    ///
    /// # Panics
    /// When tasks make each other without end.
    pub fn advance(&self, time: Duration) -> usize {
        let end = self.clock.now().steady + time;
        self.block(async {
            let mut count = 0;
            loop {
                count += self.drain().await;
                let left = end.saturating_sub(self.clock.now().steady);
                if left.is_zero() {
                    return count;
                }
                let schedule = self.scheduler.fire_due().await;
                let due = (0..self.groups).filter_map(|group| self.store.next_due(group)).min();
                let pause = due.map_or(schedule, |due| due.min(schedule));
                self.clock.advance(pause.max(STEP).min(left));
            }
        })
    }

    async fn drain(&self) -> usize {
        let mut count = 0;
        loop {
            self.scheduler.fire_due().await;
            let before = count;
            for group in 0..self.groups {
                for lease in self.store.take(group, 1).await {
                    let finished = self.attempt(lease).await;
                    self.events.clone().finish(finished).await;
                    count += 1;
                }
            }
            if let Some(terminated) = at_once(&mut self.store.next_terminated()).await {
                self.events.clone().finish(terminated.into_iter().map(Finished::from).collect()).await;
            }
            assert!(count <= MOST_ATTEMPTS, "after {count} attempts there are still tasks that are due");
            if count == before {
                return count;
            }
        }
    }

    /// Runs one attempt and settles it; the task, if it has ended.
    async fn attempt(&self, lease: Lease) -> Vec<Finished> {
        let begin = Instant::now();
        let Some(handler) = self.handlers.get(&lease.task.new.function) else {
            return self.settle(AttemptEnd::parked(lease, begin)).await;
        };
        let task = lease.task.clone();
        let attempt = Attempt::new(task.clone(), handler, lease.attempt, self.attempts.clone());
        let run = Caught::new(self.events.clone().task(attempt.clone()));
        let limit = task.new.timeout.unwrap_or(Duration::MAX);
        let outcome = match timeout(limit, run).await {
            Ok(outcome) => outcome.unwrap_or_else(Outcome::panicked),
            Err(_) => Outcome::failed(format!("The attempt took longer than {limit:?}."), Retry::Backoff),
        };
        let follow = attempt.take_pushed(&outcome);
        let end = AttemptEnd::aborted(lease, begin, Instant::now());
        self.settle(AttemptEnd { outcome: Some(outcome), follow, ..end }).await
    }

    async fn settle(&self, end: AttemptEnd) -> Vec<Finished> {
        settle(&*self.store, &self.rules, &self.metrics, vec![end]).await
    }

    fn block<T: Send>(&self, future: impl Future<Output = T> + Send) -> T {
        block(self.runtime.as_ref().expect("it is there until the server is dropped"), future)
    }
}

/// Runs a future on a thread of its own, so that it works from an asynchronous test.
fn block<T: Send>(runtime: &Runtime, future: impl Future<Output = T> + Send) -> T {
    thread::scope(|scope| scope.spawn(|| runtime.block_on(future)).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

impl Drop for TestServer {
    fn drop(&mut self) {
        // An asynchronous test may not wait for it.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

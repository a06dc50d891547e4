//! The child processes that run the attempts of isolated functions: this program as `task:work`, one attempt
//! at a time, over a socket that it inherits.
//!
//! ```text
//! ChildSlot ── starts ──> process ── a worker's messages ──> session ──> RemoteWorkers
//!     ^                                                                        |
//!     └────────────────── ChildProcess: what is to become of it ───────────────┘
//! ```
//!
//! A slot has one process that serves, and for the time of a replacement also the one before it.

mod child;
mod log_lines;
mod slot;

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use framework_console::config::Config;
use framework_protocol::task::Handlers;
use framework_protocol::views::ProgramInfo;
use futures_util::future::join_all;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::slot::ChildSlot;
use super::program_status::ProgramStatus;
use super::remote::RemoteWorkers;
use crate::processes::ProcessLimits;
use crate::server::runtime::ThreadPool;
use crate::server::settings::ServerSettings;

/// The name of these processes in reports, and with a number that of each.
const NAME: &str = "isolated";

/// The connection to a process that the server has started, to be served as that of a worker.
pub(crate) struct ChildConnection {
    /// The number of the process among all.
    pub(crate) number: u64,
    /// Its process id.
    pub(crate) process: i32,
    pub(crate) socket: UnixStream,
}

/// Which functions run in child processes, and in how many.
pub(crate) struct IsolatedOptions {
    functions: Vec<&'static str>,
    count: usize,
    limits: ProcessLimits,
    /// The number of tasks after which a process is replaced; 0 is never.
    max_tasks: u32,
    /// The root of the project.
    root: PathBuf,
}

/// The child processes, with the thread that starts them.
pub(crate) struct IsolatedWorkers {
    /// The kernel ends what this thread has started when it ends; `None` without any process.
    thread: Option<ThreadPool>,
    pool: Arc<ChildPool>,
    /// The time up to which processes may end by themselves, once they are to end.
    stop: watch::Sender<Option<Instant>>,
    slots: Vec<JoinHandle<()>>,
}

/// What the slots share.
pub(crate) struct ChildPool {
    options: IsolatedOptions,
    remote: Arc<RemoteWorkers>,
    /// To where connections are served.
    connections: mpsc::Sender<ChildConnection>,
    status: ProgramStatus,
}

impl IsolatedOptions {
    pub(crate) fn new(settings: &ServerSettings, config: &Config, handlers: &Handlers) -> Self {
        let functions = settings.isolated_functions(handlers);
        let count = if functions.is_empty() { 0 } else { settings.isolated_workers() };
        let memory = Some(settings.max_isolated_memory as u64).filter(|memory| *memory > 0);
        let limits = ProcessLimits { memory, nice: i32::from(settings.isolated_nice) };
        let root = config.root().to_owned();
        Self { functions, count, limits, max_tasks: settings.task_max_request, root }
    }
}

impl IsolatedWorkers {
    /// The processes of the settings; none is started before [`IsolatedWorkers::start`].
    ///
    /// # Errors
    /// The system refuses to start a thread.
    pub(crate) fn new(
        options: IsolatedOptions,
        remote: Arc<RemoteWorkers>,
        connections: mpsc::Sender<ChildConnection>,
    ) -> Result<Self> {
        let thread = if options.count == 0 { None } else { Some(ThreadPool::new(NAME, 1, 0)?) };
        let command = format!("task:work --function {}", options.functions.join(" --function "));
        let status = ProgramStatus::new(NAME.to_owned(), command, options.count as u32);
        let pool = Arc::new(ChildPool { options, remote, connections, status });
        let (stop, _) = watch::channel(None);
        Ok(Self { thread, pool, stop, slots: Vec::new() })
    }

    /// What reports on the processes.
    pub(crate) fn pool(&self) -> Arc<ChildPool> {
        self.pool.clone()
    }

    /// Starts all processes, unless they have been.
    pub(crate) fn start(&mut self) {
        let Some(thread) = self.thread.as_ref().filter(|_| self.slots.is_empty()) else { return };
        self.stop.send_replace(None);
        let slots = (1..=self.pool.options.count).map(|number| ChildSlot::new(self.pool.clone(), number));
        self.slots = slots.map(|slot| thread.spawn(slot.run(self.stop.subscribe()))).collect();
    }

    /// Asks all processes to end, and waits until they have; those that go on at `deadline` are killed.
    pub(crate) async fn stop(&mut self, deadline: Instant) {
        self.stop.send_replace(Some(deadline));
        join_all(self.slots.drain(..)).await;
    }
}

impl ChildPool {
    /// A report on the processes, if there are to be any.
    pub(crate) fn report(&self) -> Option<ProgramInfo> {
        (self.options.count > 0).then(|| self.status.describe())
    }
}

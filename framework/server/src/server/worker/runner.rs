//! Runs the tasks that a server elsewhere hands out, in the way in which a server runs its own.

mod queue;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use framework_console::config::Config;
use framework_console::log::log_panics;
use framework_protocol::task::{AttemptContext, Handlers, LogLine, Progress, ProgressSink, TaskId};
use framework_protocol::worker::{
    AttemptObserver, EndedAttempt, Report, RunnerUpdate, StartedTask, TaskRunner,
};
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};

use self::queue::AttemptQueue;
use super::CHANNEL_CAPACITY;
use super::pool::{PoolContext, WorkerPool};
use crate::server::events::DynEvents;
use crate::server::finisher::{AttemptEnd, EndedBatch};
use crate::server::metrics::WorkerGroupStats;
use crate::server::runtime::ThreadPool;

/// The number of reports that may wait; more are dropped.
const REPORTS_MAX: usize = 4_096;

/// Runs attempts by the handlers of this program, on threads of its own.
pub struct HandlerRunner {
    queue: Arc<AttemptQueue>,
    ends: mpsc::Receiver<EndedBatch>,
    reports: mpsc::Receiver<(TaskId, Report)>,
    /// Dropped: no further attempt begins.
    _pause: watch::Sender<bool>,
    _abort: watch::Sender<bool>,
    _runtime: ThreadPool,
}

/// Passes on what attempts report.
struct ReportSink {
    reports: mpsc::Sender<(TaskId, Report)>,
    queue: Arc<AttemptQueue>,
}

impl HandlerRunner {
    /// Starts `threads` threads, on which up to `concurrency` attempts run at once.
    ///
    /// # Errors
    /// The system refuses to start threads.
    pub fn new(
        config: Config,
        handlers: Arc<Handlers>,
        events: Arc<dyn DynEvents>,
        threads: usize,
        concurrency: usize,
    ) -> Result<Self> {
        log_panics();
        let runtime = ThreadPool::new("task", threads, concurrency)?;
        let (finisher, ends) = mpsc::channel(CHANNEL_CAPACITY);
        let (sink, reports) = mpsc::channel(REPORTS_MAX);
        let (pause, paused) = watch::channel(false);
        let (abort, aborted) = watch::channel(false);
        let queue = Arc::new(AttemptQueue::default());
        let sink = Arc::new(ReportSink { reports: sink, queue: queue.clone() });
        let attempts = Arc::new(AttemptContext { config, handlers, sink });
        let shared = PoolContext { source: queue.clone(), events, attempts, finisher, abort: aborted };
        let stats = WorkerGroupStats::new("*", concurrency);
        let pool = Arc::new(WorkerPool::new(Arc::new(shared), 0, &stats));
        for _ in 0..threads.min(concurrency) {
            runtime.spawn(pool.clone().run_puller(paused.clone()));
        }
        Ok(Self { queue, ends, reports, _pause: pause, _abort: abort, _runtime: runtime })
    }
}

impl TaskRunner for HandlerRunner {
    fn start(&mut self, tasks: Vec<StartedTask>) {
        self.queue.add(tasks);
    }

    fn take_waiting(&mut self) -> Vec<u64> {
        self.queue.take_waiting()
    }

    fn observe(&mut self, observer: Arc<dyn AttemptObserver>) {
        self.queue.observe(observer);
    }

    fn running_for(&self) -> Option<Duration> {
        self.queue.running_for()
    }

    fn next(&mut self) -> BoxFuture<'_, RunnerUpdate> {
        Box::pin(async {
            let mut update = RunnerUpdate::default();
            tokio::select! {
                Some(batch) = self.ends.recv() => add(&mut update, batch),
                Some(report) = self.reports.recv() => update.reports.push(report),
                () = self.queue.observed() => update.observed = self.queue.take_observed(),
                else => std::future::pending().await,
            }
            // The ends first: what these attempts have reported is there then.
            while let Ok(batch) = self.ends.try_recv() {
                add(&mut update, batch);
            }
            while update.reports.len() < REPORTS_MAX {
                let Ok(report) = self.reports.try_recv() else { break };
                update.reports.push(report);
            }
            update
        })
    }
}

fn add(update: &mut RunnerUpdate, batch: EndedBatch) {
    let ended = |end: AttemptEnd| EndedAttempt {
        number: end.lease.token.0,
        outcome: end.outcome,
        follow: end.follow,
    };
    update.ends.extend(batch.ends.into_iter().map(ended));
}

impl ProgressSink for ReportSink {
    fn progress(&self, task: TaskId, progress: &Progress) {
        let report = Report::Progress { percent: progress.percent, text: progress.text.clone() };
        self.send(task, report);
    }

    fn line(&self, task: TaskId, line: &LogLine) {
        self.send(task, Report::Line(line.text.clone()));
    }
}

impl ReportSink {
    /// Passes a report on, before the end of its attempt; unless too many wait.
    fn send(&self, task: TaskId, report: Report) {
        if !self.queue.report(&report) {
            let _ = self.reports.try_send((task, report));
        }
    }
}

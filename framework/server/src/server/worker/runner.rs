//! Runs the tasks that a server elsewhere hands out, in the way in which a server runs its own.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::Result;
use framework_console::config::Config;
use framework_console::log::log_panics;
use framework_protocol::task::{AttemptContext, Handlers, LogLine, Progress, ProgressSink, TaskId};
use framework_protocol::worker::{EndedAttempt, Report, RunnerUpdate, StartedTask, TaskRunner};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::CHANNEL_CAPACITY;
use super::pool::{LeaseSource, PoolContext, WorkerPool};
use crate::server::events::DynEvents;
use crate::server::finisher::{AttemptEnd, EndedBatch};
use crate::server::leases::LeaseHold;
use crate::server::metrics::WorkerGroupStats;
use crate::server::runtime::ThreadPool;
use crate::store::{Lease, LeaseToken};

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

/// The attempts that have not begun.
#[derive(Default)]
struct AttemptQueue {
    waiting: Mutex<VecDeque<Lease>>,
    /// Rung for one puller; who leaves something rings for the next one.
    signal: Notify,
}

struct ReportSink(mpsc::Sender<(TaskId, Report)>);

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
        let attempts = Arc::new(AttemptContext { config, handlers, sink: Arc::new(ReportSink(sink)) });
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
        let lease = |task: StartedTask| Lease::elsewhere(task.task, task.attempt, LeaseToken(task.number));
        self.queue.waiting().extend(tasks.into_iter().map(lease));
        self.queue.signal.notify_one();
    }

    fn take_waiting(&mut self) -> Vec<u64> {
        self.queue.waiting().drain(..).map(|lease| lease.token.0).collect()
    }

    fn next(&mut self) -> BoxFuture<'_, RunnerUpdate> {
        Box::pin(async {
            let mut update = RunnerUpdate::default();
            tokio::select! {
                Some(batch) = self.ends.recv() => add(&mut update, batch),
                Some(report) = self.reports.recv() => update.reports.push(report),
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

impl AttemptQueue {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Lease>> {
        self.waiting.lock().expect("no one panics while holding the attempts")
    }
}

impl LeaseSource for AttemptQueue {
    fn ready(&self, _group: usize) -> BoxFuture<'_, bool> {
        Box::pin(async {
            loop {
                let mut signal = pin!(self.signal.notified());
                signal.as_mut().enable();
                if !self.waiting().is_empty() {
                    return true;
                }
                signal.await;
            }
        })
    }

    fn take(&self, _group: usize, limit: usize) -> BoxFuture<'_, Vec<Lease>> {
        let mut waiting = self.waiting();
        let count = waiting.len().min(limit);
        let taken = waiting.drain(..count).collect();
        if !waiting.is_empty() {
            self.signal.notify_one();
        }
        ready(taken).boxed()
    }

    fn hold_batch(&self, _leases: &[Lease]) -> Option<LeaseHold> {
        None
    }

    fn hold(&self, _lease: &Lease) -> (Option<LeaseHold>, Option<oneshot::Receiver<()>>) {
        (None, None)
    }
}

impl ProgressSink for ReportSink {
    fn progress(&self, task: TaskId, progress: &Progress) {
        let report = Report::Progress { percent: progress.percent, text: progress.text.clone() };
        let _ = self.0.try_send((task, report));
    }

    fn line(&self, task: TaskId, line: &LogLine) {
        let _ = self.0.try_send((task, Report::Line(line.text.clone())));
    }
}

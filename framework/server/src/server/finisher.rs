//! Settles the outcomes of attempts in the store, many at a time, with what follows them by the rules.

use std::sync::Arc;
use std::time::{Duration, Instant};

use framework_protocol::task::{Due, Handlers, NewTask, Outcome, Retry, now_ms};
use framework_protocol::views::State;
use tokio::sync::mpsc;

use super::events::Finished;
use super::metrics::Metrics;
use super::poll::at_once;
use crate::rules;
use crate::store::{Disposition, Lease, Settlement, Store, TerminatedTask};

/// The most outcomes that are settled together.
const GROUP: usize = 4096;
/// An attempt that has ended.
pub(super) struct AttemptEnd {
    pub(super) lease: Lease,
    /// `None`: the attempt was aborted and does not count.
    pub(super) outcome: Option<Outcome>,
    /// Whether this program does not contain the task's function.
    pub(super) is_unknown: bool,
    /// The tasks that the attempt pushed, to be accepted together with its end.
    pub(super) follow: Vec<NewTask>,
    pub(super) started: Instant,
    pub(super) ended: Instant,
}

/// The time on both clocks, read once for all that are settled together.
#[derive(Clone, Copy)]
struct TimeStamps {
    instant: Instant,
    ms: u64,
}

impl AttemptEnd {
    /// An attempt without an outcome: its lease is returned as if it had not been taken, unless the task is
    /// to be cancelled.
    pub(super) fn aborted(lease: Lease, started: Instant, ended: Instant) -> Self {
        Self { lease, outcome: None, is_unknown: false, follow: Vec::new(), started, ended }
    }

    /// A task that waits until a program which contains its function serves the queue.
    pub(super) fn parked(lease: Lease, now: Instant) -> Self {
        Self { is_unknown: true, ..Self::aborted(lease, now, now) }
    }

    fn settlement(&mut self, handlers: &Handlers, now: TimeStamps) -> Settlement {
        let started_ms = now.instant.saturating_duration_since(self.started).as_millis() as u64;
        let task = &self.lease.task;
        let disposition = match rules::after_attempt(task, self.outcome.as_ref()) {
            Disposition::Requeue if self.is_unknown => Disposition::Park,
            disposition => disposition,
        };
        let mut follow = std::mem::take(&mut self.follow);
        if let Disposition::Done(result) = &disposition {
            follow.extend(rules::chained(handlers, &task.new, result));
        }
        Settlement {
            task: task.id,
            token: self.lease.token,
            disposition,
            started_ms: now.ms.saturating_sub(started_ms),
            ran: self.ended.saturating_duration_since(self.started),
            follow,
        }
    }
}

/// Settles the ends of attempts until the last worker has ended, and forwards the tasks that ended without
/// one.
pub(super) async fn run(
    store: Arc<dyn Store>,
    handlers: Arc<Handlers>,
    metrics: Arc<Metrics>,
    mut inbox: mpsc::Receiver<Vec<AttemptEnd>>,
    notifier: mpsc::Sender<Vec<Finished>>,
) {
    let mut terminated = store.next_terminated();
    loop {
        let finished = tokio::select! {
            biased;
            tasks = &mut terminated => {
                terminated = store.next_terminated();
                tasks.into_iter().map(Finished::from).collect()
            }
            group = inbox.recv() => match group {
                Some(group) => settle(&*store, &handlers, &metrics, drain_inbox(group, &mut inbox)).await,
                None => break,
            },
        };
        forward(finished, &notifier).await;
    }
    if let Some(tasks) = at_once(&mut terminated).await {
        forward(tasks.into_iter().map(Finished::from).collect(), &notifier).await;
    }
}

/// Adds to a group what else has arrived, up to [`GROUP`].
fn drain_inbox(mut group: Vec<AttemptEnd>, inbox: &mut mpsc::Receiver<Vec<AttemptEnd>>) -> Vec<AttemptEnd> {
    while group.len() < GROUP {
        let Ok(mut more) = inbox.try_recv() else { break };
        group.append(&mut more);
    }
    group
}

async fn forward(finished: Vec<Finished>, notifier: &mpsc::Sender<Vec<Finished>>) {
    if !finished.is_empty() && notifier.send(finished).await.is_err() {
        tracing::error!("the notifier has ended; clients are not notified");
    }
}

/// Settles a group, and returns those of it whose tasks have ended.
async fn settle(
    store: &dyn Store,
    handlers: &Handlers,
    metrics: &Metrics,
    mut group: Vec<AttemptEnd>,
) -> Vec<Finished> {
    let now = TimeStamps { instant: Instant::now(), ms: now_ms() };
    let settlements: Vec<_> = group.iter_mut().map(|ended| ended.settlement(handlers, now)).collect();
    let states: Vec<_> = settlements.iter().map(|settlement| state(&settlement.disposition)).collect();
    let settled = store.settle(settlements).await;
    metrics.record(group.iter().filter(|ended| ended.outcome.is_some()).map(AttemptEnd::latencies));
    let ends = group.into_iter().zip(settled.into_iter().zip(states));
    ends.filter_map(|(ended, (settled, state))| settled.then(|| ended.finished(state)).flatten()).collect()
}

/// The terminal state that a disposition leads to; `None` if the task goes on.
fn state(disposition: &Disposition) -> Option<State> {
    match disposition {
        Disposition::Done(_) => Some(State::Done),
        Disposition::Failed(_) => Some(State::Failed),
        Disposition::Cancelled => Some(State::Cancelled),
        Disposition::Retry { .. } | Disposition::Requeue | Disposition::Park => None,
    }
}

impl AttemptEnd {
    /// The time that the task waited for its first attempt, and the time that this attempt took.
    fn latencies(&self) -> (Option<Duration>, Duration) {
        let task = &self.lease.task;
        let delay = match task.new.due {
            Due::Now => Duration::ZERO,
            Due::After(delay) => delay,
            Due::At(at_ms) => Duration::from_millis(at_ms.saturating_sub(task.accepted_ms)),
        };
        let waited = self.started.saturating_duration_since(task.accepted + delay);
        let ran = self.ended.saturating_duration_since(self.started);
        ((self.lease.attempt == 1).then_some(waited), ran)
    }

    fn finished(self, state: Option<State>) -> Option<Finished> {
        let state = state?;
        let cancelled = || Outcome::failed("It was cancelled while it ran.", Retry::Never);
        let outcome = match state {
            State::Cancelled => cancelled(),
            _ => self.outcome?,
        };
        Some(Finished {
            state,
            outcome,
            attempts: self.lease.attempt,
            task: self.lease.task,
            running: self.ended.saturating_duration_since(self.started),
        })
    }
}

impl From<TerminatedTask> for Finished {
    fn from(terminated: TerminatedTask) -> Self {
        let TerminatedTask { task, state, error } = terminated;
        Self {
            state,
            outcome: Outcome::failed(error, Retry::Never),
            attempts: task.attempts(),
            task,
            running: Duration::ZERO,
        }
    }
}

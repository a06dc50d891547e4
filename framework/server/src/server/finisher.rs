//! Settles the outcomes of attempts in the store, many at a time, with what follows them by the rules.

use std::sync::Arc;
use std::time::{Duration, Instant};

use framework_protocol::ReplyWriter;
use framework_protocol::task::{Due, Handlers, NewTask, Outcome, Retry, now_ms};
use framework_protocol::views::State;
use tokio::sync::{mpsc, oneshot};

use super::events::Finished;
use super::leases::LeaseHold;
use super::metrics::{AttemptFigures, Metrics};
use super::outbox::{Outbox, ReplyOrder};
use super::poll::at_once;
use crate::rules::{self, RetryLimits};
use crate::store::{Disposition, Lease, Release, Settlement, Store, TerminatedTask};

/// The most outcomes that are settled together.
const GROUP: usize = 4096;

/// An attempt that has ended.
pub(super) struct AttemptEnd {
    pub(super) lease: Lease,
    /// `None`: the attempt was aborted and does not count.
    pub(super) outcome: Option<Outcome>,
    /// Whether this program does not contain the task's function.
    pub(super) is_unknown: bool,
    /// The reason why nobody saw the end, if nobody did.
    pub(super) lost: Option<String>,
    /// The worker puts the task back that it could have finished.
    pub(super) release: Option<Box<Release>>,
    /// The worker elsewhere that ran it.
    pub(super) worker: Option<Arc<str>>,
    /// The tasks that the attempt pushed, to be accepted together with its end.
    pub(super) follow: Vec<NewTask>,
    pub(super) started: Instant,
    pub(super) ended: Instant,
}

/// Attempts that have ended, with the hold on their leases up to the settlement.
pub(super) struct EndedBatch {
    pub(super) ends: Vec<AttemptEnd>,
    pub(super) hold: BatchHold,
}

/// What is held up to the settlement of a batch, and dropped after it.
pub(super) enum BatchHold {
    Local(#[expect(dead_code, reason = "it is held until it is dropped")] Option<LeaseHold>),
    Remote(#[expect(dead_code, reason = "it is held until it is dropped")] RemoteHold),
    /// The holds on the leases of held tasks, and the signal to who waits for the settlement.
    Held(
        #[expect(dead_code, reason = "it is held until it is dropped")] Vec<LeaseHold>,
        #[expect(dead_code, reason = "it is held until it is dropped")] oneshot::Sender<()>,
    ),
}

/// The hold on the leases of a worker outside of this process, and the reply to it.
pub(super) struct RemoteHold {
    _leases: Vec<LeaseHold>,
    _reply: Option<SettledReply>,
}

/// The reply to a worker that its ends are settled: sent when this is dropped.
pub(super) struct SettledReply {
    outbox: Arc<Outbox>,
    id: Option<Box<str>>,
    /// The leases that the worker does not hold.
    stale: Vec<String>,
}

impl RemoteHold {
    pub(super) fn new(leases: Vec<LeaseHold>, reply: Option<SettledReply>) -> Self {
        Self { _leases: leases, _reply: reply }
    }
}

impl SettledReply {
    pub(super) fn new(outbox: Arc<Outbox>, id: Option<&str>, stale: Vec<String>) -> Self {
        outbox.reserve(1);
        Self { outbox, id: id.map(Into::into), stale }
    }
}

impl Drop for SettledReply {
    fn drop(&mut self) {
        let mut line = Vec::new();
        ReplyWriter::new(&mut line).settled(self.id.as_deref(), &self.stale);
        self.outbox.fulfil(std::iter::once((ReplyOrder::Anywhere, &line[..])));
    }
}

/// The decisions about ended attempts: the bounds of retries, and the handlers of what follows.
pub(super) struct FinishRules {
    pub(super) retries: RetryLimits,
    pub(super) handlers: Arc<Handlers>,
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
        Self {
            lease,
            outcome: None,
            is_unknown: false,
            lost: None,
            release: None,
            worker: None,
            follow: Vec::new(),
            started,
            ended,
        }
    }

    /// A task that waits until a program which contains its function serves the queue.
    pub(super) fn parked(lease: Lease, now: Instant) -> Self {
        Self { is_unknown: true, ..Self::aborted(lease, now, now) }
    }

    fn settlement(&mut self, rules: &FinishRules, now: TimeStamps) -> Settlement {
        let started_ms = now.instant.saturating_duration_since(self.started).as_millis() as u64;
        let task = &self.lease.task;
        let disposition = match rules::after_attempt(&rules.retries, task, self.outcome.as_ref()) {
            Disposition::Requeue if self.is_unknown => Disposition::Park,
            Disposition::Requeue => match (self.lost.take(), self.release.take()) {
                (Some(reason), _) => Disposition::Lost(reason),
                (None, Some(release)) => Disposition::Release(release),
                (None, None) => Disposition::Requeue,
            },
            disposition => disposition,
        };
        let mut follow = std::mem::take(&mut self.follow);
        if let Disposition::Done(result) = &disposition {
            follow.extend(rules::chained(&rules.handlers, &task.new, result));
        }
        Settlement {
            task: task.id,
            token: self.lease.token,
            disposition,
            started_ms: now.ms.saturating_sub(started_ms),
            ran: self.ended.saturating_duration_since(self.started),
            worker: self.worker.take(),
            follow,
        }
    }
}

/// Settles the ends of attempts until the last worker has ended, and forwards the tasks that ended without
/// one.
pub(super) async fn run(
    store: Arc<dyn Store>,
    rules: FinishRules,
    metrics: Arc<Metrics>,
    mut inbox: mpsc::Receiver<EndedBatch>,
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
                Some(batch) => {
                    let (group, holds) = drain_inbox(batch, &mut inbox);
                    let finished = settle(&*store, &rules, &metrics, group).await;
                    drop(holds);
                    finished
                }
                None => break,
            },
        };
        metrics.tasks.ended(&finished);
        forward(finished, &notifier).await;
    }
    if let Some(tasks) = at_once(&mut terminated).await {
        let finished: Vec<_> = tasks.into_iter().map(Finished::from).collect();
        metrics.tasks.ended(&finished);
        forward(finished, &notifier).await;
    }
}

/// Adds to a batch what else has arrived, up to [`GROUP`].
fn drain_inbox(
    batch: EndedBatch,
    inbox: &mut mpsc::Receiver<EndedBatch>,
) -> (Vec<AttemptEnd>, Vec<BatchHold>) {
    let EndedBatch { ends: mut group, hold } = batch;
    let mut holds = vec![hold];
    while group.len() < GROUP {
        let Ok(mut more) = inbox.try_recv() else { break };
        group.append(&mut more.ends);
        holds.push(more.hold);
    }
    (group, holds)
}

async fn forward(finished: Vec<Finished>, notifier: &mpsc::Sender<Vec<Finished>>) {
    if !finished.is_empty() && notifier.send(finished).await.is_err() {
        tracing::error!("the notifier has ended; clients are not notified");
    }
}

/// Settles a group, and returns those of it whose tasks have ended.
pub(super) async fn settle(
    store: &dyn Store,
    rules: &FinishRules,
    metrics: &Metrics,
    mut group: Vec<AttemptEnd>,
) -> Vec<Finished> {
    let now = TimeStamps { instant: Instant::now(), ms: now_ms() };
    let settlements: Vec<_> = group.iter_mut().map(|ended| ended.settlement(rules, now)).collect();
    let fates: Vec<_> = settlements.iter().map(|settlement| TaskFate::of(&settlement.disposition)).collect();
    let settled = store.settle(settlements).await;
    metrics.record(group.iter().filter(|ended| ended.outcome.is_some()).map(AttemptEnd::latencies));
    let fates =
        settled.into_iter().zip(fates).map(|(settled, fate)| if settled { fate } else { TaskFate::Stays });
    let ends: Vec<_> = group.into_iter().zip(fates).collect();
    let is_figured = |end: &&(AttemptEnd, TaskFate)| end.0.outcome.is_some() || end.1 != TaskFate::Stays;
    metrics.tasks.attempted(ends.iter().filter(is_figured).map(|(ended, fate)| {
        let (waited, ran) = ended.latencies();
        let task = &ended.lease.task.new;
        AttemptFigures {
            function: &task.function,
            queue: &task.queue,
            waited,
            ran,
            is_retried: *fate == TaskFate::Retried,
        }
    }));
    ends.into_iter().filter_map(|(ended, fate)| ended.finished(fate)).collect()
}

/// The fate of a task after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TaskFate {
    Ended(State),
    /// It waits for another attempt because this one failed or was given up.
    Retried,
    /// It waits as before, or the settlement was refused.
    Stays,
}

impl TaskFate {
    fn of(disposition: &Disposition) -> Self {
        match disposition {
            Disposition::Done(_) => Self::Ended(State::Done),
            Disposition::Failed(_) => Self::Ended(State::Failed),
            Disposition::Cancelled => Self::Ended(State::Cancelled),
            Disposition::Release(release) if release.pause.is_none() => Self::Ended(State::Failed),
            Disposition::Retry { .. } | Disposition::Release(_) => Self::Retried,
            Disposition::Requeue | Disposition::Lost(_) | Disposition::Park => Self::Stays,
        }
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

    /// The end of the task, if it has ended.
    fn finished(self, fate: TaskFate) -> Option<Finished> {
        let TaskFate::Ended(state) = fate else { return None };
        let cancelled = || Outcome::failed("It was cancelled while it ran.", Retry::Never);
        let outcome = match state {
            State::Cancelled => cancelled(),
            // Put back, and failed for the time being.
            _ => self.outcome.unwrap_or_else(|| Outcome::failed("It was buried.", Retry::Never)),
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

#[cfg(test)]
mod tests {
    use framework_protocol::task::NewTask;

    use super::*;
    use crate::server::leases::Leases;
    use crate::store::{Clock, Memory, StoreOptions};

    /// The end of an attempt of a task, and the hold on its lease.
    async fn ended(change: impl FnOnce(&mut NewTask)) -> (AttemptEnd, LeaseHold) {
        let handlers = Arc::new(Handlers::default());
        let store = Arc::new(Memory::new(StoreOptions::default(), handlers, Clock::fake(0)));
        let mut task = NewTask::without_handler("any", "null".into());
        change(&mut task);
        store.push(vec![task]).await[0].clone().unwrap();
        let leases = store.take(0, 1).await;
        let hold = Arc::new(Leases::new(store)).hold_batch(&leases);
        let lease = leases.into_iter().next().unwrap();
        let now = Instant::now();
        (
            AttemptEnd { outcome: Some(Outcome::Done("7".into())), ..AttemptEnd::aborted(lease, now, now) },
            hold,
        )
    }

    #[tokio::test]
    async fn settlement_of_a_done_task_has_the_next_one_of_its_chain() {
        let (mut ended, _hold) = ended(|task| task.extra_mut().then = vec!["next".into()]).await;
        let retries = RetryLimits { attempts: 1, min_pause: Duration::ZERO, max_backoff: Duration::ZERO };
        let rules = FinishRules { retries, handlers: Arc::new(Handlers::default()) };
        let settlement = ended.settlement(&rules, TimeStamps { instant: Instant::now(), ms: 0 });
        let follow: Vec<_> = settlement.follow.iter().map(|task| (&*task.function, &task.args[..])).collect();
        assert_eq!(follow, [("next", &b"7"[..])]);
    }

    #[tokio::test]
    async fn drain_inbox_keeps_the_holds_of_all_batches_it_joins() {
        let (sender, mut inbox) = mpsc::channel(2);
        for _ in 0..2 {
            let (end, hold) = ended(|_| ()).await;
            let hold = BatchHold::Local(Some(hold));
            assert!(sender.try_send(EndedBatch { ends: vec![end], hold }).is_ok());
        }
        let (end, hold) = ended(|_| ()).await;
        let batch = EndedBatch { ends: vec![end], hold: BatchHold::Local(Some(hold)) };
        let (group, holds) = drain_inbox(batch, &mut inbox);
        assert_eq!((group.len(), holds.len()), (3, 3));
    }
}

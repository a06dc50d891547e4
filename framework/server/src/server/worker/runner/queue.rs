//! The attempts of a runner that have not begun, and the one that an observer is told of.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use framework_protocol::worker::{AttemptObserver, ObservedEnd, Report, StartedTask};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use tokio::sync::{Notify, oneshot};

use super::super::pool::LeaseSource;
use crate::server::finisher::AttemptEnd;
use crate::server::leases::LeaseHold;
use crate::store::{Lease, LeaseToken};

/// The attempts that have not begun.
#[derive(Default)]
pub(super) struct AttemptQueue {
    state: Mutex<QueueState>,
    /// Rung for one puller; who leaves something rings for the next one.
    signal: Notify,
    /// Is told of the attempts, which run one at a time then.
    observer: OnceLock<Arc<dyn AttemptObserver>>,
    /// Rung when there are few attempts left to begin.
    is_low: Notify,
}

#[derive(Default)]
struct QueueState {
    waiting: VecDeque<(Lease, Arc<str>)>,
    /// The number of those that may be left before more are asked for.
    low: usize,
    /// The attempt that runs and is observed.
    running: Option<ObservedAttempt>,
    /// The ends that nobody has taken.
    observed: Vec<ObservedEnd>,
}

struct ObservedAttempt {
    number: u64,
    lease: Arc<str>,
    began: Instant,
}

impl AttemptQueue {
    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().expect("no one panics while holding the attempts")
    }

    pub(super) fn add(&self, tasks: Vec<StartedTask>) {
        let lease = |task: StartedTask| {
            (Lease::elsewhere(task.task, task.attempt, LeaseToken(task.number)), task.lease)
        };
        let mut state = self.state();
        state.waiting.extend(tasks.into_iter().map(lease));
        state.low = state.waiting.len() / 2;
        drop(state);
        self.signal.notify_one();
    }

    /// Takes back those that have not begun; their numbers.
    pub(super) fn take_waiting(&self) -> Vec<u64> {
        let taken = self.state().waiting.drain(..).map(|(lease, _)| lease.token.0).collect();
        // The end of the last one may be kept until the next one begins.
        self.observer.get().into_iter().for_each(|observer| observer.flush());
        taken
    }

    pub(super) fn observe(&self, observer: Arc<dyn AttemptObserver>) {
        let _ = self.observer.set(observer); // the first one stays
    }

    /// For how long the observed attempt has been running.
    pub(super) fn running_for(&self) -> Option<Duration> {
        self.state().running.as_ref().map(|running| running.began.elapsed())
    }

    /// Waits until few attempts are left to begin. May be cancelled at any time.
    pub(super) async fn observed(&self) {
        self.is_low.notified().await;
    }

    pub(super) fn take_observed(&self) -> Vec<ObservedEnd> {
        std::mem::take(&mut self.state().observed)
    }

    /// Passes a report of the running attempt to the observer; `false` without one.
    pub(super) fn report(&self, report: &Report) -> bool {
        let Some(observer) = self.observer.get() else { return false };
        let lease = self.state().running.as_ref().map(|running| running.lease.clone());
        lease.into_iter().for_each(|lease| observer.report(&lease, report));
        true
    }

    /// Takes the next attempt, of which the observer has been told when this returns.
    fn take_observing(&self, observer: &dyn AttemptObserver) -> Option<Lease> {
        let (lease, name, is_last) = {
            let mut state = self.state();
            let (lease, name) = state.waiting.pop_front()?;
            let (number, began) = (lease.token.0, Instant::now());
            state.running = Some(ObservedAttempt { number, lease: name.clone(), began });
            if !state.waiting.is_empty() {
                self.signal.notify_one();
            }
            (lease, name, state.waiting.is_empty())
        };
        observer.begin(&name, is_last);
        Some(lease)
    }
}

impl LeaseSource for AttemptQueue {
    fn ready(&self, _group: usize) -> BoxFuture<'_, bool> {
        Box::pin(async {
            loop {
                let mut signal = pin!(self.signal.notified());
                signal.as_mut().enable();
                if !self.state().waiting.is_empty() {
                    return true;
                }
                signal.await;
            }
        })
    }

    fn take(&self, _group: usize, limit: usize) -> BoxFuture<'_, Vec<Lease>> {
        if let Some(observer) = self.observer.get() {
            return ready(self.take_observing(&**observer).into_iter().collect()).boxed();
        }
        let mut state = self.state();
        let count = state.waiting.len().min(limit);
        let taken = state.waiting.drain(..count).map(|(lease, _)| lease).collect();
        if !state.waiting.is_empty() {
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

    fn settles(&self, ends: &[AttemptEnd]) -> bool {
        let Some(observer) = self.observer.get() else { return false };
        for end in ends {
            let (running, is_last) = {
                let mut state = self.state();
                (state.running.take(), state.waiting.is_empty())
            };
            let Some(ObservedAttempt { number, lease, began }) = running else { continue };
            observer.end(&lease, end.outcome.as_ref(), &end.follow, is_last);
            let mut state = self.state();
            state.observed.push(ObservedEnd { number, ran: began.elapsed() });
            if state.waiting.len() <= state.low {
                self.is_low.notify_one();
            }
        }
        true
    }
}

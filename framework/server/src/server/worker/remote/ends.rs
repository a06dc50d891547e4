//! The ends of attempts that workers report.

use std::sync::Arc;
use std::time::Instant;

use framework_protocol::RequestError;
use framework_protocol::task::{NewTask, Outcome};
use tokio::sync::mpsc;

use super::child_session::ChildSession;
use super::shown_lease::ShownLease;
use super::{RemoteWorkers, key, no_worker};
use crate::server::finisher::{AttemptEnd, BatchHold, EndedBatch, RemoteHold, SettledReply};
use crate::server::leases::LeaseHold;
use crate::server::outbox::Outbox;
use crate::server::worker::timed_out;

/// The end of an attempt, as its worker reports it.
pub(crate) struct WorkerEnd {
    /// The name of the lease.
    pub(crate) lease: String,
    pub(crate) report: EndReport,
    /// Tasks to accept together with a result.
    pub(crate) follow: Vec<NewTask>,
}

/// What an attempt came to.
pub(crate) enum EndReport {
    Ended(Outcome),
    /// It was stopped, as the server has asked.
    Stopped,
    /// The worker has not run it.
    Returned,
}

/// Leases that were taken from a worker, with their ends.
#[derive(Default)]
struct ReleasedLeases {
    ends: Vec<AttemptEnd>,
    holds: Vec<LeaseHold>,
    /// The leases that the worker does not hold.
    stale: Vec<String>,
}

impl RemoteWorkers {
    /// Settles ends of a worker and adds to its credit. The reply is sent when the ends are settled; leases
    /// that the worker does not hold are named in it, and nothing else happens to them.
    ///
    /// # Errors
    /// The connection is no worker, or the server ends.
    pub(crate) async fn settle(
        &self,
        outbox: &Arc<Outbox>,
        id: Option<&str>,
        ends: Vec<WorkerEnd>,
        credit: u32,
    ) -> Result<(), RequestError> {
        // Before anything is released: what is released reaches it, also if it is closed meanwhile.
        let finisher = self.finisher().ok_or_else(RequestError::shutting_down)?;
        let ReleasedLeases { ends, holds, stale } = self.release(outbox, ends, credit)?;
        let reply = SettledReply::new(outbox.clone(), id, stale);
        if ends.is_empty() {
            return Ok(());
        }
        let hold = BatchHold::Remote(RemoteHold::new(holds, Some(reply)));
        send(&finisher, EndedBatch { ends, hold }).await;
        Ok(())
    }

    /// Takes ended leases from a worker.
    fn release(
        &self,
        outbox: &Arc<Outbox>,
        ends: Vec<WorkerEnd>,
        credit: u32,
    ) -> Result<ReleasedLeases, RequestError> {
        let mut state = self.state();
        let connection = key(outbox);
        let shown: Vec<_> = ends.iter().map(|end| ShownLease::parse(&end.lease)).collect();
        let mut was_silent = false;
        if let Some(worker) = state.workers.get_mut(&connection) {
            worker.seen = Instant::now();
            was_silent = std::mem::take(&mut worker.is_silent);
            worker.credit = worker.credit.saturating_add(credit).min(self.resources.limits.credit);
        } else if !shown.iter().flatten().any(|lease| lease.poll.is_some()) {
            return Err(no_worker());
        }
        let mut released = ReleasedLeases::default();
        for (WorkerEnd { lease, report, follow }, shown) in ends.into_iter().zip(shown) {
            let Some(held) = shown.and_then(|shown| state.take_lease(connection, &shown)) else {
                released.stale.push(lease);
                continue;
            };
            let is_timeout = held.stop.as_ref().is_some_and(|stop| stop.is_timeout);
            let timeout = held.lease.task.new.timeout.unwrap_or_default();
            let (end, hold) = held.end(|end| {
                end.outcome = match report {
                    EndReport::Ended(outcome) => Some(outcome),
                    EndReport::Stopped if is_timeout => Some(timed_out(timeout)),
                    EndReport::Stopped | EndReport::Returned => None,
                };
                if matches!(end.outcome, Some(Outcome::Done(_))) {
                    end.follow = follow;
                }
            });
            released.ends.push(end);
            released.holds.push(hold);
        }
        let idle = state.workers.get_mut(&connection).filter(|worker| worker.held() == 0);
        let finished = idle.and_then(|worker| {
            let finished = worker.child.as_mut().and_then(ChildSession::finished)?;
            worker.quiet("drain");
            Some(finished)
        });
        finished.into_iter().for_each(|number| state.admit_next(number));
        if was_silent {
            self.update_served(&state);
        }
        drop(state);
        self.changed.notify_one();
        Ok(released)
    }

    /// Sends ended attempts to the finisher.
    pub(super) async fn send(&self, batch: EndedBatch) {
        if let Some(finisher) = self.finisher() {
            send(&finisher, batch).await;
        }
    }

    /// Sends the attempts of lost workers to the finisher.
    pub(super) async fn send_lost(&self) {
        let lost = std::mem::take(&mut self.state().lost);
        if lost.is_empty() {
            return;
        }
        let (ends, holds) = lost.into_iter().unzip();
        self.send(EndedBatch { ends, hold: BatchHold::Remote(RemoteHold::new(holds, None)) }).await;
    }
}

async fn send(finisher: &mpsc::Sender<EndedBatch>, batch: EndedBatch) {
    if finisher.send(batch).await.is_err() {
        tracing::warn!("an outcome of a worker came after the end of the server; its task runs again");
    }
}

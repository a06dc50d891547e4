//! What becomes of tasks whose worker is silent, whose time is over, or which are cancelled.

use std::time::{Duration, Instant};

use framework_protocol::ReplyWriter;
use framework_protocol::task::now_ms;

use super::RemoteWorkers;
use super::child_session::{ChildOrder, ChildSession};
use super::session::{HeldLease, StopRequest, WorkerSession};
use crate::server::finisher::AttemptEnd;
use crate::server::leases::LeaseHold;
use crate::server::worker::timed_out;

impl RemoteWorkers {
    /// Looks at all that workers hold.
    pub(super) async fn sweep(&self) {
        let now = Instant::now();
        {
            let state = &mut *self.state();
            let overdue = state.take_overdue(now);
            state.lost.extend(overdue);
            self.sweep_polls(state, now);
            let mut silent = Vec::new();
            for worker in state.workers.values_mut() {
                if self.is_newly_silent(worker, now) {
                    silent.push((worker.functions().clone(), now.duration_since(worker.seen)));
                    state.lost.extend(self.lose_silent(worker));
                }
                state.lost.extend(self.sweep_leases(worker, now));
            }
            for (functions, silence) in &silent {
                let seen_ms = now_ms().saturating_sub(silence.as_millis() as u64);
                functions.iter().for_each(|function| self.note_seen(state, function, seen_ms));
            }
            if !silent.is_empty() {
                self.update_served(state);
            }
        }
        self.keep_seen().await;
    }

    /// Whether a worker has been silent for longer than its lease, and was not so before.
    fn is_newly_silent(&self, worker: &WorkerSession, now: Instant) -> bool {
        let lease = self.resources.limits.lease;
        worker.heartbeats && !worker.is_silent && now.duration_since(worker.seen) >= lease
    }

    /// The attempts of a worker that was silent for longer than its lease.
    fn lose_silent(&self, worker: &mut WorkerSession) -> Vec<(AttemptEnd, LeaseHold)> {
        let lease = self.resources.limits.lease;
        worker.is_silent = true;
        tracing::warn!(worker = &*worker.name, running = worker.held(), "a worker sends no heartbeats");
        let silence = humantime::format_duration(lease);
        let reason = format!("The worker \"{}\" was lost: it was silent for {silence}.", worker.name);
        if let Some(child) = &worker.child {
            child.kill(&reason);
            return Vec::new();
        }
        worker.take_all().into_values().map(|held| held.lose(&reason)).collect()
    }

    /// Asks a worker to stop attempts, and ends those that it did not stop in time.
    pub(super) fn sweep_leases(
        &self,
        worker: &mut WorkerSession,
        now: Instant,
    ) -> Vec<(AttemptEnd, LeaseHold)> {
        let mut lines = Vec::new();
        let mut over = Vec::new();
        let child = worker.child.as_ref().map(ChildSession::process);
        // Nothing else shows that it is gone.
        let default_timeout = worker.poll.is_some().then_some(self.resources.limits.lease);
        for (name, held) in worker.leases() {
            match &held.stop {
                None => {
                    let Some(is_timeout) = stop_reason(held, default_timeout, now) else { continue };
                    held.stop = Some(StopRequest { at: now, is_timeout });
                    let why = if is_timeout { "timeout" } else { "cancelled" };
                    ReplyWriter::new(&mut lines).cancel(&name.to_string(), why);
                }
                // The process runs another one, and does not begin this one any more.
                Some(_) if !held.has_begun => {}
                Some(stop) if now.duration_since(stop.at) >= self.resources.limits.cancel => {
                    match &child {
                        // Its attempt ends with it.
                        Some(process) => {
                            if process.end(ChildOrder::End) {
                                let task = held.lease.task.id;
                                tracing::warn!(task, "an attempt does not stop, and its process is ended");
                            }
                        }
                        None => over.push((*name, stop.is_timeout)),
                    }
                }
                Some(_) => {}
            }
        }
        if !lines.is_empty() {
            worker.outbox.write(None, &lines);
        }
        let ended = over.into_iter().filter_map(|(name, is_timeout)| {
            let held = worker.take(name)?;
            Some(if is_timeout { past_timeout(held, worker, now) } else { held.give_back() })
        });
        ended.collect()
    }
}

/// Why an attempt is to stop now: because its time is over (`true`), or its task is cancelled.
fn stop_reason(held: &HeldLease, default_timeout: Option<Duration>, now: Instant) -> Option<bool> {
    if held.lease.task.is_cancel_requested() {
        return Some(false);
    }
    let timeout = held.timeout().or(default_timeout).filter(|_| held.has_begun)?;
    (now.duration_since(held.started) >= timeout).then_some(true)
}

/// The end of an attempt that its worker did not stop in time. One without heartbeats may be gone: that is
/// the only sign of it.
fn past_timeout(held: HeldLease, worker: &WorkerSession, now: Instant) -> (AttemptEnd, LeaseHold) {
    let timeout = held.timeout();
    if worker.heartbeats {
        return held.end(|end| end.outcome = Some(timed_out(timeout.unwrap_or_default())));
    }
    let after = humantime::format_duration(timeout.unwrap_or(now.duration_since(held.started)));
    held.lose(&format!("The worker \"{}\" was lost: its timeout of {after} is over.", worker.name))
}

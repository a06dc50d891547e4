//! The leases of workers whose connection was lost, held for a while so that the same worker can come back
//! for them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::RemoteState;
use super::lease_name::LeaseName;
use super::session::{HeldLease, WorkerSession};
use super::session_key::SessionKey;
use crate::server::finisher::AttemptEnd;
use crate::server::leases::{LeaseHold, Leases};
use crate::server::outbox::Outbox;
use crate::store::InheritedLease;

/// The leases of a worker that is not connected.
pub(super) struct DetachedLeases {
    /// The name that the worker has given itself; empty for one of an earlier process.
    pub(super) worker: Arc<str>,
    pub(super) held: FxHashMap<LeaseName, HeldLease>,
    /// When they are lost unless it has come back.
    pub(super) until: Instant,
    /// Why they are lost then, for people.
    pub(super) reason: String,
}

/// The leases that a worker has asked to have again.
#[derive(Debug, Default)]
pub(super) struct ResumeOutcome {
    /// The leases that the worker has again.
    pub(super) resumed: Vec<String>,
    /// The leases that it does not hold any more.
    pub(super) unknown: Vec<String>,
}

impl RemoteState {
    /// Holds the leases of an earlier process for their workers, for `time`.
    pub(super) fn inherit(&mut self, inherited: Vec<InheritedLease>, leases: &Arc<Leases>, time: Duration) {
        if !inherited.is_empty() {
            tracing::info!(tasks = inherited.len(), "tasks that workers may still run are held for them");
        }
        for InheritedLease { lease, holder, started_ms } in inherited {
            let hold = leases.hold_batch(std::slice::from_ref(&lease));
            let name = LeaseName { epoch: holder.epoch, token: holder.token };
            let detached = self.detached.entry(SessionKey(holder.session)).or_insert_with(|| {
                let time_text = humantime::format_duration(time);
                let reason = format!(
                    "The server ended, and the worker did not come back within {time_text} after that."
                );
                let (worker, held, until) = (Arc::default(), FxHashMap::default(), Instant::now() + time);
                DetachedLeases { worker, held, until, reason }
            });
            let held = HeldLease::inherited(lease, hold, started_ms);
            if SessionKey(holder.session).is_poll() {
                detached.until = detached.until.max(held.started + held.timeout().unwrap_or_default());
            }
            detached.held.insert(name, held);
        }
    }

    /// Takes the leases from all workers that do not outlive this process, or all; with the names by which
    /// connected ones know them, and their outboxes. Not from processes of the server.
    pub(super) fn take_running(
        &mut self,
        spares: bool,
    ) -> Vec<(Arc<Outbox>, FxHashMap<LeaseName, HeldLease>)> {
        let all = std::mem::take(&mut self.detached).into_iter();
        let (kept, ended): (_, FxHashMap<_, _>) = all.partition(|(key, _)| spares || key.is_poll());
        self.detached = kept;
        let ended = ended.into_values().flat_map(|detached| detached.held.into_values());
        self.lost.extend(ended.map(HeldLease::give_back));
        let polls = self.polls.values_mut().flat_map(|worker| worker.take_bound().into_values());
        self.lost.extend(polls.map(HeldLease::give_back));
        let take = |worker: &mut WorkerSession| {
            let held = if spares { worker.take_bound() } else { worker.take_all() };
            (worker.outbox.clone(), held)
        };
        self.workers.values_mut().filter(|worker| worker.child.is_none()).map(take).collect()
    }

    /// Whether no worker holds a task; apart from those that outlive this process, if these are spared.
    /// Workers without a connection are not waited for: they settle with the next process.
    pub(super) fn is_idle(&self, spares: bool) -> bool {
        let running = |worker: &WorkerSession| if spares { worker.bound() } else { worker.held() };
        let is_idle = self.workers.values().all(|worker| running(worker) == 0);
        let detached = self.detached.iter().filter(|(key, _)| !key.is_poll());
        let mut detached = detached.flat_map(|(_, detached)| detached.held.values());
        let is_idle = is_idle && self.lost.is_empty() && !self.has_orphans();
        is_idle && !detached.any(|held| !spares || !held.is_inheritable)
    }

    /// Keeps the leases of a worker whose connection has ended for `time`, if it may come back for them;
    /// otherwise they are lost. At most `most` workers are waited for.
    pub(super) fn detach(&mut self, mut worker: WorkerSession, time: Duration, most: usize) {
        let mut reason = format!("The connection of the worker \"{}\" ended.", worker.name);
        let held = worker.take_all();
        let is_kept = self.is_handed_over || !time.is_zero() && self.detached.len() < most;
        match worker.session {
            Some(key) if is_kept && !held.is_empty() => {
                reason.pop();
                let time_text = humantime::format_duration(time);
                reason.push_str(&format!(", and it did not come back within {time_text}."));
                let until = Instant::now() + time;
                self.detached.insert(key, DetachedLeases { worker: worker.name, held, until, reason });
            }
            _ => self.lost.extend(held.into_values().map(|held| held.lose(&reason))),
        }
    }

    /// Gives a worker that joins those of its leases again that it names, from an earlier connection of the
    /// same session, which ends with this. It does not run the others: they are given back without counting.
    pub(super) fn resume(&mut self, worker: &mut WorkerSession, names: Vec<String>) -> ResumeOutcome {
        let mut outcome = ResumeOutcome::default();
        let mut left = worker.session.map(|key| self.take_session(key)).unwrap_or_default();
        for name in names {
            let lease = LeaseName::parse(&name);
            let held = lease.and_then(|lease| left.remove_entry(&lease));
            match held {
                Some((lease, held)) if worker.may_run(&held) => {
                    worker.adopt(lease, held);
                    outcome.resumed.push(name);
                }
                held => {
                    left.extend(held);
                    outcome.unknown.push(name);
                }
            }
        }
        self.lost.extend(left.into_values().map(HeldLease::give_back));
        outcome
    }

    /// Takes the leases of a session, whose present connection is no worker's any more.
    fn take_session(&mut self, key: SessionKey) -> FxHashMap<LeaseName, HeldLease> {
        let mut held = self.detached.remove(&key).map(|detached| detached.held).unwrap_or_default();
        let is_it = |(_, worker): &(&usize, &WorkerSession)| worker.session == Some(key);
        let connection = self.workers.iter().find(is_it).map(|(connection, _)| *connection);
        if let Some(mut worker) = connection.and_then(|connection| self.workers.remove(&connection)) {
            worker.quiet("resumed elsewhere");
            worker.outbox.set_worker(false);
            worker.outbox.wake();
            held.extend(worker.take_all());
        }
        held
    }

    /// Takes the leases of workers that did not come back in time.
    pub(super) fn take_overdue(&mut self, now: Instant) -> Vec<(AttemptEnd, LeaseHold)> {
        if self.is_handed_over {
            return Vec::new();
        }
        let is_overdue = |(_, detached): &(&SessionKey, &DetachedLeases)| detached.until <= now;
        let overdue: Vec<_> = self.detached.iter().filter(is_overdue).map(|(key, _)| *key).collect();
        let overdue = overdue.into_iter().filter_map(|key| self.detached.remove(&key));
        let lose = |detached: DetachedLeases| {
            tracing::warn!(
                worker = &*detached.worker,
                tasks = detached.held.len(),
                "a worker has not come back"
            );
            detached.held.into_values().map(move |held| held.lose(&detached.reason)).collect::<Vec<_>>()
        };
        overdue.flat_map(lose).collect()
    }
}

//! The workers that are processes of the server itself: what they hold ends when they do, for that reason.
//!
//! A process and its connection end in any order. What a session holds is lost only once both have: by then
//! everything that the process has sent was read, and how it has ended is known.

use std::sync::Arc;
use std::time::Instant;

use framework_protocol::{ErrorCode, RequestError};
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

use super::child_session::{ChildOrder, ChildProcess, ChildSession};
use super::lease_name::LeaseName;
use super::session::{HeldLease, StopRequest};
use super::{RemoteLimits, RemoteState, RemoteWorkers};
use crate::server::finisher::AttemptEnd;
use crate::server::leases::LeaseHold;
use crate::server::poll::at_once;
use crate::server::worker::timed_out;
use crate::store::RemoteScope;

/// One of these processes, from its start until both it and its connection have ended.
pub(super) struct ChildRecord {
    process: Arc<ChildProcess>,
    /// The tasks that it may still be given; `None` is any number.
    tasks: Option<u32>,
    /// The process whose place it takes.
    before: Option<u64>,
    /// What it holds although its connection has ended, in the order in which that was handed out; `None`
    /// before.
    orphans: Option<Vec<HeldLease>>,
    /// How it has ended.
    ended: Option<ChildEnd>,
    /// Dropped when its connection ends, for whoever waits for that.
    connected: Option<oneshot::Sender<()>>,
}

/// The end of a process.
pub(crate) struct ChildEnd {
    /// The error of an attempt that is lost with it.
    pub(crate) error: String,
    /// It was killed from outside, as by an operator or for want of memory: a task that it had not begun has
    /// no part in that.
    pub(crate) was_killed: bool,
}

impl RemoteWorkers {
    /// Lets a process join that is given at most so many `tasks`, and none before the one with the number
    /// `before` has ended its last. Returns its own number.
    pub(crate) fn add_child(
        &self,
        process: Arc<ChildProcess>,
        tasks: Option<u32>,
        before: Option<u64>,
    ) -> u64 {
        let mut state = self.state();
        state.last_child += 1;
        let number = state.last_child;
        let (orphans, ended, connected) = (None, None, None);
        state.children.insert(number, ChildRecord { process, tasks, before, orphans, ended, connected });
        number
    }

    /// Whether a task is due that processes of the server run, once the store is closed.
    pub(super) async fn has_isolated_task(&self) -> bool {
        let RemoteLimits { isolated, isolated_workers, .. } = &self.resources.limits;
        let functions = isolated.iter().map(|name| Arc::from(*name)).collect();
        let scopes = Arc::from([RemoteScope { functions, queues: None }]);
        *isolated_workers > 0 && at_once(&mut self.resources.store.ready_remote(scopes)).await == Some(true)
    }

    /// What resolves when the connection of a process has ended; `None` when it has none.
    pub(crate) fn child_disconnects(&self, number: u64) -> Option<oneshot::Receiver<()>> {
        let state = &mut *self.state();
        let is_connected = state.child_sessions().any(|child| child.number == number);
        let record = state.children.get_mut(&number).filter(|_| is_connected)?;
        let (connected, disconnects) = oneshot::channel();
        record.connected = Some(connected);
        Some(disconnects)
    }

    /// Notes that a process has ended. To be called once nothing more can come over its connection than has
    /// come already.
    pub(crate) fn child_ended(&self, number: u64, end: ChildEnd) {
        let state = &mut *self.state();
        let is_connected = state.child_sessions().any(|child| child.number == number);
        let Some(record) = state.children.get_mut(&number) else { return };
        record.ended = Some(end);
        // One that has never joined has no session that could end.
        if !is_connected {
            record.orphans.get_or_insert_default();
        }
        state.remove_child(number);
        self.changed.notify_one();
    }
}

impl RemoteState {
    fn child_sessions(&self) -> impl Iterator<Item = &ChildSession> {
        self.workers.values().filter_map(|worker| worker.child.as_ref())
    }

    /// The session of a process that joins.
    pub(super) fn child_session(&self, number: u64) -> Result<ChildSession, RequestError> {
        let gone = || RequestError::new(ErrorCode::Conflict, "This process has ended.");
        let record = self.children.get(&number).ok_or_else(gone)?;
        let before = record.before.filter(|before| self.is_busy(*before));
        Ok(ChildSession::new(number, record.process.clone(), record.tasks, before))
    }

    /// Whether a process holds something.
    fn is_busy(&self, number: u64) -> bool {
        let of_number = |child: &ChildSession| child.number == number;
        let mut workers = self.workers.values().filter(|worker| worker.child.as_ref().is_some_and(of_number));
        let orphans = self.children.get(&number).and_then(|record| record.orphans.as_ref());
        workers.any(|worker| worker.held() > 0) || orphans.is_some_and(|orphans| !orphans.is_empty())
    }

    /// Lets the process work that has waited for the end of this one.
    pub(super) fn admit_next(&mut self, number: u64) {
        for child in self.workers.values_mut().filter_map(|worker| worker.child.as_mut()) {
            child.has_ended(number);
        }
    }

    /// Notes that the connection of a process has ended, which is of no more use then.
    pub(super) fn child_disconnected(&mut self, child: &ChildSession, held: FxHashMap<LeaseName, HeldLease>) {
        child.disconnected();
        if let Some(record) = self.children.get_mut(&child.number) {
            let mut held: Vec<_> = held.into_iter().collect();
            held.sort_by_key(|(name, _)| name.token);
            record.orphans = Some(held.into_iter().map(|(_, held)| held).collect());
            record.connected = None;
        }
        self.remove_child(child.number);
    }

    /// Forgets a process once both it and its connection have ended; what it held is lost then.
    fn remove_child(&mut self, number: u64) {
        let has_ended = |record: &ChildRecord| record.ended.is_some() && record.orphans.is_some();
        if !self.children.get(&number).is_some_and(has_ended) {
            return;
        }
        let Some(record) = self.children.remove(&number) else { return };
        let Some(ChildEnd { error, was_killed }) = record.ended else { return };
        let mut orphans = record.orphans.unwrap_or_default();
        // It ran one task at a time. One that ends by itself before it has begun any has done so because of the
        // next one.
        if !was_killed && !record.process.is_end_wanted() && orphans.iter().all(|held| !held.has_begun) {
            orphans.first_mut().into_iter().for_each(|held| held.has_begun = true);
        }
        let ended = orphans.into_iter().map(|held| match held.has_begun {
            true => end_with_process(held, &error),
            false => held.give_back(),
        });
        self.lost.extend(ended);
        self.admit_next(number);
    }

    /// Whether an attempt has lost its connection, but its process has not ended yet.
    pub(super) fn has_orphans(&self) -> bool {
        self.children
            .values()
            .any(|record| record.orphans.as_ref().is_some_and(|orphans| !orphans.is_empty()))
    }

    /// Has every process killed that holds something, which goes back then without counting.
    pub(super) fn kill_children(&mut self) {
        let now = Instant::now();
        for worker in self.workers.values_mut().filter(|worker| worker.held() > 0) {
            let Some(process) = worker.child.as_ref().map(ChildSession::process) else { continue };
            worker.stop_all(now);
            process.end(ChildOrder::Kill);
        }
        for record in self.children.values_mut() {
            let orphans = record.orphans.iter_mut().flatten();
            orphans.for_each(|held| _ = held.stop.get_or_insert(StopRequest { at: now, is_timeout: false }));
        }
    }
}

/// The end of an attempt whose process has ended: as it was stopped, or lost with this error.
fn end_with_process(held: HeldLease, error: &str) -> (AttemptEnd, LeaseHold) {
    match &held.stop {
        None => held.lose(error),
        Some(StopRequest { is_timeout: false, .. }) => held.give_back(),
        Some(StopRequest { is_timeout: true, .. }) => {
            let timeout = held.lease.task.new.timeout.unwrap_or_default();
            held.end(|end| end.outcome = Some(timed_out(timeout)))
        }
    }
}

#[cfg(test)]
mod tests;

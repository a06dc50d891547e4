//! What a worker reports beside the ends of its tasks.

use std::sync::Arc;
use std::time::Instant;

use framework_protocol::RequestError;
use framework_protocol::task::TaskRecord;

use super::child_session::ChildSession;
use super::lease_name::LeaseName;
use super::session::WorkerSession;
use super::shown_lease::ShownLease;
use super::{RemoteWorkers, key, no_worker};
use crate::server::outbox::Outbox;

impl RemoteWorkers {
    /// Lets a worker have further tasks.
    ///
    /// # Errors
    /// The connection is no worker.
    pub(crate) fn add_credit(&self, outbox: &Arc<Outbox>, credit: u32) -> Result<(), RequestError> {
        let most = self.resources.limits.credit;
        self.with_worker(outbox, |worker| worker.credit = worker.credit.saturating_add(credit).min(most))?;
        self.changed.notify_one();
        Ok(())
    }

    /// Notes that a worker is alive, as every message of it does.
    ///
    /// # Errors
    /// The connection is no worker.
    pub(crate) fn heartbeat(&self, outbox: &Arc<Outbox>) -> Result<(), RequestError> {
        self.with_worker(outbox, |_| ())
    }

    /// Notes that an attempt begins now: its time counts from here, and it is the one that has ended the
    /// worker should this end.
    ///
    /// # Errors
    /// The connection is no worker.
    pub(crate) fn begin(&self, outbox: &Arc<Outbox>, lease: &str) -> Result<(), RequestError> {
        let name = LeaseName::parse(lease);
        self.with_worker(outbox, |worker| name.into_iter().for_each(|name| worker.begin(name)))
    }

    /// Hands out nothing more to a worker, whose leases are given back without counting should its connection
    /// end now.
    ///
    /// # Errors
    /// The connection is no worker.
    pub(crate) fn sign_off(&self, outbox: &Arc<Outbox>) -> Result<(), RequestError> {
        self.with_worker(outbox, |worker| {
            (worker.is_quiet, worker.has_left) = (true, true);
            worker.child.iter().for_each(ChildSession::left);
        })
    }

    /// Reports the progress of an attempt; `false` when the worker does not hold the lease.
    ///
    /// # Errors
    /// The connection is no worker.
    pub(crate) fn progress(
        &self,
        outbox: &Arc<Outbox>,
        lease: &str,
        percent: f64,
        text: &str,
    ) -> Result<bool, RequestError> {
        let Some((task, _)) = self.task_of(outbox, lease)? else { return Ok(false) };
        let progress = task.report_progress(percent, text);
        self.resources.sink.progress(task.id, &progress);
        Ok(true)
    }

    /// Adds a line to the log of an attempt; `false` when the worker does not hold the lease.
    ///
    /// # Errors
    /// The connection is no worker.
    pub(crate) fn log(&self, outbox: &Arc<Outbox>, lease: &str, text: &str) -> Result<bool, RequestError> {
        let Some((task, attempt)) = self.task_of(outbox, lease)? else { return Ok(false) };
        let line = task.report_line(attempt, text);
        self.resources.sink.line(task.id, &line);
        Ok(true)
    }

    /// The task of a lease that the worker of this connection holds, or one without a connection, and the
    /// number of the attempt.
    fn task_of(
        &self,
        outbox: &Arc<Outbox>,
        lease: &str,
    ) -> Result<Option<(Arc<TaskRecord>, u32)>, RequestError> {
        match ShownLease::parse(lease) {
            Some(ShownLease { name, poll: Some(poll) }) => Ok(self.state().polled_task(poll, name)),
            lease => self.with_worker(outbox, |worker| worker.task(lease?.name)),
        }
    }

    /// Changes a worker that has sent a message, and notes that it is alive.
    fn with_worker<T>(
        &self,
        outbox: &Arc<Outbox>,
        change: impl FnOnce(&mut WorkerSession) -> T,
    ) -> Result<T, RequestError> {
        let mut state = self.state();
        let worker = state.workers.get_mut(&key(outbox)).ok_or_else(no_worker)?;
        let was_silent = std::mem::take(&mut worker.is_silent);
        worker.seen = Instant::now();
        let changed = change(worker);
        if was_silent {
            self.update_served(&state);
            self.changed.notify_one();
        }
        Ok(changed)
    }
}

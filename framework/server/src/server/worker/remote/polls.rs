//! Workers that keep no connection: one request over HTTP gets tasks, later ones settle them.
//!
//! Each request that gets tasks is a session of its own, whose secret is part of the names of its leases:
//! whoever has the name of a lease may settle it. The leases outlive the process, as those of any session do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use framework_protocol::RequestError;
use framework_protocol::task::TaskRecord;
use framework_protocol::worker::RenewReply;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::timeout;

use super::lease_name::LeaseName;
use super::session::{HeldLease, JoinRequest, WorkerSession};
use super::session_key::SessionKey;
use super::shown_lease::ShownLease;
use super::{RemoteState, RemoteWorkers, key};
use crate::server::outbox::Outbox;

impl RemoteWorkers {
    /// Hands out tasks to a worker without a connection: once there is one, as many as there are up to its
    /// credit, or none after `wait`. Their messages are in the outbox then, and `check` looks whether the
    /// client is still there. The worker holds each until it settles it, or until the timeout of the task
    /// (`worker_lease_time` for a task without one) and `worker_cancel_time` are over. What was handed out
    /// goes back uncounted when the future is dropped and the outbox
    /// [removed](RemoteWorkers::remove_connection).
    ///
    /// # Errors
    /// Those of [`RemoteWorkers::join`].
    pub(crate) async fn poll(
        self: &Arc<Self>,
        outbox: &Arc<Outbox>,
        request: JoinRequest,
        wait: Duration,
        check: impl Future<Output = ()>,
    ) -> Result<(), RequestError> {
        let secret = draw_secret()?;
        let session = SessionKey::of_poll(&secret);
        let request = JoinRequest { session: Some(session), poll: Some(secret), ..request };
        self.admit(outbox, request, |_| ()).await?;
        // What waits already is handed out also to who does not wait; to its end, if the client goes meanwhile.
        let remote = self.clone();
        let _ = tokio::spawn(async move { remote.dispatch().await }).await;
        // Wakes for tasks, and when there will be none.
        let _ = timeout(wait, outbox.changed()).await;
        check.await;
        self.end_poll(outbox, session);
        Ok(())
    }

    /// Hands out nothing more to a worker, whose request is answered.
    fn end_poll(&self, outbox: &Arc<Outbox>, session: SessionKey) {
        let mut state = self.state();
        let Some(mut worker) = state.workers.remove(&key(outbox)) else { return };
        outbox.set_worker(false);
        worker.has_left = false;
        worker.credit = 0;
        let now_ms = framework_protocol::task::now_ms();
        for function in worker.functions().iter() {
            self.note_seen(&mut state, function, now_ms);
        }
        if worker.held() > 0 {
            state.polls.insert(session, worker);
        }
        self.update_served(&state);
    }

    /// Says which attempts of these leases are to stop, and which leases their worker does not hold any more.
    pub(crate) fn renew(&self, outbox: &Arc<Outbox>, leases: Vec<String>) -> RenewReply {
        let mut state = self.state();
        let mut reply = RenewReply::default();
        for text in leases {
            let lease = ShownLease::parse(&text);
            match lease.and_then(|lease| state.renew(key(outbox), &lease)) {
                Some(true) => reply.cancel.push(text),
                Some(false) => {}
                None => reply.stale.push(text),
            }
        }
        reply
    }

    /// Takes the leases of workers without a connection that have not settled them in time.
    pub(super) fn sweep_polls(&self, state: &mut RemoteState, now: Instant) {
        let RemoteState { polls, lost, .. } = state;
        for worker in polls.values_mut() {
            lost.extend(self.sweep_leases(worker, now));
        }
        polls.retain(|_, worker| worker.held() > 0);
    }
}

impl RemoteState {
    /// All workers, also those without a connection.
    pub(super) fn sessions(&self) -> impl Iterator<Item = &WorkerSession> {
        self.workers.values().chain(self.polls.values())
    }

    /// Takes a lease from its worker: that of this connection, or one without.
    pub(super) fn take_lease(&mut self, connection: usize, lease: &ShownLease) -> Option<HeldLease> {
        let Some(poll) = lease.poll else { return self.workers.get_mut(&connection)?.take(lease.name) };
        if let Some(worker) = self.polls.get_mut(&poll) {
            worker.seen = Instant::now();
            let held = worker.take(lease.name);
            if worker.held() == 0 {
                self.polls.remove(&poll);
            }
            return held;
        }
        let detached = self.detached.get_mut(&poll)?;
        let held = detached.held.remove(&lease.name);
        if detached.held.is_empty() {
            self.detached.remove(&poll);
        }
        held
    }

    /// The task of a lease of a worker without a connection, and the number of the attempt.
    pub(super) fn polled_task(&self, poll: SessionKey, name: LeaseName) -> Option<(Arc<TaskRecord>, u32)> {
        let task = self.polls.get(&poll).and_then(|worker| worker.task(name));
        task.or_else(|| self.detached.get(&poll)?.held.get(&name).map(HeldLease::task))
    }

    /// Notes that the worker of a lease is alive. Whether the attempt is to stop; `None` when nobody holds
    /// the lease.
    fn renew(&mut self, connection: usize, lease: &ShownLease) -> Option<bool> {
        let worker = match lease.poll {
            None => self.workers.get_mut(&connection),
            Some(poll) => self.polls.get_mut(&poll),
        };
        if let Some(worker) = worker {
            let held = worker.get(lease.name)?;
            let is_stopped = held.stop.is_some();
            worker.seen = Instant::now();
            return Some(is_stopped);
        }
        let held = self.detached.get(&lease.poll?)?.held.get(&lease.name)?;
        Some(held.lease.task.is_cancel_requested())
    }
}

/// The secret of a session: 128 random bits.
fn draw_secret() -> Result<Box<str>, RequestError> {
    use std::fmt::Write;
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| {
        RequestError::new(framework_protocol::ErrorCode::Internal, "The system has no random numbers.")
    })?;
    let mut secret = String::with_capacity(32);
    bytes.iter().for_each(|byte| write!(secret, "{byte:02x}").expect("a string takes every text"));
    Ok(secret.into())
}

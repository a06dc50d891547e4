//! One worker: its functions, its credit, and the leases that it holds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use framework_protocol::ReplyWriter;
use framework_protocol::task::{Registration, TaskRecord, now_ms};
use framework_protocol::views::WorkerInfo;
use rustc_hash::FxHashMap;

use super::RemoteLimits;
use super::child_session::ChildSession;
use super::lease_name::LeaseName;
use super::session_key::SessionKey;
use crate::server::access::WorkBounds;
use crate::server::finisher::AttemptEnd;
use crate::server::leases::LeaseHold;
use crate::server::outbox::Outbox;
use crate::store::{Lease, RemoteScope};

/// What a worker says of itself when it joins.
pub(crate) struct JoinRequest {
    pub(crate) name: String,
    pub(crate) language: String,
    pub(crate) peer: String,
    /// The number of a child process of the server.
    pub(crate) child: Option<u64>,
    pub(crate) credit: u32,
    pub(crate) credit_bytes: Option<usize>,
    pub(crate) heartbeats: bool,
    pub(crate) functions: Vec<Registration>,
    /// The session across connections, for a worker that comes back for its leases.
    pub(crate) session: Option<SessionKey>,
    /// The secret of a session that is one request over HTTP.
    pub(crate) poll: Option<Box<str>>,
    /// The leases of it that the worker still has.
    pub(crate) resumes: Vec<String>,
    /// The only queues that it takes tasks from; `None` is all.
    pub(crate) queues: Option<Vec<Box<str>>>,
    /// The tasks that its token lets it run.
    pub(crate) bounds: WorkBounds,
}

/// One worker, and what it holds.
pub(super) struct WorkerSession {
    pub(super) name: Arc<str>,
    pub(super) language: String,
    peer: String,
    /// `None` for one that the server has not started itself.
    pub(super) child: Option<ChildSession>,
    pub(super) session: Option<SessionKey>,
    /// The secret of one that has come over HTTP, which its leases are named with.
    pub(super) poll: Option<Box<str>>,
    pub(super) outbox: Arc<Outbox>,
    /// The tasks that it may be given.
    pub(super) scope: RemoteScope,
    /// How many further tasks it could start now.
    pub(super) credit: u32,
    /// The number of the last task that it was given, among those of all workers.
    pub(super) turn: u64,
    credit_bytes: usize,
    held_bytes: usize,
    /// Whether it sends heartbeats, so that silence means that it is lost.
    pub(super) heartbeats: bool,
    /// It gets no further tasks.
    pub(super) is_quiet: bool,
    /// It was silent for longer than a lease, and has sent nothing since.
    pub(super) is_silent: bool,
    /// It has said that it goes, or has not got its tasks yet: these are given back with its connection.
    pub(super) has_left: bool,
    held: FxHashMap<LeaseName, HeldLease>,
    connected: Instant,
    /// The time of its last message.
    pub(super) seen: Instant,
}

/// A lease that a worker holds.
pub(super) struct HeldLease {
    pub(super) lease: Lease,
    hold: LeaseHold,
    /// The name of the worker; `None` while that is not known, after the end of an earlier process.
    worker: Option<Arc<str>>,
    /// The length of the message with its task.
    bytes: usize,
    /// When the attempt began, or was handed out.
    pub(super) started: Instant,
    /// The attempt has begun, for all that is known: a process of the server says so of each.
    pub(super) has_begun: bool,
    pub(super) stop: Option<StopRequest>,
    /// The next process inherits it, should this one end.
    pub(super) is_inheritable: bool,
}

/// The request to a worker to stop an attempt.
pub(super) struct StopRequest {
    pub(super) at: Instant,
    /// Because of its timeout, and not because its task was cancelled.
    pub(super) is_timeout: bool,
}

impl WorkerSession {
    pub(super) fn new(
        request: JoinRequest,
        scope: RemoteScope,
        outbox: Arc<Outbox>,
        child: Option<ChildSession>,
        limits: &RemoteLimits,
    ) -> Self {
        let now = Instant::now();
        Self {
            name: request.name.into(),
            language: request.language,
            peer: request.peer,
            // A child process ends with this one, and never comes back.
            session: request.session.filter(|_| child.is_none()),
            has_left: request.poll.is_some(),
            poll: request.poll,
            child,
            outbox,
            scope,
            credit: request.credit.min(limits.credit),
            credit_bytes: request.credit_bytes.unwrap_or(usize::MAX).min(limits.credit_bytes),
            turn: 0,
            held_bytes: 0,
            heartbeats: request.heartbeats,
            is_quiet: false,
            is_silent: false,
            held: FxHashMap::default(),
            connected: now,
            seen: now,
        }
    }

    /// Whether people are told that it comes and goes: it is neither a process of the server, nor here for
    /// one request.
    pub(super) fn is_announced(&self) -> bool {
        self.child.is_none() && self.poll.is_none()
    }

    pub(super) fn functions(&self) -> &Arc<[Arc<str>]> {
        &self.scope.functions
    }

    /// Whether it has registered a function.
    pub(super) fn knows(&self, function: &str) -> bool {
        self.scope.functions.iter().any(|name| **name == *function)
    }

    /// The number of leases that it holds.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// The tasks that it can be given now. Of bytes it may hold one task more than its credit.
    pub(super) fn room(&self) -> u32 {
        let is_open = !self.is_quiet && !self.is_silent && self.held_bytes < self.credit_bytes.max(1);
        let most = self.child.as_ref().map_or(u32::MAX, ChildSession::room);
        if is_open { self.credit.min(most) } else { 0 }
    }

    /// Notes a lease whose task is sent in a message of this length.
    pub(super) fn hold(&mut self, name: LeaseName, lease: Lease, hold: LeaseHold, bytes: usize) {
        self.credit -= 1;
        self.held_bytes += bytes;
        let (started, started_ms) = (Instant::now(), now_ms());
        let holder = self.session.map(|session| session.holder(name));
        let is_inheritable = holder.is_some_and(|holder| lease.assign(&holder, started_ms));
        let worker = Some(self.name.clone());
        let has_begun = self.child.is_none();
        let held = HeldLease { lease, hold, worker, bytes, started, has_begun, stop: None, is_inheritable };
        self.held.insert(name, held);
        if let Some(child) = &mut self.child {
            child.assigned();
        }
    }

    /// Notes that an attempt begins now.
    pub(super) fn begin(&mut self, name: LeaseName) {
        let Some(held) = self.held.get_mut(&name) else { return };
        (held.started, held.has_begun) = (Instant::now(), true);
        if let Some(child) = &mut self.child {
            child.begins();
        }
    }

    /// Takes a lease from it; `None` when it does not hold it.
    pub(super) fn take(&mut self, name: LeaseName) -> Option<HeldLease> {
        let held = self.held.remove(&name)?;
        self.held_bytes -= held.bytes;
        Some(held)
    }

    /// Takes the leases from it that do not outlive this process.
    pub(super) fn take_bound(&mut self) -> FxHashMap<LeaseName, HeldLease> {
        let all = std::mem::take(&mut self.held);
        let (kept, bound): (_, FxHashMap<_, _>) = all.into_iter().partition(|(_, held)| held.is_inheritable);
        self.held = kept;
        self.held_bytes -= bound.values().map(|held| held.bytes).sum::<usize>();
        bound
    }

    /// The number of those.
    pub(super) fn bound(&self) -> usize {
        self.held.values().filter(|held| !held.is_inheritable).count()
    }

    /// Takes all leases from it.
    pub(super) fn take_all(&mut self) -> FxHashMap<LeaseName, HeldLease> {
        self.held_bytes = 0;
        std::mem::take(&mut self.held)
    }

    /// Asks it to stop its attempts, whose leases go back when it has: a process of the server.
    pub(super) fn stop_all(&mut self, now: Instant) {
        for held in self.held.values_mut() {
            held.stop.get_or_insert(StopRequest { at: now, is_timeout: false });
        }
    }

    /// Whether it may run the task of a lease of an earlier connection.
    pub(super) fn may_run(&self, held: &HeldLease) -> bool {
        let new = &held.lease.task.new;
        self.scope.covers(&new.function, &new.queue)
    }

    /// Gives it a lease again that it had in an earlier connection.
    pub(super) fn adopt(&mut self, name: LeaseName, held: HeldLease) {
        self.held_bytes += held.bytes;
        // What was asked of it may not have come through, and is asked again.
        self.held.insert(name, HeldLease { stop: None, worker: Some(self.name.clone()), ..held });
    }

    pub(super) fn leases(&mut self) -> impl Iterator<Item = (&LeaseName, &mut HeldLease)> {
        self.held.iter_mut()
    }

    /// A lease that it holds.
    pub(super) fn get(&self, name: LeaseName) -> Option<&HeldLease> {
        self.held.get(&name)
    }

    /// The task of a lease that it holds, and the number of the attempt.
    pub(super) fn task(&self, name: LeaseName) -> Option<(Arc<TaskRecord>, u32)> {
        self.held.get(&name).map(HeldLease::task)
    }

    /// Gives it no further tasks, and says so.
    pub(super) fn quiet(&mut self, why: &str) {
        self.is_quiet = true;
        if self.poll.is_some() {
            self.outbox.wake();
            return;
        }
        let mut line = Vec::new();
        ReplyWriter::new(&mut line).quiet(why);
        self.outbox.write(None, &line);
    }

    pub(super) fn describe(&self) -> WorkerInfo {
        WorkerInfo {
            name: self.name.as_ref().to_owned(),
            language: self.language.clone(),
            peer: self.peer.clone(),
            functions: self.functions().iter().map(|function| function.as_ref().to_owned()).collect(),
            queues: self
                .scope
                .queues
                .as_ref()
                .map(|queues| queues.iter().map(|queue| queue.to_string()).collect()),
            credit: self.credit,
            running: u32::try_from(self.held.len()).unwrap_or(u32::MAX),
            quiet: self.is_quiet,
            heartbeats: self.heartbeats,
            connected_ms: self.connected.elapsed().as_millis() as u64,
            silent_ms: self.seen.elapsed().as_millis() as u64,
        }
    }
}

impl HeldLease {
    /// A lease of an earlier process.
    pub(super) fn inherited(lease: Lease, hold: LeaseHold, started_ms: u64) -> Self {
        let now = Instant::now();
        let ago = Duration::from_millis(now_ms().saturating_sub(started_ms));
        let started = now.checked_sub(ago).unwrap_or(now);
        let bytes = lease.task.new.args.len();
        let (worker, stop) = (None, None);
        Self { lease, hold, worker, bytes, started, has_begun: true, stop, is_inheritable: true }
    }

    /// Its task, and the number of the attempt.
    pub(super) fn task(&self) -> (Arc<TaskRecord>, u32) {
        (self.lease.task.clone(), self.lease.attempt)
    }

    /// The time that the attempt may take, if it is bounded.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.lease.task.new.timeout
    }

    /// The end of an attempt that does not count.
    pub(super) fn give_back(self) -> (AttemptEnd, LeaseHold) {
        self.end(|_| ())
    }

    /// The end of an attempt that nobody saw, for this reason.
    pub(super) fn lose(self, reason: &str) -> (AttemptEnd, LeaseHold) {
        self.end(|end| end.lost = Some(reason.to_owned()))
    }

    /// The end of the attempt now.
    pub(super) fn end(self, complete: impl FnOnce(&mut AttemptEnd)) -> (AttemptEnd, LeaseHold) {
        let mut end = AttemptEnd::aborted(self.lease, self.started, Instant::now());
        end.worker = self.worker;
        complete(&mut end);
        (end, self.hold)
    }
}

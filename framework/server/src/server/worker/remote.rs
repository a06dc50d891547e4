//! Workers outside of this process, in any language: what they registered, the tasks they hold, and how many
//! more they could start.
//!
//! ```text
//! verbs ── join, settle, credit, heartbeat ──> WorkerSession ── ends ──> finisher
//!                                                   ^
//! store ── leases ── dispatch, as far as there is credit
//! ```
//!
//! A session owns its leases, and gives them back when it ends. It knows an outbox and no socket, so that
//! anything can carry it. Nothing of it is written to the disk but what was registered.

pub(super) mod child_session;
pub(super) mod children;
mod detached;
mod dispatch;
mod ends;
mod functions;
mod lease_name;
mod limits;
mod polls;
mod reports;
mod session;
mod session_key;
mod shown_lease;
mod sweep;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use framework_protocol::task::{Handlers, ProgressSink};
use framework_protocol::views::WorkerInfo;
use framework_protocol::worker::JoinReply;
use framework_protocol::{ErrorCode, ReplyWriter, RequestError, ShownName};
use rustc_hash::FxHashMap;
use tokio::sync::{Notify, mpsc};

use self::children::ChildRecord;
use self::detached::{DetachedLeases, ResumeOutcome};
pub(crate) use self::ends::{EndReport, WorkerEnd};
pub(crate) use self::functions::KeptFunctions;
use self::lease_name::LeaseName;
pub(crate) use self::limits::RemoteLimits;
pub(crate) use self::session::JoinRequest;
use self::session::{HeldLease, WorkerSession};
pub(crate) use self::session_key::SessionKey;
use super::super::finisher::{AttemptEnd, EndedBatch};
use super::super::leases::{LeaseHold, Leases};
use super::super::metrics::Limits;
use super::super::outbox::Outbox;
use crate::store::{RemoteScope, Store};

/// The interval of looks at whether the last tasks of workers have ended.
const IDLE_CHECK: Duration = Duration::from_millis(10);

/// The parts of a server that its workers outside of this process need.
pub(crate) struct RemoteResources {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) handlers: Arc<Handlers>,
    pub(crate) sink: Arc<dyn ProgressSink>,
    pub(crate) leases: Arc<Leases>,
    pub(crate) hits: Arc<Limits>,
    pub(crate) limits: RemoteLimits,
    /// The tasks that others than workers take.
    pub(crate) others: Option<RemoteScope>,
}

/// All workers outside of this process.
pub(crate) struct RemoteWorkers {
    resources: RemoteResources,
    /// When this process began to hand out tasks, in milliseconds since 1970; tells its leases from those of
    /// an earlier one.
    started_ms: u64,
    state: Mutex<RemoteState>,
    /// Workers join one after the other, so that no bound is passed by several at once.
    joining: tokio::sync::Mutex<()>,
    /// Tasks are handed out in one place at a time, so that no more are leased than there is credit for.
    dispatching: tokio::sync::Mutex<()>,
    /// Rung when there is more to hand out or to give back.
    changed: Notify,
    /// `None` once the stages end.
    finisher: Mutex<Option<mpsc::Sender<EndedBatch>>>,
}

#[derive(Default)]
struct RemoteState {
    /// By the address of their outbox, which they keep alive.
    workers: FxHashMap<usize, WorkerSession>,
    /// The processes of the server that are workers, by their numbers.
    children: FxHashMap<u64, ChildRecord>,
    last_child: u64,
    /// The number of tasks that were to be handed out.
    turn: u64,
    /// The workers that have got their tasks over HTTP, and hold some.
    polls: FxHashMap<SessionKey, WorkerSession>,
    /// The leases of workers that may come back for them.
    detached: FxHashMap<SessionKey, DetachedLeases>,
    /// The attempts whose workers were lost, on their way to the finisher.
    lost: Vec<(AttemptEnd, LeaseHold)>,
    /// When each registered function was last run by a worker, in milliseconds since 1970; as it is kept.
    seen: BTreeMap<Arc<str>, u64>,
    /// When the last worker has gone that ran one of this program's own functions.
    gone: BTreeMap<Arc<str>, u64>,
    dispatch: Dispatch,
    /// What outlives this process goes to the next one, which waits for the workers.
    is_handed_over: bool,
}

/// Who is handed out tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Dispatch {
    #[default]
    Nobody,
    /// The server's own processes, up to the end of what is due.
    Children,
    All,
}

impl RemoteWorkers {
    /// No workers yet; ends go to `finisher`.
    pub(crate) fn new(resources: RemoteResources, finisher: mpsc::Sender<EndedBatch>) -> Self {
        let started_ms = framework_protocol::task::now_ms();
        let mut state = RemoteState::default();
        let inherited = resources.store.take_inherited();
        state.inherit(inherited, &resources.leases, resources.limits.lease);
        let state = Mutex::new(state);
        let (joining, dispatching, changed) = Default::default();
        let finisher = Mutex::new(Some(finisher));
        let workers = Self { resources, started_ms, state, joining, dispatching, changed, finisher };
        workers.update_served(&workers.state());
        workers
    }

    fn state(&self) -> MutexGuard<'_, RemoteState> {
        self.state.lock().expect("no panic while the workers are locked")
    }

    pub(crate) fn limits(&self) -> &RemoteLimits {
        &self.resources.limits
    }

    /// Adds a worker: registers its functions, gives it the leases again that it resumes, completes the
    /// `reply` with these and sends it, and hands out tasks to it from then on.
    ///
    /// # Errors
    /// A bound is reached, a function cannot be registered, or the connection is a worker already.
    pub(crate) async fn join(
        &self,
        outbox: &Arc<Outbox>,
        request: JoinRequest,
        id: Option<&str>,
        reply: JoinReply,
    ) -> Result<(), RequestError> {
        let greet = |ResumeOutcome { resumed, unknown }| {
            let mut line = Vec::new();
            ReplyWriter::new(&mut line).ok(id, &JoinReply { resumed, unknown, ..reply });
            outbox.write(None, &line);
        };
        self.admit(outbox, request, greet).await
    }

    /// Adds a worker, which is greeted before its first task.
    async fn admit(
        &self,
        outbox: &Arc<Outbox>,
        mut request: JoinRequest,
        greet: impl FnOnce(ResumeOutcome),
    ) -> Result<(), RequestError> {
        let _turn = self.joining.lock().await;
        if self.state().workers.contains_key(&key(outbox)) {
            let message = "This connection is a worker already: open another one for other functions.";
            return Err(RequestError::new(ErrorCode::Conflict, message));
        }
        match request.child {
            None => self.check_limits(&request)?,
            // Its only connection is the one that it was born with.
            Some(_) => request.session = None,
        }
        let queues = request.bounds.queues_of(request.queues.as_deref())?;
        let resumes = std::mem::take(&mut request.resumes);
        let functions = self.register(&request).await?;
        let scope = RemoteScope { functions, queues };
        let mut state = self.state();
        let child = request.child.map(|number| state.child_session(number)).transpose()?;
        let mut session = WorkerSession::new(request, scope, outbox.clone(), child, &self.resources.limits);
        // Behind those who wait for their turn already.
        state.turn += 1;
        session.turn = state.turn;
        let outcome = state.resume(&mut session, resumes);
        if session.is_announced() {
            tracing::info!(
                worker = &*session.name,
                language = session.language,
                resumed = outcome.resumed.len(),
                "a worker has come"
            );
        }
        greet(outcome);
        state.workers.insert(key(outbox), session);
        outbox.set_worker(true);
        self.update_served(&state);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Ends the session of a connection that has ended, if it was a worker.
    pub(crate) fn remove_connection(&self, outbox: &Arc<Outbox>) {
        if !outbox.is_worker() {
            return;
        }
        let mut state = self.state();
        let Some(mut worker) = state.workers.remove(&key(outbox)) else { return };
        if let Some(child) = worker.child.take() {
            state.child_disconnected(&child, worker.take_all());
        } else if worker.is_announced() {
            tracing::info!(worker = &*worker.name, running = worker.held(), "a worker has gone");
        }
        let now_ms = framework_protocol::task::now_ms();
        // A worker that was silent is noted as it was last heard of.
        for function in worker.functions().iter().filter(|_| !worker.is_silent) {
            self.note_seen(&mut state, function, now_ms);
        }
        if worker.has_left {
            state.lost.extend(worker.take_all().into_values().map(HeldLease::give_back));
        } else {
            let limits = &self.resources.limits;
            state.detach(worker, limits.resume, limits.workers);
        }
        self.update_served(&state);
        drop(state);
        self.changed.notify_one();
    }

    /// Notes when a function was last run by a worker.
    fn note_seen(&self, state: &mut RemoteState, function: &Arc<str>, at_ms: u64) {
        let is_own = self.resources.handlers.get(function).is_some();
        let known = if is_own { &mut state.gone } else { &mut state.seen };
        known.insert(function.clone(), at_ms);
    }

    /// Tells the store which functions are run at the moment, in which queues.
    fn update_served(&self, state: &RemoteState) {
        let mut scopes: Vec<RemoteScope> = self.resources.others.iter().cloned().collect();
        for worker in state.workers.values().filter(|worker| !worker.is_silent) {
            if !scopes.contains(&worker.scope) {
                scopes.push(worker.scope.clone());
            }
        }
        self.resources.store.serve_remote(scopes);
    }

    /// The workers that are connected, in the order of their names.
    pub(crate) fn list(&self) -> Vec<WorkerInfo> {
        let mut all: Vec<_> = self.state().sessions().map(WorkerSession::describe).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Hands out nothing more to the workers of this name, and says so to them; returns their number.
    ///
    /// # Errors
    /// There is none of this name.
    pub(crate) fn drain(&self, name: &str) -> Result<usize, RequestError> {
        let mut state = self.state();
        let named = state.workers.values_mut().filter(|worker| *worker.name == *name);
        let count = named.map(|worker| worker.quiet("drain")).count();
        if count > 0 {
            return Ok(count);
        }
        let message = format!("There is no worker {}.", ShownName(name));
        let names = state.workers.values().map(|worker| &*worker.name);
        Err(RequestError::new(ErrorCode::UnknownTask, message).suggesting(name, names))
    }

    /// Hands out tasks from now on.
    pub(crate) fn resume(&self) {
        self.state().dispatch = Dispatch::All;
        self.changed.notify_one();
    }

    /// Hands out nothing from now on.
    pub(crate) fn pause(&self) {
        self.state().dispatch = Dispatch::Nobody;
    }

    /// Hands out what is due to the processes of the server alone from now on. The others hear why.
    pub(crate) fn drain_children(&self, why: &str) {
        let mut state = self.state();
        state.dispatch = Dispatch::Children;
        let others = state.workers.values_mut().filter(|worker| worker.child.is_none());
        others.for_each(|worker| worker.quiet(why));
    }

    /// Says to all workers that they get no further tasks.
    pub(crate) fn quiet(&self, why: &str) {
        self.state().workers.values_mut().for_each(|worker| worker.quiet(why));
    }

    /// Waits until no worker holds a task; with `spares`, apart from those that the next process inherits.
    /// While the processes of the server are drained, none may be due for these either. May be cancelled.
    pub(crate) async fn wait_idle(&self, spares: bool) {
        loop {
            let (is_idle, dispatch) = {
                let state = self.state();
                (state.is_idle(spares), state.dispatch)
            };
            if is_idle && (dispatch != Dispatch::Children || !self.has_isolated_task().await) {
                return;
            }
            tokio::time::sleep(IDLE_CHECK).await;
        }
    }

    /// Gives back what workers hold, without counting the attempts, and lets them know; with `spares`, apart
    /// from what the next process inherits. Processes of the server are killed, and what they hold goes back
    /// when they are gone.
    pub(crate) fn abort_running(&self, spares: bool) {
        let mut state = self.state();
        state.kill_children();
        for (outbox, held) in state.take_running(spares) {
            let mut lines = Vec::new();
            for name in held.keys() {
                ReplyWriter::new(&mut lines).cancel(&name.to_string(), "shutdown");
            }
            outbox.write(None, &lines);
            state.lost.extend(held.into_values().map(HeldLease::give_back));
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Says to all workers that they get no further tasks, and leaves to the next process what outlives this
    /// one.
    pub(crate) fn hand_over(&self) {
        self.state().is_handed_over = true;
        self.quiet("reload");
    }

    /// Ends all sessions: nothing more goes to the finisher, and the connections need not stay open.
    pub(crate) fn close(&self) {
        self.finisher.lock().expect("no panic while the finisher is locked").take();
        let mut state = self.state();
        state.detached.clear();
        for worker in state.workers.values() {
            worker.outbox.set_worker(false);
            worker.outbox.wake();
        }
    }

    fn finisher(&self) -> Option<mpsc::Sender<EndedBatch>> {
        self.finisher.lock().expect("no panic while the finisher is locked").clone()
    }

    /// The name of a lease of this process.
    fn lease_name(&self, token: u64) -> LeaseName {
        LeaseName { epoch: self.started_ms, token }
    }
}

fn key(outbox: &Arc<Outbox>) -> usize {
    Arc::as_ptr(outbox).addr()
}

fn no_worker() -> RequestError {
    let message = "This connection is no worker: send {\"command\":\"work\",..} first. Over HTTP, name leases of POST /work, \
                   as it has named them.";
    RequestError::new(ErrorCode::Conflict, message)
}

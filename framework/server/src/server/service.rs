//! The typed middle between protocols and stages: requests in, outcomes out, whatever carries them.
//!
//! ```text
//! lines, frames, WebSocket ─ CommandRequest ┐             ┌ intake, store, subscriptions, scheduler, control
//! HTTP path, query, body ─── TaskRequest ───┴── Service ──┴ Outcome, Pushed
//! ```
//!
//! A protocol parses its own bytes into a [`CommandRequest`] or a [`TaskRequest`], calls [`Service::call`] or
//! [`Service::push`], and renders the outcome. Every right is checked here, by [`Service::authorize`].

mod verb;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use framework_protocol::task::{NewTask, TaskId};
use framework_protocol::views::{AdminResult, ListenAddress, ServerStatus};
use framework_protocol::{CommandRequest, RequestError, TaskRequest};
use tokio::sync::watch;

pub(super) use self::verb::{Call, Field, Outcome, ResultSchema, Verb, VerbTable};
use super::access::policy::ListenerPolicy;
use super::access::{Access, Scope};
use super::control::Control;
use super::intake::Intake;
use super::metrics::{Exposition, Metrics, ProcessFigures};
use super::outbox::Outbox;
use super::peer::Peer;
use super::poll::raised;
use super::scheduler::Scheduler;
use super::status;
use super::subscriptions::Subscriptions;
use super::waiters::{Waiter, Waiters};
use super::worker::held::HeldTasks;
use super::worker::isolated::ChildPool;
use super::worker::programs::ProgramList;
use super::worker::remote::RemoteWorkers;
use crate::store::{Accepted, AdminCommand, OnAccepted, Store};

/// Everything that a request can reach.
pub(super) struct Service {
    pub(super) verbs: VerbTable,
    pub(super) intake: Intake,
    pub(super) remote: Arc<RemoteWorkers>,
    pub(super) held: Arc<HeldTasks>,
    /// The workers that the server has started.
    pub(super) programs: ProgramList,
    /// Its own child processes.
    pub(super) isolated: Arc<ChildPool>,
    pub(super) store: Arc<dyn Store>,
    pub(super) waiters: Arc<Waiters>,
    pub(super) subscriptions: Arc<Subscriptions>,
    pub(super) scheduler: Arc<Scheduler>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) control: Control,
    /// The root of the project, without symbolic links.
    pub(super) root: PathBuf,
    /// The addresses that the status reports.
    pub(super) addresses: Vec<ListenAddress>,
}

/// The client behind a request: its rights, the listener that it came through, and where its replies go.
#[derive(Clone, Copy)]
pub(super) struct Caller<'a> {
    pub(super) access: Access,
    pub(super) policy: &'a ListenerPolicy,
    pub(super) peer: Peer,
    pub(super) outbox: &'a Arc<Outbox>,
    /// Becomes true when no more requests are to be read.
    pub(super) stop: &'a watch::Receiver<bool>,
}

/// The outcome of a push.
pub(super) struct Pushed {
    /// One for each task, in their order.
    pub(super) results: Vec<Result<Accepted, RequestError>>,
    /// Waiters of tasks that existed before, by their `key`: for [`Service::attach`].
    attached: Vec<(TaskId, Waiter)>,
}

impl Caller<'_> {
    /// The same client with other rights.
    pub(super) fn with_access(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// Exchanges a token for rights. The error for a wrong token is delayed, but not beyond a shutdown.
    ///
    /// # Errors
    /// `unauthorized`; `shutting_down`.
    pub(super) async fn authenticate(&self, token: &str) -> Result<Access, RequestError> {
        let mut stop = self.stop.clone();
        tokio::select! {
            biased;
            access = self.policy.authenticate(&self.peer, token) => access,
            () = raised(&mut stop) => Err(RequestError::shutting_down()),
        }
    }
}

impl Service {
    /// Checks a right; every verb, whatever protocol it comes by, is checked here.
    ///
    /// # Errors
    /// `unauthorized` before a token was shown, `forbidden` when the token does not give this right.
    pub(super) fn authorize(&self, access: Access, scope: Option<Scope>) -> Result<(), RequestError> {
        scope.map_or(Ok(()), |scope| access.check(scope))
    }

    /// The report on the server.
    pub(super) async fn status(&self) -> ServerStatus {
        let programs = self.isolated.report().into_iter().chain(self.programs.report()).collect();
        let is_stopping = self.control.shutdown.is_under_way();
        status::report(&self.metrics, &self.addresses, self.remote.unserved(), programs, is_stopping).await
    }

    /// The figures of the server for Prometheus.
    pub(super) async fn exposition(&self) -> Exposition {
        let store = self.store.figures().await;
        let tasks = self.metrics.tasks.snapshot();
        Exposition { status: self.status().await, store, tasks, process: ProcessFigures::now() }
    }

    /// Runs a verb. Replies that follow later go to the caller's outbox: [`Outcome::Streaming`].
    ///
    /// # Errors
    /// When there is no such verb, the caller has no right to it, a field is unknown or wrong, or the verb
    /// fails.
    pub(super) async fn call<'a>(
        &'a self,
        caller: Caller<'a>,
        request: CommandRequest<'a>,
    ) -> Result<Outcome, RequestError> {
        let verb = self.verbs.find(&request.command)?;
        self.authorize(caller.access, verb.scope)?;
        request.only(&verb.fields.iter().map(|field| field.name).collect::<Vec<_>>())?;
        (verb.run)(Call { service: self, verb, caller, request }).await
    }

    /// Checks a task that a client requests.
    ///
    /// # Errors
    /// When the caller may not send tasks, or the request does not fit its function.
    pub(super) fn check_task(&self, access: Access, request: &TaskRequest) -> Result<NewTask, RequestError> {
        self.authorize(access, Some(Scope::Send))?;
        self.intake.check(request)
    }

    /// Accepts tasks: each id is durable when this returns. Waiters come with the index of their task, and
    /// are registered before it can end; each holds a reservation of its outbox, which is cancelled with a
    /// refusal.
    pub(super) async fn push(&self, tasks: Vec<NewTask>, waiters: Vec<(usize, Waiter)>) -> Pushed {
        if tasks.is_empty() {
            return Pushed { results: Vec::new(), attached: Vec::new() };
        }
        if waiters.is_empty() {
            return Pushed { results: self.intake.push(tasks).await, attached: Vec::new() };
        }
        let waiters = Arc::new(Mutex::new(waiters));
        let on_accepted = register(self.waiters.clone(), waiters.clone());
        let results = self.intake.push_observed(tasks, on_accepted).await;
        let unregistered =
            std::mem::take(&mut *waiters.lock().expect("no panic while the waiters are locked"));
        let mut attached = Vec::new();
        for (task, waiter) in unregistered {
            match results.get(task) {
                Some(Ok(accepted)) => attached.push((accepted.id, waiter)),
                Some(Err(_)) | None => waiter.outbox.cancel_reservation(),
            }
        }
        Pushed { results, attached }
    }

    /// Lets waiters have the end of tasks that existed before the push.
    pub(super) async fn attach(&self, pushed: Pushed) {
        for (task, waiter) in pushed.attached {
            // A client that is gone, or does not read, needs no further results.
            if waiter.outbox.is_open() {
                self.subscriptions.attach(task, waiter).await;
            }
        }
    }

    /// Forgets the waiters and the subscriptions of a connection that has ended.
    pub(super) fn remove_connection(&self, outbox: &Arc<Outbox>) {
        self.remote.remove_connection(outbox);
        self.waiters.remove_connection(outbox);
        self.subscriptions.remove_connection(outbox);
    }

    /// Changes tasks, queues or batches on behalf of an operator; subscribers of batches see the change.
    ///
    /// # Errors
    /// The errors of [`Store::apply`].
    pub(super) async fn apply(&self, command: AdminCommand) -> Result<AdminResult, RequestError> {
        let _changing = self.subscriptions.batches.changing(&command);
        self.store.apply(command).await
    }
}

/// A callback that registers the waiters of new tasks before these can end. The others stay in `waiters`,
/// which are in the order of their tasks.
fn register(registry: Arc<Waiters>, waiters: Arc<Mutex<Vec<(usize, Waiter)>>>) -> OnAccepted {
    Box::new(move |accepted| {
        let mut waiters = waiters.lock().expect("no panic while the waiters are locked");
        let mut all = std::mem::take(&mut *waiters).into_iter().peekable();
        registry.register(accepted.filter_map(|(task, accepted)| {
            while let Some(other) = all.next_if(|(other, _)| *other < task) {
                waiters.push(other);
            }
            let (task, waiter) = all.next_if(|(other, _)| *other == task)?;
            if accepted.is_new() {
                return Some((accepted.id, waiter));
            }
            waiters.push((task, waiter));
            None
        }));
        waiters.extend(all);
    })
}

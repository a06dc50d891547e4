//! The tasks that a client of another system's protocol makes, takes and ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use framework_protocol::task::{NewTask, TaskId};
use framework_protocol::views::AdminResult;
use framework_protocol::{ErrorCode, RequestError};

use super::ForeignProtocol;
use crate::server::access::{Access, Scope};
use crate::server::service::Service;
use crate::server::session::state::Session;
use crate::server::worker::held::{HeldEnd, HeldInfo, Holder, ReservedTask, TaskWaiter};
use crate::store::{AdminCommand, Query, QueryResult};

/// The tasks that one client makes, takes and ends. Those that it holds go back when this is dropped.
pub struct ForeignTasks {
    service: Arc<Service>,
    holder: Holder,
    access: Access,
    /// The functions whose tasks it can have.
    functions: Vec<String>,
}

/// A wait for a task; dropped, a task that came meanwhile goes back.
pub struct Waited(TaskWaiter);

impl Waited {
    /// The task; `None` when there never will be one. May be cancelled.
    pub async fn taken(&mut self) -> Option<ReservedTask> {
        self.0.taken().await
    }
}

impl ForeignTasks {
    pub(super) fn new(session: &Session, protocol: &dyn ForeignProtocol) -> Self {
        let service = session.context.service.clone();
        let name = format!("{} {}", protocol.protocol().name(), session.record.peer).into();
        let functions = service.held.functions();
        Self {
            service,
            holder: Holder { number: session.record.number, name },
            access: session.access,
            functions,
        }
    }

    /// The tasks of a worker of this name that has several connections; those that it holds go back when this
    /// is dropped.
    pub fn for_worker(&self, name: &str) -> Self {
        // Connections have the lower numbers.
        static LAST: AtomicU64 = AtomicU64::new(1 << 63);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let holder = Holder { number, name: name.into() };
        Self { service: self.service.clone(), holder, access: self.access, functions: self.functions.clone() }
    }

    /// The functions whose tasks clients of such protocols can have.
    pub fn functions(&self) -> &[String] {
        &self.functions
    }

    fn check(&self, scope: Scope) -> Result<(), RequestError> {
        self.service.authorize(self.access, Some(scope))
    }

    /// Accepts tasks; each id is as durable as the store makes it when this returns.
    pub async fn push(&self, tasks: Vec<NewTask>) -> Vec<Result<TaskId, RequestError>> {
        if let Err(error) = self.check(Scope::Send) {
            return tasks.iter().map(|_| Err(error.clone())).collect();
        }
        let accepted = self.service.intake.push(tasks).await;
        accepted.into_iter().map(|accepted| accepted.map(|accepted| accepted.id)).collect()
    }

    /// Takes up to `limit` tasks of these queues that are due.
    ///
    /// # Errors
    /// `forbidden`.
    pub async fn take(
        &self,
        queues: &Arc<[Box<str>]>,
        limit: usize,
    ) -> Result<Vec<ReservedTask>, RequestError> {
        self.check(Scope::Work)?;
        Ok(self.service.held.take(&self.holder, queues, limit).await)
    }

    /// Takes one waiting task, due or not; `None` when it does not wait.
    ///
    /// # Errors
    /// `forbidden`.
    pub async fn take_task(&self, id: TaskId) -> Result<Option<ReservedTask>, RequestError> {
        self.check(Scope::Work)?;
        Ok(self.service.held.take_task(&self.holder, id).await)
    }

    /// Waits for the next task of these queues, behind those who wait already.
    ///
    /// # Errors
    /// `forbidden`.
    pub fn wait(&self, queues: &Arc<[Box<str>]>) -> Result<Waited, RequestError> {
        self.check(Scope::Work)?;
        Ok(Waited(self.service.held.wait(&self.holder, queues)))
    }

    /// Ends attempts, and returns once they are settled; `false` for a task that the client does not hold.
    pub async fn end(&self, ends: Vec<(TaskId, HeldEnd)>) -> Vec<bool> {
        self.service.held.end(&self.holder, ends).await
    }

    /// Begins the time to run of a task anew; `false` for one that the client does not hold.
    pub fn touch(&self, id: TaskId) -> bool {
        self.service.held.touch(&self.holder, id)
    }

    /// A task that a client of such a protocol holds.
    pub fn find(&self, id: TaskId) -> Option<HeldInfo> {
        self.service.held.find(&self.holder, id)
    }

    /// The number of tasks that the client holds, and when the time of the first of them is over.
    pub fn held_by(&self) -> (usize, Option<Instant>) {
        self.service.held.held_by(&self.holder)
    }

    /// The number of attempts whose time was over, since the start.
    pub fn timeouts(&self) -> u64 {
        self.service.held.timeouts()
    }

    /// Hands out nothing of a queue for this time; zero ends a pause.
    ///
    /// # Errors
    /// `forbidden`.
    pub fn pause_queue(&self, queue: &str, time: Duration) -> Result<(), RequestError> {
        self.check(Scope::Admin)?;
        let until = if time.is_zero() { None } else { Instant::now().checked_add(time) };
        self.service.held.pause_queue(queue, until);
        Ok(())
    }

    /// Answers a query.
    ///
    /// # Errors
    /// `forbidden`, or the error of the store.
    pub async fn query(&self, query: Query) -> Result<QueryResult, RequestError> {
        self.check(Scope::Inspect)?;
        self.service.store.query(query).await
    }

    /// Changes tasks; durable when this returns.
    ///
    /// # Errors
    /// `forbidden`, or the error of the store.
    pub async fn apply(&self, command: AdminCommand) -> Result<AdminResult, RequestError> {
        self.check(Scope::Admin)?;
        self.service.apply(command).await
    }

    /// Changes one task; `false` when there is none in such a state.
    ///
    /// # Errors
    /// As for [`ForeignTasks::apply`].
    pub async fn change(&self, command: AdminCommand) -> Result<bool, RequestError> {
        match self.apply(command).await {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.code, ErrorCode::UnknownTask | ErrorCode::Conflict) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Drop for ForeignTasks {
    fn drop(&mut self) {
        self.service.held.remove_holder(&self.holder, LOST);
    }
}

/// The reason for which a task goes back whose client is gone.
const LOST: &str = "The connection of its worker has ended.";

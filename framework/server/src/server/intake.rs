//! Makes tasks durable before their ids return; workers pull them from the store behind it.

use std::sync::Arc;

use bytes::Bytes;
use framework_protocol::task::{Handlers, NewTask, TaskId};
use framework_protocol::{Durability, ErrorCode, ReplyWriter, RequestError, TaskRequest};
use tokio::sync::Notify;

use super::ServerSettings;
use super::metrics::{Limit, Metrics};
use crate::store::{Accepted, OnAccepted, Store};

/// Writes the acknowledgement of a task.
pub(super) fn acknowledge(accepted: Accepted, reply: ReplyWriter, id: Option<&str>, durability: Durability) {
    match accepted.duplicate {
        None => reply.queued(id, accepted.id, durability),
        Some(state) => reply.duplicate(id, accepted.id, state, durability),
    }
}

/// Checks and accepts every task. Cheap to clone.
#[derive(Clone)]
pub(super) struct Intake {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    handlers: Arc<Handlers>,
    default_function: Option<String>,
    /// The most attempts that a request may ask for.
    max_attempts: u32,
    metrics: Arc<Metrics>,
    pushed: Notify,
}

impl Intake {
    pub(super) fn new(
        store: Arc<dyn Store>,
        handlers: Arc<Handlers>,
        settings: &ServerSettings,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (default_function, max_attempts) = (settings.default_function.clone(), settings.max_attempts);
        let pushed = Notify::new();
        Self { inner: Arc::new(Inner { store, handlers, default_function, max_attempts, metrics, pushed }) }
    }

    pub(super) fn handlers(&self) -> &Handlers {
        &self.inner.handlers
    }

    /// Checks the request of a client.
    pub(super) fn check(&self, request: &TaskRequest) -> Result<NewTask, RequestError> {
        let default = self.inner.default_function.as_deref();
        let max = self.inner.max_attempts;
        if request.attempts.is_some_and(|attempts| attempts > max) {
            let message = format!("\"attempts\" must be a number from 1 to {max} (max_attempts).");
            return Err(RequestError::bad_request(message));
        }
        self.counted(NewTask::from_request(&self.inner.handlers, request, default))
    }

    /// Checks raw data as arguments of the default function.
    pub(super) fn default_task(&self, args: Bytes) -> Result<NewTask, RequestError> {
        let default = self.inner.default_function.as_deref();
        self.counted(NewTask::from_json(&self.inner.handlers, default, args))
    }

    /// Counts a task that is rejected because it is nested too deeply.
    fn counted(&self, task: Result<NewTask, RequestError>) -> Result<NewTask, RequestError> {
        task.inspect_err(|error| {
            if error.code == ErrorCode::TooDeep {
                self.inner.metrics.limits.hit(Limit::JsonNesting);
            }
        })
    }

    /// Accepts tasks; each id is durable when this returns.
    pub(super) async fn push(&self, batch: Vec<NewTask>) -> Vec<Result<Accepted, RequestError>> {
        self.push_observed(batch, Box::new(|_| ())).await
    }

    /// Accepts tasks, and calls `on_accepted` before any of them can end.
    pub(super) async fn push_observed(
        &self,
        batch: Vec<NewTask>,
        on_accepted: OnAccepted,
    ) -> Vec<Result<Accepted, RequestError>> {
        let mut results = self.inner.store.push_observed(batch, on_accepted).await;
        self.inner.pushed.notify_one();
        let busy = results.iter_mut().filter_map(|result| result.as_mut().err());
        for refusal in busy.filter(|refusal| refusal.code == ErrorCode::Busy) {
            refusal.retry_after_ms = Some(self.inner.metrics.retry_after_ms());
        }
        results
    }

    /// # Errors
    /// When the task is not accepted.
    pub(super) async fn push_one(&self, task: NewTask) -> Result<TaskId, RequestError> {
        let gone = || RequestError::new(ErrorCode::Internal, "The store gave no answer.");
        let accepted = self.push(vec![task]).await.pop().unwrap_or_else(|| Err(gone()));
        accepted.map(|accepted| accepted.id)
    }

    /// Wakes the workers, once for all tasks that arrive during one turn of the I/O threads: their replies
    /// are sent by then, and waking a thread costs more than a task does. Never ends.
    pub(super) async fn run_wakeups(self) {
        loop {
            self.inner.pushed.notified().await;
            tokio::task::yield_now().await;
            self.inner.store.wake_workers();
        }
    }
}

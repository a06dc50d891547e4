//! Sends tasks: one with options, or many at once.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::future::IntoFuture;
use std::time::Duration;

use framework_protocol::task::{BatchId, Tags, TaskId};
use framework_protocol::{ReplyMode, RequestError};
use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;

use crate::channel::{OutgoingRequest, RequestKind, RetrySafety};
use crate::client::Client;
use crate::error::{ClientError, Result};
use crate::pool::PendingRequest;
use crate::replies;
use crate::request::{IntoRequest, Request};
use crate::task_handle::TaskHandle;

impl Client {
    /// Sends a task, a struct or a [`Request`], when this is awaited; options can be set before. Once that
    /// returns, the task is accepted and as durable as the server's store.
    ///
    /// # Errors
    /// Awaiting it fails with [`ClientError::Refused`] when nothing was accepted, and with
    /// [`ClientError::Unknown`] when that cannot be known.
    pub fn send<'a>(&'a self, task: impl IntoRequest<'a>) -> SendBuilder<'a> {
        SendBuilder { client: self, request: task.into_request(), reply: ReplyMode::Ack }
    }

    /// Sends many tasks. The outcomes are in the order of the tasks, each with its own, and so are the ids.
    ///
    /// # Errors
    /// When the connection fails for longer than `retry_time`; it is not known then which tasks were
    /// accepted.
    pub async fn send_many<'a, T: IntoRequest<'a>>(
        &self,
        tasks: impl IntoIterator<Item = T>,
    ) -> Result<Vec<Result<TaskId, RequestError>>> {
        let channel = self.pool.channel(None);
        let mut outcomes = Vec::new();
        let mut pending = VecDeque::new();
        for task in tasks {
            if pending.len() >= self.pool.settings.max_in_flight {
                outcomes.extend(next_outcome(&mut pending).await?);
            }
            let request = self.outgoing(&*task.into_request()?, ReplyMode::Ack);
            pending.push_back(self.pool.send_on(channel.clone(), request).await);
        }
        while let Some(outcome) = next_outcome(&mut pending).await? {
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    fn outgoing(&self, request: &Request, reply: ReplyMode) -> OutgoingRequest {
        let id = self.pool.next_id();
        let key = self.pool.settings.auto_idempotency_keys.then(|| self.pool.key(id));
        let has_key = request.key.is_some() || key.is_some();
        let safety = if has_key { RetrySafety::Keyed } else { RetrySafety::Unsafe };
        let kind = if reply == ReplyMode::Both { RequestKind::Awaited } else { RequestKind::Once };
        OutgoingRequest { kind, ..OutgoingRequest::once(id, request.line(id, reply, key), safety) }
    }
}

/// The outcome of the first of these requests; `None` when there are none.
async fn next_outcome(
    pending: &mut VecDeque<PendingRequest>,
) -> Result<Option<Result<TaskId, RequestError>>> {
    match pending.pop_front() {
        Some(mut request) => request.reply().await.map(replies::accepted).map(Some),
        None => Ok(None),
    }
}

/// A task to be sent when this is awaited; until then, its options can be set.
#[must_use = "nothing is sent before this is awaited"]
#[derive(Debug)]
pub struct SendBuilder<'a> {
    client: &'a Client,
    request: Result<Cow<'a, Request>>,
    reply: ReplyMode,
}

impl<'a> SendBuilder<'a> {
    /// The queue, if not the task type's own.
    pub fn queue(self, queue: impl Into<String>) -> Self {
        self.with(|request| request.queue = Some(queue.into()))
    }

    /// The priority, 0 to 9; 9 is taken first.
    pub fn priority(self, priority: u8) -> Self {
        self.with(|request| request.priority = Some(priority))
    }

    /// The least time until it starts.
    pub fn delay(self, delay: Duration) -> Self {
        self.with(|request| request.delay = Some(delay))
    }

    /// The earliest time at which it starts: `2026-12-01T09:00:00+08:00`.
    pub fn at(self, time: impl Into<String>) -> Self {
        self.with(|request| request.at = Some(time.into()))
    }

    /// The latest time at which it starts: a span such as `1h`, or a time as in [`SendBuilder::at`].
    pub fn expires(self, time: impl Into<String>) -> Self {
        self.with(|request| request.expires = Some(time.into()))
    }

    /// The idempotency key, 1 to 256 bytes: a second task of the function with it is the first one again.
    pub fn key(self, key: impl Into<String>) -> Self {
        self.with(|request| request.key = Some(key.into()))
    }

    /// The concurrency key, 1 to 256 bytes: tasks that share it take turns.
    pub fn concurrency_key(self, key: impl Into<String>) -> Self {
        self.with(|request| request.concurrency_key = Some(key.into()))
    }

    /// What it is to be found by, instead of what was set before.
    pub fn tags(self, tags: Tags) -> Self {
        self.with(|request| request.tags = tags)
    }

    /// The number of attempts that may fail.
    pub fn attempts(self, attempts: u32) -> Self {
        self.with(|request| request.attempts = Some(attempts))
    }

    /// The longest an attempt may take.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(|request| request.timeout = Some(timeout))
    }

    /// The mean pause after the first failed attempt; it doubles with every further one.
    pub fn backoff(self, backoff: Duration) -> Self {
        self.with(|request| request.backoff = Some(backoff))
    }

    /// The open batch that it belongs to.
    pub fn batch(self, batch: BatchId) -> Self {
        self.with(|request| request.batch = Some(batch))
    }

    /// A function to run with the result; further calls append to the chain.
    pub fn then(self, function: impl Into<String>) -> Self {
        self.with(|request| request.then.push(function.into()))
    }

    /// Has the server report the end without a further request. That saves one if [`TaskHandle::ended`] or
    /// [`TaskHandle::wait`] follows, and works even if the server keeps nothing of ended tasks.
    pub fn awaited(self) -> Self {
        Self { reply: ReplyMode::Both, ..self }
    }

    /// Sends it, and waits for its result.
    ///
    /// # Errors
    /// When it is not accepted, has no result, or one of another type.
    pub async fn wait<R: DeserializeOwned>(self) -> Result<R> {
        self.awaited().await?.wait().await
    }

    fn with(mut self, change: impl FnOnce(&mut Request)) -> Self {
        if let Ok(request) = &mut self.request {
            change(request.to_mut());
        }
        self
    }

    async fn send(self) -> Result<TaskHandle> {
        let request = self.client.outgoing(&*self.request?, self.reply);
        let mut pending = self.client.pool.send(request).await;
        let reply = pending.reply().await?;
        let pinned_address = pending.pinned_address();
        let duplicate = replies::duplicate_state(&reply);
        let id = replies::accepted(reply).map_err(ClientError::Refused)?;
        let pending = (self.reply == ReplyMode::Both).then_some(pending);
        Ok(TaskHandle::new(self.client.clone(), id, duplicate, pinned_address, pending))
    }
}

impl<'a> IntoFuture for SendBuilder<'a> {
    type Output = Result<TaskHandle>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

//! The verb `send`: a task with the options of this one time.

use std::future::IntoFuture;
use std::time::Duration;

use framework_protocol::task::{BatchId, TaskId};
use framework_protocol::{Reply, ReplyMode, RequestError, Status};
use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;

use crate::channel::OutgoingRequest;
use crate::client::Client;
use crate::error::{ClientError, Result};
use crate::in_flight::{ChannelEvent, RequestKind, RetrySafety};
use crate::request::Request;
use crate::task_handle::TaskHandle;

/// A task that is sent when this is awaited; until then, its options can be set.
#[must_use = "nothing is sent before this is awaited"]
#[derive(Debug)]
pub struct SendBuilder<'a> {
    client: &'a Client,
    request: Result<std::borrow::Cow<'a, Request>>,
    reply: ReplyMode,
}

impl<'a> SendBuilder<'a> {
    pub(crate) fn new(client: &'a Client, request: Result<std::borrow::Cow<'a, Request>>) -> Self {
        Self { client, request, reply: ReplyMode::Ack }
    }

    /// Into another queue than the function's own.
    pub fn queue(self, queue: impl Into<String>) -> Self {
        self.with(|request| request.queue = Some(queue.into()))
    }

    /// 0 to 9; 9 is taken first.
    pub fn priority(self, priority: u8) -> Self {
        self.with(|request| request.priority = Some(priority))
    }

    /// To start so much later, at the earliest.
    pub fn delay(self, delay: Duration) -> Self {
        self.with(|request| request.delay = Some(delay))
    }

    /// To start at this time, at the earliest: `2026-12-01T09:00:00+08:00`.
    pub fn at(self, time: impl Into<String>) -> Self {
        self.with(|request| request.at = Some(time.into()))
    }

    /// Not to start later than this: a span such as `1h`, or a time as in [`SendBuilder::at`].
    pub fn expires(self, time: impl Into<String>) -> Self {
        self.with(|request| request.expires = Some(time.into()))
    }

    /// A second task with this key, 1 to 256 bytes, is the first one again.
    pub fn key(self, key: impl Into<String>) -> Self {
        self.with(|request| request.key = Some(key.into()))
    }

    /// Tasks with this key, 1 to 256 bytes, take turns.
    pub fn concurrency_key(self, key: impl Into<String>) -> Self {
        self.with(|request| request.concurrency_key = Some(key.into()))
    }

    /// How many attempts may fail.
    pub fn attempts(self, attempts: u32) -> Self {
        self.with(|request| request.attempts = Some(attempts))
    }

    /// The longest an attempt may take.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(|request| request.timeout = Some(timeout))
    }

    /// What the pause after the first failed attempt is about; it doubles with every further one.
    pub fn backoff(self, backoff: Duration) -> Self {
        self.with(|request| request.backoff = Some(backoff))
    }

    /// As one of an open batch.
    pub fn batch(self, batch: BatchId) -> Self {
        self.with(|request| request.batch = Some(batch))
    }

    /// Then this function is run with the result; given again, one after the other.
    pub fn then(self, function: impl Into<String>) -> Self {
        self.with(|request| request.then.push(function.into()))
    }

    /// The server tells of the end unasked, which saves a question if [`TaskHandle::ended`] or [`TaskHandle::wait`] follows, and
    /// it is told even if nothing is kept of ended tasks.
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
        let (request, pool) = (self.request?, &self.client.pool);
        let mut ticket = pool.send(self.client.order(&request, self.reply)).await;
        let answer = match ticket.next().await {
            ChannelEvent::Answer(answer) => answer,
            ChannelEvent::Lost(error) | ChannelEvent::Failed(error) => return Err(error),
        };
        let home = ticket.home();
        let id = accepted(answer).map_err(ClientError::Refused)?;
        let ticket = (self.reply == ReplyMode::Both).then_some(ticket);
        Ok(TaskHandle::new(self.client.clone(), id, home, ticket))
    }
}

impl<'a> IntoFuture for SendBuilder<'a> {
    type Output = Result<TaskHandle>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl Client {
    /// A request in the form in which it leaves.
    pub(crate) fn order(&self, request: &Request, reply: ReplyMode) -> OutgoingRequest {
        let id = self.pool.id();
        let key = self.pool.settings.auto_idempotency_keys.then(|| self.pool.key(id));
        let repeat = match request.key.is_some() || key.is_some() {
            true => RetrySafety::Keyed,
            false => RetrySafety::Doubles,
        };
        let kind = if reply == ReplyMode::Both { RequestKind::Awaited } else { RequestKind::Once };
        OutgoingRequest { id, line: request.line(id, reply, key), kind, repeat, task: None, home: None }
    }
}

/// What the answer to a task says.
pub(crate) fn accepted(answer: Reply) -> Result<TaskId, RequestError> {
    match (answer.status, answer.task_id) {
        (Status::Queued, Some(id)) => Ok(id),
        _ => Err(answer.refusal()),
    }
}

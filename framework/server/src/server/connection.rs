//! A client's connection, as the callbacks of the server see it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use framework_protocol::task::{NewTask, Task, TaskId};
use framework_protocol::{ReplyWriter, RequestError};

use super::intake::Intake;
use super::outbox::{Outbox, Slot};
use super::peer::Peer;

/// A client's connection. Cheap to clone, and may be kept: what is sent after its end is dropped.
#[derive(Clone)]
pub struct Connection {
    inner: Arc<Inner>,
    slot: Option<Slot>,
}

struct Inner {
    number: u64,
    peer: Peer,
    queue: Intake,
    outbox: Arc<Outbox>,
}

impl Connection {
    pub(super) fn new(number: u64, peer: Peer, queue: Intake, outbox: Arc<Outbox>) -> Self {
        Self { inner: Arc::new(Inner { number, peer, queue, outbox }), slot: None }
    }

    /// 1 for the first connection of this server, and rising.
    pub fn number(&self) -> u64 {
        self.inner.number
    }

    /// Who is at the other end.
    pub fn address(&self) -> Peer {
        self.inner.peer
    }

    /// Hands over a task; it is as durable as the store makes it when this returns its id.
    ///
    /// # Errors
    /// A [`RequestError`], with nothing queued: unknown function, queue full, server shutting down.
    pub async fn task<T: Task>(&self, task: T) -> Result<TaskId, RequestError> {
        self.inner.queue.push_one(NewTask::of(self.inner.queue.handlers(), &task)?).await
    }

    /// Hands over a task of the configured `default_function` with these JSON arguments; else as [`Self::task`].
    ///
    /// # Errors
    /// Also when there is no default function, or the arguments do not fit it.
    pub async fn default_task(&self, args: Bytes) -> Result<TaskId, RequestError> {
        self.inner.queue.push_one(self.inner.queue.default_task(args)?).await
    }

    /// Sends one message: a line, a frame, whatever the client speaks. Within `on_receive` the messages keep the order of the messages they answer; afterwards
    /// they go out as they come.
    pub fn send(&self, text: impl fmt::Display) {
        self.inner.outbox.send_text(self.slot, &text.to_string());
    }

    /// The same connection, whose lines keep a place among the answers.
    pub(super) fn within(&self, slot: Slot) -> Self {
        Self { inner: self.inner.clone(), slot: Some(slot) }
    }

    /// Ends the place of one message, with an error if its callback failed.
    pub(super) fn close_slot(&self, slot: Slot, error: Option<&RequestError>) {
        let mut bytes = Vec::new();
        if let Some(refusal) = error {
            ReplyWriter::new(&mut bytes).refused(None, refusal);
        }
        self.inner.outbox.close_slot(slot, &bytes);
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "connection {} from {}", self.inner.number, self.inner.peer)
    }
}

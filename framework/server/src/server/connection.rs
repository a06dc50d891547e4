//! A client's connection, as the callbacks see it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use framework_protocol::task::{NewTask, Task, TaskId};
use framework_protocol::{ReplyWriter, RequestError};

use super::intake::Intake;
use super::outbox::{Outbox, Slot};
use super::peer::Peer;

/// A client's connection. Cheap to clone, and may be kept: messages sent after its end are dropped.
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

    /// The number of the connection: 1 for the first one of this server, then rising.
    pub fn number(&self) -> u64 {
        self.inner.number
    }

    /// The other end of the connection.
    pub fn address(&self) -> Peer {
        self.inner.peer
    }

    /// Makes a task; it is as durable as the store makes it when this returns its id.
    ///
    /// # Errors
    /// A [`RequestError`], with nothing queued: unknown function, queue full, server shutting down.
    pub async fn task<T: Task>(&self, task: T) -> Result<TaskId, RequestError> {
        self.inner.queue.push_one(NewTask::of(self.inner.queue.handlers(), &task)?).await
    }

    /// As [`Self::task`], with the configured `default_function` and these JSON arguments.
    ///
    /// # Errors
    /// As there, and when there is no default function or the arguments do not fit it.
    pub async fn default_task(&self, args: Bytes) -> Result<TaskId, RequestError> {
        self.inner.queue.push_one(self.inner.queue.default_task(args)?).await
    }

    /// Sends one message in the protocol of the client, as a line or a frame. Within `on_receive` the replies
    /// keep the order of the messages they belong to; afterwards they are sent at once.
    pub fn send(&self, text: impl fmt::Display) {
        self.inner.outbox.send_text(self.slot, &text.to_string());
    }

    /// The same connection, whose messages take the place of `slot` among the replies.
    pub(super) fn within(&self, slot: Slot) -> Self {
        Self { inner: self.inner.clone(), slot: Some(slot) }
    }

    /// Closes the slot of one message, with an error if its callback failed.
    pub(super) fn close_slot(&self, slot: Slot, error: Option<&RequestError>) {
        let mut bytes = Vec::new();
        if let Some(error) = error {
            ReplyWriter::new(&mut bytes).refused(None, error);
        }
        self.inner.outbox.close_slot(slot, &bytes);
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "connection {} from {}", self.inner.number, self.inner.peer)
    }
}

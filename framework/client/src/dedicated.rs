//! A connection that serves one request at a time.

use std::collections::VecDeque;

use framework_protocol::{MessageBatch, Reply};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::connection::{Connection, Step};
use crate::error::Result;
use crate::replies;

/// A connection that serves one request at a time, for replies that come until the connection ends.
pub(crate) struct DedicatedConnection {
    connection: Connection,
    /// Replies that have arrived and were not taken yet.
    replies: VecDeque<Reply>,
}

impl DedicatedConnection {
    /// Queues a request, which leaves while its reply is waited for.
    pub(crate) fn send(mut connection: Connection, request: &impl Serialize) -> Self {
        serde_json::to_writer(connection.output(), request)
            .expect("a vector takes every byte, and requests are plain structs");
        connection.output().push(b'\n');
        Self { connection, replies: VecDeque::new() }
    }

    /// The next reply. Nothing is lost when this is dropped.
    ///
    /// # Errors
    /// When the connection fails or ends, or the other side is no task server.
    pub(crate) async fn next_reply(&mut self) -> Result<Reply> {
        loop {
            if let Some(reply) = self.replies.pop_front() {
                return Ok(reply);
            }
            if let Step::Read(count) = self.connection.step().await? {
                let batch = self.connection.messages(count)?;
                for line in MessageBatch::lines(&batch.bytes) {
                    self.replies.push_back(replies::parse(self.connection.address(), line)?);
                }
            }
        }
    }

    /// The result in the next reply.
    ///
    /// # Errors
    /// When it is an error or of another type, or the connection has ended.
    pub(crate) async fn next_result<T: DeserializeOwned>(&mut self) -> Result<T> {
        let reply = self.next_reply().await?;
        replies::result(self.connection.address(), reply)
    }

    /// Waits for the end of the connection, in order or not.
    pub(crate) async fn closed(&mut self) {
        while self.connection.read().await.is_ok_and(|count| count > 0) {}
    }

    /// The connection, ready for other requests.
    pub(crate) fn into_connection(self) -> Connection {
        self.connection
    }
}

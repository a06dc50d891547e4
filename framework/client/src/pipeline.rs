//! A pipeline: sends any number of tasks to a batch, many in flight at once, in bounded memory.
//!
//! A pipeline steps its connection itself instead of sending through a channel: per task it then costs an
//! entry in a ring and the bytes of its arguments, and neither a lock, nor a permit, nor an inbox. Nothing
//! would use those: a pipeline has one caller, and is not repeated on another connection.

use std::collections::VecDeque;
use std::time::Duration;

use framework_protocol::task::BatchId;
use framework_protocol::{ErrorCode, MessageBatch, Reply, ReplyMode, RequestError, Status};
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use crate::client::Client;
use crate::connection::{BLOCK, Connection, Step};
use crate::error::{ClientError, Result};
use crate::replies;
use crate::request::{Envelope, Request, blank_line_ends};

/// The number of requests, and of bytes of their arguments, that may be without a reply.
const IN_FLIGHT_MAX: usize = 4_096;
const BYTES_MAX: usize = 8 << 20;
/// The time for which a queue may stay full without room for a single task.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// The pause before a full queue is tried again, if the server names none.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// Tasks of one function on their way to a batch, on a connection of their own.
///
/// A queue that is full is waited for; tasks that are rejected for another reason are reported by
/// [`Pipeline::take_rejected`].
pub struct Pipeline {
    connection: Connection,
    /// A request up to its `id`.
    head: Vec<u8>,
    /// The tasks without a reply; one with a reply leaves a gap until those before it have theirs.
    in_flight: VecDeque<Option<UnacknowledgedTask>>,
    /// The `id` of the first of these.
    first: u64,
    /// The bytes of their arguments.
    bytes: usize,
    accepted: u64,
    rejected: Vec<RejectedTask>,
    busy: Busy,
    /// Whether a full queue is not waited for any more.
    is_abandoned: bool,
}

#[derive(Debug)]
struct UnacknowledgedTask {
    number: u64,
    args: Box<[u8]>,
}

/// The tasks that met a full queue.
struct Busy {
    ids: Vec<u64>,
    retry_at: Instant,
    /// The time since which no task was accepted.
    since: Option<Instant>,
}

/// A task that was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedTask {
    /// The number that the task was pushed with.
    pub number: u64,
    pub error: RequestError,
}

impl Client {
    /// Opens a pipeline for tasks like `request`, each with arguments of its own, to a batch that is open.
    ///
    /// # Errors
    /// When no server can be reached.
    pub async fn pipeline(&self, batch: BatchId, request: &Request) -> Result<Pipeline> {
        Ok(Pipeline {
            connection: self.pool.connect().await?,
            head: head(batch, request),
            in_flight: VecDeque::new(),
            first: 0,
            bytes: 0,
            accepted: 0,
            rejected: Vec::new(),
            busy: Busy { ids: Vec::new(), retry_at: Instant::now(), since: None },
            is_abandoned: false,
        })
    }
}

impl Pipeline {
    /// Sends one task; returns as soon as there is room for another one. `args` is JSON in one line, and
    /// `number` identifies the task if it is rejected.
    ///
    /// # Errors
    /// When the connection fails, or the queue stays full; it is not known then which tasks were accepted.
    pub async fn push(&mut self, number: u64, args: &[u8]) -> Result<()> {
        self.bytes += args.len();
        self.write(self.first + self.in_flight.len() as u64, args);
        self.in_flight.push_back(Some(UnacknowledgedTask { number, args: args.into() }));
        self.exchange(|pipeline| {
            pipeline.connection.output().len() < BLOCK
                && pipeline.in_flight.len() < IN_FLIGHT_MAX
                && pipeline.bytes < BYTES_MAX
        })
        .await
    }

    /// Waits until every task is accepted or rejected.
    ///
    /// # Errors
    /// When the connection fails, or the queue stays full.
    pub async fn finish(&mut self) -> Result<()> {
        self.exchange(|pipeline| pipeline.in_flight.is_empty()).await
    }

    /// Waits for the replies that are under way, and tries nothing again.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn abandon(&mut self) -> Result<()> {
        self.is_abandoned = true;
        for id in std::mem::take(&mut self.busy.ids) {
            self.remove(id);
        }
        self.finish().await
    }

    /// The number of tasks accepted so far.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Takes the tasks that were rejected since the last call.
    pub fn take_rejected(&mut self) -> Vec<RejectedTask> {
        std::mem::take(&mut self.rejected)
    }

    fn write(&mut self, id: u64, args: &[u8]) {
        let output = self.connection.output();
        output.extend_from_slice(&self.head);
        output.extend_from_slice(itoa::Buffer::new().format(id).as_bytes());
        output.extend_from_slice(b",\"args\":");
        let begin = output.len();
        output.extend_from_slice(args);
        blank_line_ends(&mut output[begin..]);
        output.extend_from_slice(b"}\n");
    }

    /// Writes and reads until the condition holds.
    async fn exchange(&mut self, until: impl Fn(&mut Self) -> bool) -> Result<()> {
        while !until(self) {
            tokio::select! {
                step = self.connection.step() => if let Step::Read(count) = step? {
                    let batch = self.connection.messages(count)?;
                    self.read(&batch)?;
                },
                () = sleep_until(self.busy.retry_at), if !self.busy.ids.is_empty() => self.retry_busy(),
            }
        }
        Ok(())
    }

    fn read(&mut self, batch: &MessageBatch) -> Result<()> {
        for line in MessageBatch::lines(&batch.bytes) {
            let reply = replies::parse(self.connection.address(), line)?;
            match (self.in_flight(reply.id), reply.status) {
                (Some((id, _)), Status::Queued) => {
                    self.accepted += 1;
                    self.busy.since = None;
                    self.remove(id);
                }
                (Some((id, task)), Status::Error) => {
                    let number = task.number;
                    self.reject(id, number, reply)?;
                }
                (None, Status::Error) => return Err(ClientError::Refused(reply.refusal())),
                _ => return Err(ClientError::unexpected_reply(self.connection.address(), &reply)),
            }
        }
        Ok(())
    }

    /// The task in flight of this id.
    fn in_flight(&mut self, id: Option<u64>) -> Option<(u64, &mut UnacknowledgedTask)> {
        let id = id?;
        let index = usize::try_from(id.checked_sub(self.first)?).ok()?;
        self.in_flight.get_mut(index)?.as_mut().map(|task| (id, task))
    }

    fn reject(&mut self, id: u64, number: u64, reply: Reply) -> Result<()> {
        let error = reply.refusal();
        if error.code != ErrorCode::Busy || self.is_abandoned {
            self.remove(id);
            self.rejected.push(RejectedTask { number, error });
            return Ok(());
        }
        let now = Instant::now();
        if now - *self.busy.since.get_or_insert(now) > BUSY_TIMEOUT {
            return Err(ClientError::Refused(error));
        }
        if self.busy.ids.is_empty() {
            self.busy.retry_at = now + error.retry_after_ms.map_or(BUSY_PAUSE, Duration::from_millis);
        }
        self.busy.ids.push(id);
        Ok(())
    }

    fn retry_busy(&mut self) {
        for id in std::mem::take(&mut self.busy.ids) {
            let Some((_, task)) = self.in_flight(Some(id)) else { continue };
            let args = std::mem::take(&mut task.args);
            self.write(id, &args);
            if let Some((_, task)) = self.in_flight(Some(id)) {
                task.args = args;
            }
        }
    }

    /// Removes a task that has its reply.
    fn remove(&mut self, id: u64) {
        let slot = self.in_flight.get_mut((id - self.first) as usize);
        if let Some(task) = slot.and_then(Option::take) {
            self.bytes -= task.args.len();
        }
        while let Some(None) = self.in_flight.front() {
            self.in_flight.pop_front();
            self.first += 1;
        }
    }
}

/// A request of the batch up to the value of its `id`.
fn head(batch: BatchId, request: &Request) -> Vec<u8> {
    let envelope = Envelope { id: 0, reply: ReplyMode::Ack, auto_key: None, request };
    let Ok(Value::Object(mut fields)) = serde_json::to_value(envelope) else {
        unreachable!("a request is a plain struct")
    };
    fields.remove("args");
    fields.remove("id");
    fields.insert("batch".to_owned(), batch.into());
    let mut head = Value::Object(fields).to_string().into_bytes();
    head.pop();
    head.extend_from_slice(b",\"id\":");
    head
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn head_holds_everything_but_id_and_arguments() {
        let request = Request::new(Some("send_mail".to_owned()), RawValue::NULL.to_owned());
        let line = [&head(3, &request)[..], b"7,\"args\":{}}"].concat();
        let read: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(
            read,
            serde_json::json!({"function": "send_mail", "batch": 3, "reply": "ack", "id": 7, "args": {}})
        );
    }
}

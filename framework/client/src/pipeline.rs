//! Hands over any number of tasks on one connection, many under way at once, in memory that does not grow.

use std::collections::VecDeque;
use std::time::Duration;

use framework_protocol::task::BatchId;
use framework_protocol::{ErrorCode, LineDecoder, MessageBatch, Reply, ReplyMode, RequestError, Status};
use serde_json::Value;
use tokio::io::{AsyncReadExt, ReadHalf, WriteHalf, split};
use tokio::time::{Instant, sleep_until};

use crate::client::Client;
use crate::connection::{Stream, put};
use crate::error::{ClientError, Result, read_answer};
use crate::request::{Envelope, Request};

/// How many requests, and how many bytes of them, may be without an answer.
const IN_FLIGHT_MAX: usize = 4_096;
const BYTES_MAX: usize = 8 << 20;
/// How much gathers before it is written.
const BLOCK: usize = 64 * 1024;
/// Longer than any acknowledgement.
const ANSWER_MAX: usize = 1 << 20;
/// How long a full queue may go on without room for a single task.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tasks of one function on their way to a batch, on a connection of their own.
///
/// A queue that is full is waited for; what is refused for another reason is told by [`Pipeline::refused`].
pub struct Pipeline {
    address: String,
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    /// What one read brings.
    chunk: Vec<u8>,
    is_flushed: bool,
    /// A request up to its `id`.
    head: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    answers: LineDecoder,
    /// Without an answer; an answered one leaves a gap until those before it are answered, too.
    in_flight: VecDeque<Option<Sent>>,
    /// The `id` of the first of these.
    first: u64,
    bytes: usize,
    accepted: u64,
    refused: Vec<RejectedTask>,
    /// Those that met a full queue, when to try again, and since when there was no room at all.
    again: VecDeque<u64>,
    again_at: Instant,
    busy_since: Option<Instant>,
    /// Whether a full queue is not waited for any more.
    is_abandoned: bool,
}

#[derive(Debug)]
struct Sent {
    number: u64,
    args: Box<[u8]>,
}

/// A task that was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedTask {
    /// What the task was pushed as.
    pub number: u64,
    pub refusal: RequestError,
}

impl Client {
    /// Hands over tasks like `request`, each with arguments of its own, to a batch that is open.
    ///
    /// # Errors
    /// When no server can be reached.
    pub async fn pipeline(&self, batch: BatchId, request: &Request) -> Result<Pipeline> {
        let connection = self.pool.dedicated().await?;
        let (reader, writer) = split(connection.stream);
        Ok(Pipeline {
            head: head(batch, request),
            address: self.pool.connector.name(connection.at).to_owned(),
            reader,
            writer,
            chunk: vec![0; BLOCK],
            is_flushed: true,
            output: Vec::new(),
            written: 0,
            answers: LineDecoder::new(ANSWER_MAX),
            in_flight: VecDeque::new(),
            first: 0,
            bytes: 0,
            accepted: 0,
            refused: Vec::new(),
            again: VecDeque::new(),
            again_at: Instant::now(),
            busy_since: None,
            is_abandoned: false,
        })
    }
}

impl Pipeline {
    /// Hands over one task; returns as soon as there is room for another one. `args` is JSON in one line, and
    /// `number` is what the task is called if it is refused.
    ///
    /// # Errors
    /// When the connection fails, or the queue stays full; what was accepted by then is not known.
    pub async fn push(&mut self, number: u64, args: &[u8]) -> Result<()> {
        self.bytes += args.len();
        self.write(self.first + self.in_flight.len() as u64, args);
        self.in_flight.push_back(Some(Sent { number, args: args.into() }));
        self.exchange(|pipeline| {
            pipeline.output.len() < BLOCK
                && pipeline.in_flight.len() < IN_FLIGHT_MAX
                && pipeline.bytes < BYTES_MAX
        })
        .await
    }

    /// Waits until every task is accepted or refused.
    ///
    /// # Errors
    /// When the connection fails, or the queue stays full.
    pub async fn finish(&mut self) -> Result<()> {
        self.exchange(|pipeline| pipeline.in_flight.is_empty()).await
    }

    /// Waits for the answers that are on their way, and tries nothing again.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn abandon(&mut self) -> Result<()> {
        self.is_abandoned = true;
        for id in std::mem::take(&mut self.again) {
            self.forget(id);
        }
        self.finish().await
    }

    /// How many tasks are accepted so far.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Takes what was refused since the last call.
    pub fn refused(&mut self) -> Vec<RejectedTask> {
        std::mem::take(&mut self.refused)
    }

    fn write(&mut self, id: u64, args: &[u8]) {
        self.output.extend_from_slice(&self.head);
        self.output.extend_from_slice(itoa::Buffer::new().format(id).as_bytes());
        self.output.extend_from_slice(b",\"args\":");
        self.output.extend_from_slice(args);
        self.output.extend_from_slice(b"}\n");
    }

    /// Writes and reads, both at once: a server whose answers nobody reads would stop reading the requests.
    async fn exchange(&mut self, until: impl Fn(&Self) -> bool) -> Result<()> {
        while !until(self) {
            let Self { address, reader, writer, chunk, .. } = self;
            tokio::select! {
                count = put(writer, &self.output[self.written..]), if !self.output.is_empty() || !self.is_flushed => {
                    let count = count.map_err(|error| ClientError::io(address, error))?;
                    self.written += count;
                    self.is_flushed = count == 0;
                    if self.written == self.output.len() {
                        self.output.clear();
                        self.written = 0;
                    }
                }
                length = reader.read(chunk) => {
                    let length = length.map_err(|error| ClientError::io(address, error))?;
                    if length == 0 {
                        return Err(ClientError::closed(address));
                    }
                    let page = self.answers.feed(&chunk[..length]);
                    self.read(&page)?;
                }
                () = sleep_until(self.again_at), if !self.again.is_empty() => self.try_again(),
            }
        }
        Ok(())
    }

    fn read(&mut self, page: &MessageBatch) -> Result<()> {
        for line in MessageBatch::lines(&page.bytes) {
            let answer = read_answer(&self.address, line)?;
            let index = answer.id.and_then(|id| usize::try_from(id.checked_sub(self.first)?).ok());
            match (index.and_then(|index| self.in_flight.get_mut(index)), answer.status) {
                (Some(Some(_)), Status::Queued) => {
                    self.accepted += 1;
                    self.busy_since = None;
                    self.forget(answer.id.unwrap_or_default());
                }
                (Some(Some(sent)), Status::Error) => {
                    let number = sent.number;
                    self.reject(number, answer)?;
                }
                (None, Status::Error) => return Err(ClientError::Refused(answer.refusal())),
                _ => return Err(ClientError::unexpected_answer(&self.address, &answer)),
            }
        }
        match page.overflow {
            true => Err(ClientError::unexpected_reply(&self.address, "an answer without an end")),
            false => Ok(()),
        }
    }

    fn reject(&mut self, number: u64, answer: Reply) -> Result<()> {
        let id = answer.id.unwrap_or_default();
        let refusal = answer.refusal();
        if refusal.code != ErrorCode::Busy || self.is_abandoned {
            self.forget(id);
            self.refused.push(RejectedTask { number, refusal });
            return Ok(());
        }
        let now = Instant::now();
        if now - *self.busy_since.get_or_insert(now) > PATIENCE {
            return Err(ClientError::Refused(refusal));
        }
        if self.again.is_empty() {
            self.again_at = now + Duration::from_millis(refusal.retry_after_ms.unwrap_or(1_000));
        }
        self.again.push_back(id);
        Ok(())
    }

    fn try_again(&mut self) {
        for id in std::mem::take(&mut self.again) {
            let args = match self.in_flight.get_mut((id - self.first) as usize) {
                Some(Some(sent)) => std::mem::take(&mut sent.args),
                _ => continue,
            };
            self.write(id, &args);
            if let Some(Some(sent)) = self.in_flight.get_mut((id - self.first) as usize) {
                sent.args = args;
            }
        }
    }

    /// Lets go of a request that has its answer.
    fn forget(&mut self, id: u64) {
        let slot = self.in_flight.get_mut((id - self.first) as usize);
        if let Some(sent) = slot.and_then(Option::take) {
            self.bytes -= sent.args.len();
        }
        while let Some(None) = self.in_flight.front() {
            self.in_flight.pop_front();
            self.first += 1;
        }
    }
}

/// A request of the batch up to the value of its `id`.
fn head(batch: BatchId, request: &Request) -> Vec<u8> {
    let mut fields =
        match serde_json::to_value(Envelope { id: 0, reply: ReplyMode::Ack, given_key: None, request }) {
            Ok(Value::Object(fields)) => fields,
            _ => unreachable!("a request is a plain struct"),
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
    use crate::*;

    #[test]
    fn the_head_of_a_request_says_all_but_its_id_and_arguments() {
        let request =
            Request::new(Some("send_mail".to_owned()), serde_json::value::RawValue::NULL.to_owned());
        let line = [&head(3, &request)[..], b"7,\"args\":{}}"].concat();
        let read: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(
            read,
            serde_json::json!({"function": "send_mail", "batch": 3, "reply": "ack", "id": 7, "args": {}})
        );
    }
}

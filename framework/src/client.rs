//! Talks to a running server: what `task:send` and `task:status` use, and Rust programs too.

mod commands;
mod follow;
mod pipeline;
mod stop;

use std::io;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::protocol::{self, Answer, Refusal, ReplyMode};
use crate::task::{BatchId, TaskId};

pub use follow::{Following, News};

pub use pipeline::{Pipeline, Refused};
pub use stop::Leaving;

/// One connection to a server.
#[derive(Debug)]
pub struct Client {
    address: String,
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    /// The `id` of the next request.
    next: u64,
}

/// A task to hand over.
#[derive(Debug, Clone, Serialize)]
pub struct Request {
    /// `None`: the server's `default_function`.
    pub function: Option<String>,
    pub args: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "seconds")]
    pub delay: Option<Duration>,
    /// When to start at the earliest, instead of a delay: `2026-12-01T09:00:00+08:00`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// When it is too late to start: a span such as `1h`, or a time as in `at`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// A second task with this key, 1 to 256 bytes, is the first one again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Tasks with this key, 1 to 256 bytes, take turns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<String>,
    /// How many attempts may fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// The longest an attempt may take.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "seconds")]
    pub timeout: Option<Duration>,
    /// What the pause after the first failed attempt is about.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "seconds")]
    pub backoff: Option<Duration>,
    /// An open batch that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchId>,
    /// The functions to run one after the other when it is done, each with the result of the one before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub then: Vec<String>,
}

/// How a task has ended.
#[derive(Debug, Clone)]
pub enum Ended {
    /// With this result, as JSON.
    Done(Box<RawValue>),
    /// With this error.
    Failed(String),
    /// Because somebody cancelled it; how.
    Cancelled(String),
    /// Because nobody began it in time; how.
    Expired(String),
}

/// Why a request has no answer, or not the one hoped for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("no server is running on {0}")]
    NotRunning(String),
    #[error("talking to the server on {address}")]
    Io { address: String, source: io::Error },
    /// The server did not accept the request; nothing was queued.
    #[error(transparent)]
    Refused(Refusal),
    /// What came back is nothing that a server of this kind says.
    #[error("the server on {address} answered what no task server says: {line:?}")]
    Foreign { address: String, line: String },
}

type Result<T, E = ClientError> = std::result::Result<T, E>;

impl Request {
    /// A task of `function` with its handler's own options; `None` is the server's `default_function`.
    pub fn new(function: Option<String>, args: Box<RawValue>) -> Self {
        Self {
            function,
            args,
            queue: None,
            priority: None,
            delay: None,
            at: None,
            expires: None,
            key: None,
            concurrency_key: None,
            attempts: None,
            timeout: None,
            backoff: None,
            batch: None,
            then: Vec::new(),
        }
    }
}

impl Client {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`] when nobody listens there; an I/O error also after `timeout`.
    pub async fn connect(address: impl Into<String>, timeout: Duration) -> Result<Self> {
        let address = address.into();
        let connected = tokio::time::timeout(timeout, TcpStream::connect(&address)).await;
        let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        match connected.and_then(|stream| stream.set_nodelay(true).map(|()| stream)) {
            Ok(stream) => {
                let (reader, writer) = stream.into_split();
                Ok(Self { address, reader: BufReader::new(reader), writer, next: 0 })
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                Err(ClientError::NotRunning(address))
            }
            Err(source) => Err(ClientError::Io { address, source }),
        }
    }

    /// Hands over a task; it is accepted, and as durable as the server's store, when this returns its id.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when nothing was accepted.
    pub async fn send(&mut self, request: &Request) -> Result<TaskId> {
        self.hand_over(request, ReplyMode::Ack).await
    }

    /// Like [`Client::send`], and the server reports the end on this connection: [`Client::ended`].
    ///
    /// # Errors
    /// [`ClientError::Refused`] when nothing was accepted.
    pub async fn send_awaited(&mut self, request: &Request) -> Result<TaskId> {
        self.hand_over(request, ReplyMode::Both).await
    }

    /// Waits for the next end of a task sent by [`Client::send_awaited`].
    ///
    /// # Errors
    /// When the connection ends first, or the server stops.
    pub async fn ended(&mut self) -> Result<(TaskId, Ended)> {
        let answer = self.answer().await?;
        self.end(answer)
    }

    fn end(&self, answer: Answer) -> Result<(TaskId, Ended)> {
        let error = || answer.error.clone().unwrap_or_default();
        let ended = match answer.status {
            protocol::Status::Done => {
                Ended::Done(answer.result.clone().unwrap_or_else(|| RawValue::NULL.to_owned()))
            }
            protocol::Status::Failed => Ended::Failed(error()),
            protocol::Status::Cancelled => Ended::Cancelled(error()),
            protocol::Status::Expired => Ended::Expired(error()),
            protocol::Status::Error => return Err(ClientError::Refused(answer.refusal())),
            _ => return Err(self.foreign(format!("{answer:?}"))),
        };
        match answer.task_id {
            Some(id) => Ok((id, ended)),
            None => Err(self.foreign(format!("{answer:?}"))),
        }
    }

    /// Hands over many tasks in one go; the outcomes are in the order of the requests, each with its own.
    ///
    /// # Errors
    /// Only when the connection fails; what was accepted by then is not known.
    pub async fn send_many(&mut self, requests: &[Request]) -> Result<Vec<Result<TaskId, Refusal>>> {
        let first = self.next;
        let mut bytes = Vec::new();
        for request in requests {
            self.encode(&mut bytes, &Envelope { id: self.next, reply: ReplyMode::Ack, request });
            self.next += 1;
        }
        let mut outcomes: Vec<Option<Result<TaskId, Refusal>>> = vec![None; requests.len()];
        let Self { address, reader, writer, .. } = self;
        // Both at once: a server whose answers nobody reads would stop reading the requests.
        let sent = async { writer.write_all(&bytes).await.map_err(|source| broken(address, source)) };
        let answered = async {
            for _ in requests {
                let answer = read_answer(address, reader).await?;
                let index = answer.id.and_then(|id| usize::try_from(id.checked_sub(first)?).ok());
                let Some(outcome) = index.and_then(|index| outcomes.get_mut(index)) else {
                    return Err(foreign(address, format!("{answer:?}")));
                };
                *outcome = Some(match (answer.status, answer.task_id) {
                    (protocol::Status::Queued, Some(id)) => Ok(id),
                    _ => Err(answer.refusal()),
                });
            }
            Ok(())
        };
        tokio::try_join!(sent, answered)?;
        outcomes
            .into_iter()
            .map(|outcome| outcome.ok_or_else(|| self.foreign("an answer twice".into())))
            .collect()
    }

    /// Sends bytes as they are, ends the sending, and reads all that comes back.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn send_raw(mut self, data: &[u8]) -> Result<Vec<u8>> {
        let mut reply = Vec::new();
        let exchange = async {
            self.writer.write_all(data).await?;
            self.writer.shutdown().await?;
            self.reader.read_to_end(&mut reply).await
        };
        match exchange.await {
            Ok(_) => Ok(reply),
            Err(source) => Err(broken(&self.address, source)),
        }
    }

    async fn hand_over(&mut self, request: &Request, reply: ReplyMode) -> Result<TaskId> {
        let envelope = Envelope { id: self.next, reply, request };
        self.next += 1;
        let mut line = Vec::new();
        self.encode(&mut line, &envelope);
        self.write(&line).await?;
        let answer = self.answer().await?;
        match (answer.status, answer.task_id) {
            (protocol::Status::Queued, Some(id)) => Ok(id),
            _ => Err(ClientError::Refused(answer.refusal())),
        }
    }

    fn encode(&self, bytes: &mut Vec<u8>, value: &impl Serialize) {
        serde_json::to_writer(&mut *bytes, value)
            .expect("a vector takes every byte, and requests are plain structs");
        bytes.push(b'\n');
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(bytes).await.map_err(|source| broken(&self.address, source))
    }

    async fn answer(&mut self) -> Result<Answer> {
        read_answer(&self.address, &mut self.reader).await
    }

    fn foreign(&self, line: String) -> ClientError {
        foreign(&self.address, line)
    }
}

async fn read_answer(address: &str, reader: &mut BufReader<OwnedReadHalf>) -> Result<Answer> {
    let mut line = Vec::new();
    match reader.read_until(b'\n', &mut line).await {
        Ok(0) => Err(broken(address, io::ErrorKind::UnexpectedEof.into())),
        Ok(_) => serde_json::from_slice(&line)
            .map_err(|_| foreign(address, String::from_utf8_lossy(&line).trim_end().to_owned())),
        Err(source) => Err(broken(address, source)),
    }
}

fn broken(address: &str, source: io::Error) -> ClientError {
    ClientError::Io { address: address.to_owned(), source }
}

fn foreign(address: &str, line: String) -> ClientError {
    ClientError::Foreign { address: address.to_owned(), line }
}

fn seconds<S: serde::Serializer>(
    span: &Option<Duration>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    span.map(|span| span.as_secs_f64()).serialize(serializer)
}

#[derive(Serialize)]
struct Envelope<'a> {
    id: u64,
    reply: ReplyMode,
    #[serde(flatten)]
    request: &'a Request,
}

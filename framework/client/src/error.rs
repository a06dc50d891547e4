//! Why a request has no answer, or not the one hoped for.

use std::io;
use std::sync::Arc;

use framework_protocol::task::TaskId;
use framework_protocol::{ErrorCode, Reply, RequestError};

use crate::task_handle::TaskEnd;

/// Why a request has no answer, or not the one hoped for.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there: nothing was sent.
    #[error("no server is running on {0}")]
    NotRunning(String),
    /// Nobody can be found there, or not in time: nothing was sent.
    #[error("no server can be reached on {address}")]
    Unreachable { address: String, source: Arc<io::Error> },
    /// Nothing was sent, or what was asked changes nothing: it is safe to ask again.
    #[error("talking to the server on {address}")]
    Io { address: String, source: Arc<io::Error> },
    /// The connection broke after the request had left and before its answer came.
    #[error(
        "the connection broke before the answer came, so that the request may or may not have been accepted; \
         a task with a key can be sent again all the same"
    )]
    Unknown { source: Arc<ClientError> },
    /// The server did not accept the request; nothing was queued.
    #[error(transparent)]
    Refused(RequestError),
    /// What came back is nothing that a server of this kind says.
    #[error("the server on {address} answered what no task server says: {line:?}")]
    UnexpectedReply { address: String, line: String },
    /// A web server, or another port of one.
    #[error("an HTTP server that is no task server listens on {0}: check the address")]
    Http(String),
    /// The server answered like one that expects an encrypted connection.
    #[error("the server on {0} speaks TLS: set tls = true and ca_file in config/client.toml")]
    WantsTls(String),
    /// The server answered in clear text.
    #[error(
        "the server on {0} does not speak TLS: set tls = false in config/client.toml, or check the address"
    )]
    NotTls(String),
    /// The settings of the client make no sense; says which, and what to do.
    #[error("{0}")]
    Settings(String),
    /// The server that the task is known to cannot be reached, and another one cannot tell of it.
    #[error(
        "only the server on {home} can tell of the task, and the client talks to the one on {address} now: \
         ask the former, or set shared_store = true if both have the same tasks"
    )]
    WrongServer { home: String, address: String },
    /// The task has ended without a result.
    #[error("task {task} {ended}")]
    TaskFailed { task: TaskId, ended: TaskEnd },
    /// The task is done, but its result is of another type than was asked for.
    #[error("the result of task {task} is of another type")]
    ResultType { task: TaskId, source: Arc<serde_json::Error> },
}

pub(crate) type Result<T, E = ClientError> = std::result::Result<T, E>;

impl ClientError {
    pub(crate) fn io(address: &str, source: impl Into<io::Error>) -> Self {
        Self::Io { address: address.to_owned(), source: Arc::new(source.into()) }
    }

    pub(crate) fn closed(address: &str) -> Self {
        Self::io(
            address,
            io::Error::new(io::ErrorKind::UnexpectedEof, "the server has closed the connection"),
        )
    }

    pub(crate) fn unreachable(address: &str, source: io::Error) -> Self {
        Self::Unreachable { address: address.to_owned(), source: Arc::new(source) }
    }

    pub(crate) fn late(address: &str, what: String) -> Self {
        Self::io(address, io::Error::new(io::ErrorKind::TimedOut, what))
    }

    pub(crate) fn unexpected_reply(address: &str, line: impl Into<String>) -> Self {
        Self::UnexpectedReply { address: address.to_owned(), line: line.into() }
    }

    /// An answer that makes no sense here.
    pub(crate) fn unexpected_answer(address: &str, answer: &Reply) -> Self {
        Self::unexpected_reply(address, format!("{answer:?}"))
    }

    /// Whether another try at the same address would meet the same end.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Refused(refusal) => !is_passing(refusal.code),
            Self::NotRunning(_) | Self::Unreachable { .. } | Self::Io { .. } | Self::Unknown { .. } => false,
            _ => true,
        }
    }

    /// What is said of a request that had left when this happened.
    pub(crate) fn of_unknown_end(self) -> Self {
        match self {
            Self::Io { .. } | Self::NotRunning(_) | Self::Unreachable { .. } | Self::WrongServer { .. } => {
                Self::Unknown { source: Arc::new(self) }
            }
            told => told,
        }
    }
}

/// Whether what a server refuses for this reason may be accepted later, or by another one.
pub(crate) fn is_passing(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::ShuttingDown | ErrorCode::TooManyConnections | ErrorCode::Busy)
}

/// Reads one line of a server's.
pub(crate) fn read_answer(address: &str, line: &[u8]) -> Result<Reply> {
    serde_json::from_slice(line).map_err(|_| stranger(address, line))
}

/// What it is that does not answer as a task server would.
pub(crate) fn stranger(address: &str, said: &[u8]) -> ClientError {
    /// What TLS calls an alert.
    const ALERT: u8 = 0x15;
    /// So much of a stranger's words is shown.
    const SHOWN: usize = 200;
    match said {
        [ALERT, ..] => ClientError::WantsTls(address.to_owned()),
        _ if said.starts_with(b"HTTP/") => ClientError::Http(address.to_owned()),
        _ => {
            let shown = String::from_utf8_lossy(&said[..said.len().min(SHOWN)]);
            ClientError::unexpected_reply(address, shown.trim_end())
        }
    }
}

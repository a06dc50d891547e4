//! The reason why a request has no reply, or not the expected one.

use std::io;
use std::sync::Arc;

use framework_protocol::task::TaskId;
use framework_protocol::{ErrorCode, Reply, RequestError};

use crate::outcome::TaskEnd;

/// The reason why a request has no reply, or not the expected one.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// No server listens at the address: nothing was sent.
    #[error("no server is running on {0}")]
    NotRunning(String),
    /// The address cannot be reached, or not in time: nothing was sent.
    #[error("no server can be reached on {address}")]
    Unreachable { address: String, source: Arc<io::Error> },
    /// The connection broke before anything was sent, or during a request that changes nothing: it is safe to
    /// repeat.
    #[error("talking to the server on {address}")]
    Io { address: String, source: Arc<io::Error> },
    /// The connection broke after the request had left and before its reply came.
    #[error(
        "the connection broke before the answer came, so that the request may or may not have been accepted; \
         a task with a key can be sent again all the same"
    )]
    Unknown { source: Arc<ClientError> },
    /// The server did not accept the request; nothing was queued.
    #[error(transparent)]
    Refused(RequestError),
    /// The reply is not one of the task server's protocol.
    #[error("the server on {address} answered what no task server says: {line:?}")]
    UnexpectedReply { address: String, line: String },
    /// A web server listens there, or the web port of a task server.
    #[error("an HTTP server that is no task server listens on {0}: check the address")]
    Http(String),
    /// The server is not that of the project that is meant.
    #[error(
        "the server on {address} belongs to another project ({root}); to use it all the same, name its address \
         with --address, or as `address` in config/client.toml"
    )]
    OtherProject { address: String, root: String },
    /// The server replied like one that expects an encrypted connection.
    #[error("the server on {0} speaks TLS: set tls = true and ca_file in config/client.toml")]
    WantsTls(String),
    /// The server replied in plain text.
    #[error(
        "the server on {0} does not speak TLS: set tls = false in config/client.toml, or check the address"
    )]
    NotTls(String),
    /// A line of raw text would be several lines.
    #[error("a line of text cannot contain a line end: what follows it would be another request")]
    LineEnd,
    /// A setting of the client is invalid; the text names it and says what to do.
    #[error("{0}")]
    Settings(String),
    /// The server that knows the task cannot be reached, and another one does not know it.
    #[error(
        "only the server on {home} can tell of the task, and the client talks to the one on {address} now: \
         ask the former, or set shared_store = true if both have the same tasks"
    )]
    WrongServer { home: String, address: String },
    /// The task has ended without a result.
    #[error("task {task} {ended}")]
    TaskFailed { task: TaskId, ended: TaskEnd },
    /// The task is done, but its result cannot be decoded as the type that was asked for.
    #[error("the result of task {task} is of another type")]
    ResultType { task: TaskId, source: Arc<serde_json::Error> },
}

pub(crate) type Result<T, E = ClientError> = std::result::Result<T, E>;

impl ClientError {
    pub(crate) fn io(address: &str, source: impl Into<io::Error>) -> Self {
        Self::Io { address: address.to_owned(), source: Arc::new(source.into()) }
    }

    /// The server has closed the connection although more was expected.
    pub(crate) fn closed(address: &str) -> Self {
        let what = "the server has closed the connection";
        Self::io(address, io::Error::new(io::ErrorKind::UnexpectedEof, what))
    }

    pub(crate) fn unreachable(address: &str, source: io::Error) -> Self {
        Self::Unreachable { address: address.to_owned(), source: Arc::new(source) }
    }

    pub(crate) fn other_project(address: &str, root: impl Into<String>) -> Self {
        Self::OtherProject { address: address.to_owned(), root: root.into() }
    }

    /// A time limit was exceeded.
    pub(crate) fn timed_out(address: &str, what: String) -> Self {
        Self::io(address, io::Error::new(io::ErrorKind::TimedOut, what))
    }

    pub(crate) fn unexpected_line(address: &str, line: impl Into<String>) -> Self {
        Self::UnexpectedReply { address: address.to_owned(), line: line.into() }
    }

    /// A well-formed reply that makes no sense for its request.
    pub(crate) fn unexpected_reply(address: &str, reply: &Reply) -> Self {
        Self::unexpected_line(address, format!("{reply:?}"))
    }

    /// Whether another try at the same address would fail in the same way.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Refused(error) => !is_transient(error.code),
            Self::NotRunning(_) | Self::Unreachable { .. } | Self::Io { .. } | Self::Unknown { .. } => false,
            _ => true,
        }
    }

    /// The kind of the I/O error, if this is one.
    pub(crate) fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io { source, .. } => Some(source.kind()),
            _ => None,
        }
    }

    /// The same error for a request that had left when it happened.
    pub(crate) fn after_sending(self) -> Self {
        match self {
            Self::Io { .. } | Self::NotRunning(_) | Self::Unreachable { .. } | Self::WrongServer { .. } => {
                Self::Unknown { source: Arc::new(self) }
            }
            known => known,
        }
    }
}

/// Whether a request that was refused with this code may be accepted later, or by another server.
pub(crate) fn is_transient(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::ShuttingDown | ErrorCode::TooManyConnections | ErrorCode::Busy)
}

//! Where a server listens, what it speaks there, and who is connected.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the server listens, and what it speaks there. Displays as the address alone, for clients to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListenAddress {
    /// `127.0.0.1:9501`, or `unix:` and a path relative to the project's root.
    pub address: String,
    pub protocols: Vec<Protocol>,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Whether nothing but TLS is.
    pub tls_only: bool,
    /// How a client shows who it is.
    pub auth: Auth,
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.address)
    }
}

/// What can be spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// One message a line; telnet, Workerman's Text.
    Lines,
    /// A message after its length; Workerman's Frame.
    Frames,
    Http,
    Websocket,
}

/// How a client shows who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// It names a token.
    Token,
    /// It need not.
    None,
}

impl Protocol {
    pub const ALL: [Self; 4] = [Self::Lines, Self::Frames, Self::Http, Self::Websocket];

    pub fn name(self) -> &'static str {
        match self {
            Self::Lines => "lines",
            Self::Frames => "frames",
            Self::Http => "http",
            Self::Websocket => "websocket",
        }
    }
}

/// One connection, as `{"command":"connections"}` and `task:connections --json` tell of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionInfo {
    /// 1 for the first connection of this server, and rising.
    pub id: u64,
    /// `127.0.0.1:54321`, or `unix (process 123)`.
    pub peer: String,
    /// `null` until it has said something that tells.
    pub protocol: Option<Protocol>,
    /// Whether all of it is encrypted.
    pub tls: bool,
    /// What came from the socket, with the handshakes and heads of all that is spoken; encrypted where it is.
    pub bytes_in: u64,
    /// What went to the socket, counted in the same way.
    pub bytes_out: u64,
    /// Bytes of answers that wait because the client does not read, or because an earlier answer is still to come.
    pub queued: usize,
    /// Tasks whose ends it waits for, among them those that it watches.
    pub in_flight: usize,
    /// For how long no byte has come or gone.
    pub idle_ms: u64,
    /// How long it has been there.
    pub connected_ms: u64,
}

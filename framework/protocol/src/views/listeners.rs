//! Views of a server's listeners and connections.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

/// A listener of the server. Displays as the address alone, for clients to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListenAddress {
    /// `127.0.0.1:9501`, or `unix:` and a path relative to the project's root.
    pub address: String,
    pub protocols: Vec<Protocol>,
    /// Whether TLS is accepted.
    pub tls: bool,
    /// Whether plain-text connections are rejected.
    pub tls_only: bool,
    /// The way in which clients authenticate.
    pub auth: Auth,
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.address)
    }
}

/// A protocol that a listener accepts.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, IntoStaticStr, VariantArray,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Protocol {
    /// A message per line; telnet, Workerman's Text.
    Lines,
    /// Each message preceded by its length; Workerman's Frame.
    Frames,
    Http,
    Websocket,
    /// That of beanstalkd, on a listener of its own.
    Beanstalkd,
    /// That of Faktory, on a listener of its own.
    Faktory,
}

/// The way in which clients of a listener authenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// With a token.
    Token,
    /// They do not have to.
    None,
}

impl Protocol {
    pub const ALL: &'static [Self] = Self::VARIANTS;
    /// Those of this server, which one listener can accept together.
    pub const OWN: &'static [Self] = &[Self::Lines, Self::Frames, Self::Http, Self::Websocket];

    /// Whether it is that of another system, which a listener speaks alone.
    pub fn is_foreign(self) -> bool {
        !Self::OWN.contains(&self)
    }

    /// Whether its clients can show a token.
    pub fn has_tokens(self) -> bool {
        match self {
            Self::Lines | Self::Frames | Self::Http | Self::Websocket => true,
            Self::Beanstalkd | Self::Faktory => false,
        }
    }

    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// One connection, in the reply to `{"command":"connections"}` and in the output of `task:connections
/// --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionInfo {
    /// 1 for the first connection of this server, and rising.
    #[serde(rename = "connection_id", alias = "id")]
    pub id: u64,
    /// `127.0.0.1:54321`, or `unix (process 123)`.
    pub peer: String,
    /// `null` until its first bytes have decided it.
    pub protocol: Option<Protocol>,
    /// Whether it is encrypted.
    pub tls: bool,
    /// The bytes received from the socket, those of handshakes and headers included; encrypted bytes on TLS.
    pub bytes_in: u64,
    /// The bytes sent to the socket, counted in the same way.
    pub bytes_out: u64,
    /// The bytes of replies that wait because the client does not read, or because an earlier reply is still
    /// to come.
    pub queued: usize,
    /// The tasks whose ends it waits for, among them those that it watches.
    pub in_flight: usize,
    /// The time since the last byte in either direction.
    pub idle_ms: u64,
    /// The time since it was accepted.
    pub connected_ms: u64,
}

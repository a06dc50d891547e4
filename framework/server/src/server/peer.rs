//! The other end of a connection.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The other end of a connection. Displays as `127.0.0.1:54321` or `unix (process 123)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    /// A TCP client and its address.
    Tcp(SocketAddr),
    /// A client of a Unix socket, with its process id where the system provides it.
    Unix { process: Option<i32> },
}

impl Peer {
    /// The IP address; `None` for a Unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip()),
            Self::Unix { .. } => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix { process: Some(process) } => write!(formatter, "unix (process {process})"),
            Self::Unix { process: None } => formatter.write_str("unix"),
        }
    }
}

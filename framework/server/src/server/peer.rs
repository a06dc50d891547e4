//! The other end of a connection.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The other end of a connection. Displays as `127.0.0.1:54321`, `unix (process 123)` or `child
/// (process 124)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    /// A TCP client and its address.
    Tcp(SocketAddr),
    /// A client of a Unix socket, with its process id where the system provides it.
    Unix { process: Option<i32> },
    /// A process that the server has started to run tasks in, with its number among all of them.
    Child { number: u64, process: i32 },
}

impl Peer {
    /// The IP address; `None` for a Unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip()),
            Self::Unix { .. } | Self::Child { .. } => None,
        }
    }

    /// The number of the child process; `None` for a client.
    pub(super) fn child(&self) -> Option<u64> {
        match self {
            Self::Child { number, .. } => Some(*number),
            Self::Tcp(_) | Self::Unix { .. } => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix { process: Some(process) } => write!(formatter, "unix (process {process})"),
            Self::Child { process, .. } => write!(formatter, "child (process {process})"),
            Self::Unix { process: None } => formatter.write_str("unix"),
        }
    }
}

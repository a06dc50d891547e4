//! A reload: a new process takes over from the one that serves, without a lost task or a refused connection.
//!
//! The old process starts the new one as its child, with [`TAKEOVER_FLAG`] and one end of a socket pair as
//! its standard input. Until `ready`, any failure on the right leaves the server on the left as it was.
//!
//! ```text
//! supervisor      old process (parent_side, replace)               new process (child_side)
//!     .           │ serves                                         .
//!     .           │ task:reload, SIGUSR1                           .
//!     .           ├─ spawn ───────────────────────────────────────►│ reads settings and handlers,
//!     .           │                                                │ checks every waiting task
//!     .           │◄────────────────────── prepared { queue_file } ┤
//!     .           │ starts no further task,                        │
//!     .           │ waits for the running ones                     │
//!     .           │ reads no further request,                      │
//!     .           │ lets go of queue and pid file                  │
//!     .           ├─ HandoverMessage, listeners, relay ───────────►│ opens queue and pid file, listens
//!     │◄─ serving { pid } ─────────────────────────────────────────┤ (in the foreground)
//!     │           │◄───────────────────────────────────────  ready ┤
//!     │           │ relays results to its clients ◄────────────────┤ serves
//!     │           ┴ ends when they have theirs                     │
//! ```
//!
//! Instead of `prepared` or `ready` there may come `failed { reason }`, or the end of the new process. Before
//! the handover the old process then runs tasks again; after it, it opens queue and listeners once more.
//!
//! Others learn of it, too: the clients that asked for the reload by its progress, systemd by `MAINPID`
//! (`sd_notify`), and a supervisor by `serving` on a channel of its own, which goes along with the listeners.
//! A server in the foreground that has no supervisor becomes it instead of ending (`supervisor`).

pub(super) mod child_side;
pub(super) mod fd_channel;
pub(super) mod parent_side;
pub(super) mod replace;

use std::path::PathBuf;

use framework::server::PendingWaiter;
use serde::{Deserialize, Serialize};

/// The option that makes a process take over from the one that has started it.
pub(super) const TAKEOVER_FLAG: &str = "--takeover";

/// A message of the new process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ChildMessage {
    /// It can serve, as far as it knows, with the queue in this file; `None` is a queue in memory.
    Prepared { queue_file: Option<PathBuf> },
    /// The new process serves.
    Ready,
    /// It cannot serve, and exits.
    Failed { reason: String },
}

/// The message of the old process. The file descriptors with it are, in this order: one for each of
/// `sockets`; the relay of results; the channel to the supervisor, if there is one.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HandoverMessage {
    pub(super) sockets: Vec<SocketDescription>,
    pub(super) awaited: Vec<PendingWaiter>,
    pub(super) is_supervised: bool,
}

/// A listening socket.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SocketDescription {
    /// The address in the settings that the old process had it from.
    pub(super) place: Option<String>,
    /// Whether a service manager has opened it.
    pub(super) is_managed: bool,
}

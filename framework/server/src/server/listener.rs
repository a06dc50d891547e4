//! Accepts connections within the limits, and owns their sessions.

mod accept;
mod bind;
mod limits;
mod socket;
mod unix;

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use self::accept::AcceptLoop;
pub(super) use self::bind::{BoundListener, check, open};
use self::limits::ConnectionLimiter;
pub(super) use self::socket::ListenSocket;
pub use self::unix::AlreadyRunning;
use super::context::SessionContext;

/// The first stage: one accept loop for each bound listener.
pub(super) struct Listener {
    pub(super) context: Arc<SessionContext>,
    /// Becomes true when nothing is accepted any more and the sessions are to stop reading.
    pub(super) stop: watch::Receiver<bool>,
    /// Every session holds a clone until no request can come from it any more.
    pub(super) reading: mpsc::Sender<()>,
}

impl Listener {
    /// Accepts connections until `stop` is raised, then waits for the sessions.
    pub(super) async fn run(self, listeners: Vec<BoundListener>) {
        let Self { context, stop, reading } = self;
        let limiter = Arc::new(ConnectionLimiter::new(&context));
        let mut loops = JoinSet::new();
        for listener in listeners {
            let accept = AcceptLoop::new(context.clone(), limiter.clone(), stop.clone());
            loops.spawn(accept.run(listener, reading.clone()));
        }
        drop(reading);
        while loops.join_next().await.is_some() {}
    }
}

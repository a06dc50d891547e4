//! Accepts connections within the limits, and owns their sessions.

mod accept;
mod bind;
mod children;
mod limits;
mod proxy_header;
mod socket;
mod spare;
mod unix;

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use self::accept::AcceptLoop;
pub(super) use self::bind::{BoundListener, check, open};
use self::limits::ConnectionLimiter;
pub(super) use self::socket::ListenSocket;
use self::spare::SpareDescriptor;
pub use self::unix::AlreadyRunning;
use super::context::SessionContext;
use super::worker::isolated::ChildConnection;

/// The first stage: one accept loop for each bound listener.
pub(super) struct Listener {
    pub(super) context: Arc<SessionContext>,
    pub(super) public: Admission,
    /// The admission of the control socket, which stays open for longer.
    pub(super) control: Admission,
}

/// The signal to stop, and the handle by which a listener shows that requests may still come from it.
#[derive(Clone)]
pub(super) struct Admission {
    /// Becomes true when nothing is accepted any more and the sessions are to stop reading.
    pub(super) stop: watch::Receiver<bool>,
    /// Every session holds a clone until no request can come from it any more.
    pub(super) reading: mpsc::Sender<()>,
}

impl Listener {
    /// Accepts connections until `stop` is raised, then waits for the sessions. Those of child processes are
    /// served as long as those of the control socket.
    pub(super) async fn run(self, listeners: Vec<BoundListener>, children: mpsc::Receiver<ChildConnection>) {
        let Self { context, public, control } = self;
        let limiter = Arc::new(ConnectionLimiter::new(&context));
        let spare = Arc::new(SpareDescriptor::default());
        spare.refill();
        let mut loops = JoinSet::new();
        for listener in listeners {
            let Admission { stop, reading } = if listener.is_control { &control } else { &public }.clone();
            let accept = AcceptLoop::new(context.clone(), limiter.clone(), spare.clone(), stop);
            loops.spawn(accept.run(listener, reading));
        }
        loops.spawn(children::serve(context, limiter, control.clone(), children));
        drop((public, control));
        while loops.join_next().await.is_some() {}
    }
}

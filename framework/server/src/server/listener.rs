//! Accepts connections within the limits, and owns their sessions.

mod bind;
mod limits;
mod unix;
mod socket;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

pub(super) use self::bind::{BoundListener, check, open};
use self::limits::{ConnectionLimiter, ConnectionPermit};
pub(super) use self::socket::Socket;
pub use self::unix::AlreadyRunning;
use super::connection::Connection;
use super::outbox::Outbox;
use super::policy::ListenerPolicy;
use super::poll::raised;
use super::session::{Session, SessionContext};
use super::stream::Stream;

/// How long to wait when the system gives no more sockets.
const PAUSE: Duration = Duration::from_millis(100);

/// The first room: the entrances, and the sessions of all who came through them.
pub(super) struct Listener {
    pub(super) context: Arc<SessionContext>,
    /// Becomes true when nobody is let in any more and the sessions are to stop reading.
    pub(super) stop: watch::Receiver<bool>,
    /// Every session holds one until no request can come from it any more.
    pub(super) reading: mpsc::Sender<()>,
}

impl Listener {
    /// Lets clients in through all entrances until it is told to stop, then waits for its sessions.
    pub(super) async fn run(self, bound: Vec<BoundListener>) {
        let Self { context, stop, reading } = self;
        let house = Arc::new(ConnectionLimiter::new(&context));
        let mut porters = JoinSet::new();
        for listener in bound {
            let porter = AcceptLoop { context: context.clone(), house: house.clone(), stop: stop.clone() };
            porters.spawn(porter.run(listener, reading.clone()));
        }
        drop(reading);
        while porters.join_next().await.is_some() {}
    }
}

/// Attends to one entrance.
struct AcceptLoop {
    context: Arc<SessionContext>,
    house: Arc<ConnectionLimiter>,
    stop: watch::Receiver<bool>,
}

impl AcceptLoop {
    async fn run(self, listener: BoundListener, reading: mpsc::Sender<()>) {
        let BoundListener { socket, policy } = listener;
        let mut sessions = JoinSet::new();
        let mut stop = self.stop.clone();
        let mut reading = Some(reading);
        while let Some(guard) = &reading {
            tokio::select! {
                accepted = socket.accept() => match accepted {
                    Ok((stream, peer)) => {
                        if let Some((seat, stream)) = self.house.acquire(stream, peer, &policy) {
                            let session = self.session(&seat, &policy, guard.clone());
                            sessions.spawn(serve(seat, session, stream));
                        }
                    }
                    Err(error) => pause(&error).await,
                },
                _ = sessions.join_next(), if !sessions.is_empty() => {}
                () = raised(&mut stop) => reading = None,
            }
        }
        drop(socket);
        while sessions.join_next().await.is_some() {}
    }

    fn session(
        &self,
        seat: &ConnectionPermit,
        policy: &Arc<ListenerPolicy>,
        reading: mpsc::Sender<()>,
    ) -> Session {
        let context = self.context.clone();
        let outbox = Arc::new(Outbox::new(context.settings.max_output_buffer));
        let connection =
            Connection::new(seat.record.number, seat.record.peer, context.queue.clone(), outbox.clone());
        seat.record.hears_from(&outbox);
        Session {
            context,
            record: seat.record.clone(),
            access: policy.access(),
            policy: policy.clone(),
            connection,
            outbox,
            stop: self.stop.clone(),
            reading: Some(reading),
        }
    }
}

async fn serve(seat: ConnectionPermit, session: Session, stream: Stream) {
    session.run(stream).await;
    drop(seat);
}

/// A connection that broke off before it was accepted is nothing; a lack of file descriptors passes.
async fn pause(error: &io::Error) {
    if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        tracing::error!("cannot accept connections: {error}");
        tokio::time::sleep(PAUSE).await;
    }
}

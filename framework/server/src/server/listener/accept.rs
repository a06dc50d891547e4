//! The loop that accepts the connections of one listener and runs their sessions.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::bind::BoundListener;
use super::limits::{ConnectionLimiter, ConnectionPermit};
use crate::server::access::policy::ListenerPolicy;
use crate::server::context::SessionContext;
use crate::server::poll::raised;
use crate::server::session::{self, Session};
use crate::server::stream::Stream;

/// The pause after the system refused another socket.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts the connections of one listener.
pub(super) struct AcceptLoop {
    context: Arc<SessionContext>,
    limiter: Arc<ConnectionLimiter>,
    stop: watch::Receiver<bool>,
}

impl AcceptLoop {
    pub(super) fn new(
        context: Arc<SessionContext>,
        limiter: Arc<ConnectionLimiter>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self { context, limiter, stop }
    }

    /// Accepts until the stop flag is raised, closes the socket, and waits for the sessions.
    pub(super) async fn run(self, listener: BoundListener, reading: mpsc::Sender<()>) {
        let BoundListener { socket, policy } = listener;
        let mut sessions = JoinSet::new();
        let mut stop = self.stop.clone();
        let mut reading = Some(reading);
        while let Some(guard) = &reading {
            tokio::select! {
                accepted = socket.accept() => match accepted {
                    Ok((stream, peer)) => {
                        if let Some((permit, stream)) = self.limiter.acquire(stream, peer, &policy) {
                            let session = self.session(&permit, &policy, guard.clone());
                            sessions.spawn(serve(permit, session, stream));
                        }
                    }
                    Err(error) => pause_after(&error).await,
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
        permit: &ConnectionPermit,
        policy: &Arc<ListenerPolicy>,
        reading: mpsc::Sender<()>,
    ) -> Session {
        let (record, stop) = (permit.record.clone(), self.stop.clone());
        Session::new(self.context.clone(), record, policy.clone(), stop, reading)
    }
}

/// Runs a session, which holds its permit to the end.
async fn serve(permit: ConnectionPermit, session: Session, stream: Stream) {
    session::run(session, stream).await;
    drop(permit);
}

/// Logs a failed accept and pauses, so that a lack of file descriptors does not become a busy loop. A
/// connection that was aborted before it was accepted needs neither.
async fn pause_after(error: &io::Error) {
    if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        tracing::error!("cannot accept connections: {error}");
        tokio::time::sleep(PAUSE).await;
    }
}

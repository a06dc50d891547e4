//! The loop that accepts the connections of one listener and runs their sessions.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::bind::BoundListener;
use super::limits::{ConnectionLimiter, ConnectionPlace, reject};
use super::proxy_header;
use super::spare::{SpareDescriptor, is_exhausted};
use crate::server::access::policy::ListenerPolicy;
use crate::server::context::SessionContext;
use crate::server::metrics::Limit;
use crate::server::peer::Peer;
use crate::server::poll::raised;
use crate::server::session::{self, Session};
use crate::server::stream::Stream;

/// The pause after the system refused another socket, so that a lack of file descriptors does not become a
/// busy loop.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts the connections of one listener.
pub(super) struct AcceptLoop {
    context: Arc<SessionContext>,
    limiter: Arc<ConnectionLimiter>,
    spare: Arc<SpareDescriptor>,
    stop: watch::Receiver<bool>,
}

impl AcceptLoop {
    pub(super) fn new(
        context: Arc<SessionContext>,
        limiter: Arc<ConnectionLimiter>,
        spare: Arc<SpareDescriptor>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self { context, limiter, spare, stop }
    }

    /// Accepts until the stop flag is raised, closes the socket, and waits for the sessions.
    pub(super) async fn run(self, listener: BoundListener, reading: mpsc::Sender<()>) {
        let BoundListener { socket, policy, .. } = listener;
        let mut sessions = JoinSet::new();
        let mut stop = self.stop.clone();
        let mut reading = Some(reading);
        // The control socket is the one that may have more connections than all others.
        let is_control = policy.reserve > 0;
        let (mut is_paused, mut has_failed) = (false, false);
        while let Some(guard) = &reading {
            tokio::select! {
                accepted = socket.accept(), if !is_paused => match accepted {
                    Ok((stream, peer)) => {
                        has_failed = false;
                        self.admit(stream, peer, &policy, guard, &mut sessions);
                    }
                    Err(error) if is_control && is_exhausted(&error) && self.spare.release() => {}
                    Err(error) if is_aborted(&error) => {}
                    Err(error) => {
                        if !has_failed {
                            tracing::error!("cannot accept connections: {error}");
                        }
                        (is_paused, has_failed) = (true, true);
                    }
                },
                // A descriptor that is free again is first of all the spare one.
                () = tokio::time::sleep(PAUSE), if is_paused => is_paused = !(self.spare.refill() || is_control),
                _ = sessions.join_next(), if !sessions.is_empty() => {
                    self.spare.refill();
                }
                () = raised(&mut stop) => reading = None,
            }
        }
        drop(socket);
        while sessions.join_next().await.is_some() {}
    }

    /// Starts the session of a connection, or rejects it with the reason.
    fn admit(
        &self,
        stream: Stream,
        peer: Peer,
        policy: &Arc<ListenerPolicy>,
        reading: &mpsc::Sender<()>,
        sessions: &mut JoinSet<()>,
    ) {
        let place = match self.limiter.take_place(policy) {
            Ok(place) => place,
            Err(error) => return reject(stream, policy, &error),
        };
        let (context, policy) = (self.context.clone(), policy.clone());
        let connection =
            NewConnection { context, policy, stop: self.stop.clone(), reading: reading.clone(), place };
        if connection.policy.expects_proxy {
            sessions.spawn(connection.serve_proxied(stream, peer));
        } else if let Some(session) = connection.register(stream, peer) {
            // Registered before the next one is accepted, so that their numbers have the same order.
            sessions.spawn(session);
        }
    }
}

/// A connection that has a place, and what its session needs.
struct NewConnection {
    context: Arc<SessionContext>,
    policy: Arc<ListenerPolicy>,
    stop: watch::Receiver<bool>,
    reading: mpsc::Sender<()>,
    place: ConnectionPlace,
}

impl NewConnection {
    /// Registers the connection and returns its session, which holds its permit to the end; `None` if it was
    /// rejected.
    fn register(self, stream: Stream, peer: Peer) -> Option<impl Future<Output = ()> + use<>> {
        let policy = self.policy.clone();
        match self.place.register(&stream, peer) {
            Ok(permit) => {
                let record = permit.record.clone();
                let session = Session::new(self.context, record, self.policy, self.stop, self.reading);
                Some(async move {
                    session::run(session, stream).await;
                    drop(permit);
                })
            }
            Err(error) => {
                reject(stream, &policy, &error);
                None
            }
        }
    }

    /// Reads the header of the proxy, and serves the client that it names.
    async fn serve_proxied(mut self, stream: Stream, proxy: Peer) {
        let limit = self.context.limits.auth_timeout;
        let read = tokio::select! {
            read = timeout(limit, proxy_header::read(stream, proxy)) => read,
            () = raised(&mut self.stop) => return,
        };
        match read {
            Ok(Ok((stream, client))) => {
                if let Some(session) = self.register(stream, client) {
                    session.await;
                }
            }
            Ok(Err(error)) => {
                self.context.metrics.limits.hit(Limit::ProxyHeader);
                tracing::warn!(%proxy, "connection closed: {error}");
            }
            Err(_) => self.context.metrics.limits.hit(Limit::AuthTimeout),
        }
    }
}

/// Whether a connection was aborted before it was accepted, which is no reason to pause.
fn is_aborted(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

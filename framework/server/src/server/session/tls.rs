//! The upgrade of a connection to TLS.

use std::io;

use tokio::time::timeout;

use super::linger::linger;
use super::state::Session;
use crate::server::metrics::Limit;
use crate::server::poll::raised;
use crate::server::stream::Stream;

/// Completes the handshake within `auth_timeout`; `None` when it failed, which ends the connection.
pub(super) async fn upgrade(session: &Session, stream: Stream) -> io::Result<Option<Stream>> {
    let Some(tls) = session.policy.tls() else { return Ok(None) };
    let handshake = tls.acceptor().accept(stream).into_fallible();
    let mut stop = session.stop.clone();
    let done = tokio::select! {
        done = timeout(session.context.limits.auth_timeout, handshake) => done,
        () = raised(&mut stop) => return Ok(None),
    };
    match done {
        Ok(Ok(stream)) => {
            session.record.encrypts();
            Ok(Some(stream.into()))
        }
        Ok(Err((error, mut stream))) => {
            tracing::debug!("{:?}: TLS handshake failed: {error}", session.connection);
            linger(&mut stream, true).await;
            Ok(None)
        }
        Err(_) => {
            session.context.metrics.limits.hit(Limit::AuthTimeout);
            Ok(None)
        }
    }
}

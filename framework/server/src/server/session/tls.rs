//! Goes on with what is encrypted, once the handshake of TLS is done.

use std::io;

use tokio::time::timeout;

use super::Session;
use super::conversation::linger;
use crate::server::metrics::Limit;
use crate::server::poll::raised;
use crate::server::stream::Stream;

impl Session {
    /// Shakes hands within `auth_timeout`; `None` when that came to nothing.
    pub(super) async fn upgrade_tls(&self, stream: Stream) -> io::Result<Option<Stream>> {
        let Some(tls) = self.policy.tls() else { return Ok(None) };
        let handshake = tls.acceptor().accept(stream).into_fallible();
        let mut stop = self.stop.clone();
        let done = tokio::select! {
            done = timeout(self.context.settings.auth_timeout, handshake) => done,
            () = raised(&mut stop) => return Ok(None),
        };
        match done {
            Ok(Ok(stream)) => Ok(Some(stream.into())),
            Ok(Err((error, mut stream))) => {
                tracing::debug!("{:?}: no TLS: {error}", self.connection);
                linger(&mut stream, true).await;
                Ok(None)
            }
            Err(_) => {
                self.context.metrics.limits.hit(Limit::AuthTimeout);
                Ok(None)
            }
        }
    }
}

//! The first bytes of a connection on which neither lines nor frames are accepted yet.

use std::io;

use framework_protocol::DetectedProtocol;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::state::Session;
use super::step::SessionStep;
use crate::server::metrics::Limit;
use crate::server::poll::raised;
use crate::server::stream::Stream;

/// The most bytes that are read before the protocol of a connection is certain.
const LENGTH_MAX: usize = 4096;

/// Detects the protocol of a connection, within `auth_timeout` where only TLS is accepted, and within
/// `http_header_timeout` where only HTTP is; what is not certain by then is taken for lines.
pub(super) async fn await_protocol(session: &Session, stream: &mut Stream) -> io::Result<SessionStep> {
    let limits = &session.context.limits;
    let awaits_tls = session.policy.is_tls_only() && !stream.is_encrypted();
    let (limit, name) = if awaits_tls {
        (limits.auth_timeout, Limit::AuthTimeout)
    } else {
        (limits.http_header_timeout, Limit::HttpHeaderTimeout)
    };
    let mut stop = session.stop.clone();
    let mut first = Vec::with_capacity(512);
    let detected = tokio::select! {
        detected = timeout(limit, detect(stream, &mut first)) => detected,
        () = raised(&mut stop) => return Ok(SessionStep::Closed),
    };
    let protocol = match detected {
        Ok(protocol) => protocol?,
        Err(_) => {
            session.context.metrics.limits.hit(name);
            if awaits_tls {
                return Ok(SessionStep::Closed);
            }
            None
        }
    };
    if first.is_empty() {
        return Ok(SessionStep::Closed);
    }
    Ok(SessionStep::ProtocolDetected(protocol.unwrap_or(DetectedProtocol::Lines), first.into()))
}

/// Reads until the protocol is certain; `None` when the connection ends before, or the bytes are too many.
async fn detect(stream: &mut Stream, first: &mut Vec<u8>) -> io::Result<Option<DetectedProtocol>> {
    loop {
        let detected = DetectedProtocol::detect(DetectedProtocol::skip_empty_lines(first));
        let room = LENGTH_MAX - first.len();
        if detected.is_some() || room == 0 || (&mut *stream).take(room as u64).read_buf(first).await? == 0 {
            return Ok(detected);
        }
    }
}

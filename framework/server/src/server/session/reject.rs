//! Rejects a protocol that the listener does not accept, in that very protocol, so that the client can read
//! why.

use std::io;

use framework_protocol::{DetectedProtocol, Framing, ReplyWriter, RequestError};
use tokio::io::AsyncWriteExt;

use super::linger::linger;
use super::state::Session;
use crate::server::http::Problem;
use crate::server::stream::Stream;

/// A fatal alert of TLS 1.0, which every version reads: handshake_failure.
const ALERT: [u8; 7] = [0x15, 3, 1, 0, 2, 2, 40];

/// Sends the reason, and closes.
pub(super) async fn in_protocol(
    session: &Session,
    mut stream: Stream,
    detected: DetectedProtocol,
) -> io::Result<()> {
    let error = session.policy.rejection(detected, stream.is_encrypted());
    let lacks_tls = session.policy.accepts(detected, true);
    stream.write_all(&rejection(detected, error, lacks_tls)).await?;
    stream.flush().await?;
    linger(&mut stream, true).await;
    Ok(())
}

fn rejection(detected: DetectedProtocol, error: RequestError, lacks_tls: bool) -> Vec<u8> {
    match detected {
        DetectedProtocol::Tls => ALERT.to_vec(),
        DetectedProtocol::Lines | DetectedProtocol::Frames => {
            let mut line = Vec::new();
            ReplyWriter::new(&mut line).refused(None, &error);
            let mut bytes = Vec::new();
            Framing::of(detected).write_lines(&line, &mut bytes);
            bytes
        }
        // Web servers answer 400 to plain text on an encrypted port.
        DetectedProtocol::Http if lacks_tls => Problem::bad_request_of(error).standalone_response(),
        DetectedProtocol::Http => Problem::from(error).standalone_response(),
    }
}

//! Answers what the listener does not speak, in that very protocol, so that the client can tell why.

use std::io;

use framework_protocol::{DetectedProtocol, FrameDecoder, ReplyWriter, RequestError};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::Session;
use super::conversation::linger;
use crate::server::stream::Stream;

/// A fatal alert of TLS 1.0, which every version reads: handshake_failure.
const ALERT: [u8; 7] = [0x15, 3, 1, 0, 2, 2, 40];

impl Session {
    /// Tells a client that what it began to speak is not spoken here, and hangs up.
    pub(super) async fn reject(&self, mut stream: Stream, opening: DetectedProtocol) -> io::Result<()> {
        let refusal = self.policy.rejection(opening, stream.is_encrypted());
        stream.write_all(&declined(opening, &refusal, self.policy.accepts(opening, true))).await?;
        stream.flush().await?;
        linger(&mut stream, true).await;
        Ok(())
    }
}

fn declined(opening: DetectedProtocol, refusal: &RequestError, lacks_tls: bool) -> Vec<u8> {
    let mut line = Vec::new();
    ReplyWriter::new(&mut line).refused(None, refusal);
    match opening {
        DetectedProtocol::Tls => ALERT.to_vec(),
        DetectedProtocol::Lines => line,
        DetectedProtocol::Frames => {
            let mut frame = Vec::new();
            FrameDecoder::write(line.trim_ascii_end(), &mut frame);
            frame
        }
        DetectedProtocol::Http => {
            // The status that web servers give who speaks plainly to an encrypted port.
            let (status, title) = match lacks_tls {
                true => (400, "Bad Request"),
                false => (501, "Not Implemented"),
            };
            let problem = json!({
                "type": "about:blank",
                "title": title,
                "status": status,
                "code": refusal.code,
                "detail": refusal.message,
            });
            let body = problem.to_string();
            let length = body.len();
            format!(
                "HTTP/1.1 {status} {title}\r\nContent-Type: application/problem+json\r\n\
                 Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
            .into_bytes()
        }
    }
}

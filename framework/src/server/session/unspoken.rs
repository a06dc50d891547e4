//! Answers what the listener does not speak, in that very protocol, so that the client can tell why.

use std::io;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::protocol::{Frames, Opening, Refusal, Reply};
use crate::server::ready::{at_once, raised};
use crate::server::stream::Stream;

use super::Session;

/// A fatal alert of TLS 1.0, which every version reads: handshake_failure.
const ALERT: [u8; 7] = [0x15, 3, 1, 0, 2, 2, 40];
/// How long a client may go on sending what nobody reads, so that it reads what it was told.
const PATIENCE: Duration = Duration::from_secs(1);
/// And how much, in bytes.
const THROWN_AWAY: usize = 4 << 20;

impl Session {
    /// Tells a client that what it began to speak is not spoken here, and hangs up.
    pub(super) async fn decline(&self, mut stream: Stream, opening: Opening) -> io::Result<()> {
        let refusal = self.door.refusal(opening, stream.is_encrypted());
        stream.write_all(&declined(opening, &refusal)).await?;
        stream.flush().await?;
        self.part(&mut stream).await
    }

    /// Closes a stream on which more may come than anybody reads. Closed at once, the system would drop what the
    /// client has not read yet.
    pub(super) async fn part(&self, stream: &mut Stream) -> io::Result<()> {
        let mut stop = self.stop.clone();
        tokio::select! {
            parted = timeout(PATIENCE, throw_away(stream)) => parted.unwrap_or(Ok(())),
            () = raised(&mut stop) => Ok(()),
        }
    }
}

/// Closes a stream from which nobody is to read on; waits for nothing, for nobody knows when the client will close.
pub(super) async fn leave(stream: &mut Stream) -> io::Result<()> {
    at_once(&mut Box::pin(throw_away(stream))).await.unwrap_or(Ok(()))
}

/// Says that nothing more comes, and reads until the client says so as well.
async fn throw_away(stream: &mut Stream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut bytes = vec![0; 16 * 1024];
    let mut thrown_away = 0;
    while thrown_away < THROWN_AWAY {
        match stream.read(&mut bytes).await? {
            0 => break,
            count => thrown_away += count,
        }
    }
    Ok(())
}

fn declined(opening: Opening, refusal: &Refusal) -> Vec<u8> {
    let mut line = Vec::new();
    Reply::new(&mut line).refused(None, refusal);
    match opening {
        Opening::Tls => ALERT.to_vec(),
        Opening::Lines => line,
        Opening::Frames => {
            let mut frame = Vec::new();
            Frames::write(line.trim_ascii_end(), &mut frame);
            frame
        }
        Opening::Http => {
            let title = "Not Implemented";
            let problem = json!({
                "type": "about:blank",
                "title": title,
                "status": 501,
                "code": refusal.code,
                "detail": refusal.message,
            });
            let body = problem.to_string();
            let length = body.len();
            format!(
                "HTTP/1.1 501 {title}\r\nContent-Type: application/problem+json\r\n\
                 Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
            .into_bytes()
        }
    }
}

//! Answers HTTP: the same requests as on a line, as resources.

use std::io;

use tokio::io::AsyncWriteExt;

use super::Session;
use crate::protocol::{Code, Refusal, Reply};
use crate::server::stream::Stream;

impl Session {
    /// Answers the requests of one HTTP connection until it ends.
    pub(super) async fn serve_http(&mut self, mut stream: Stream) -> io::Result<()> {
        let refusal = Refusal::new(
            Code::UnknownProtocol,
            "This server speaks lines of text, not HTTP: send one JSON object a line.",
        );
        let mut body = Vec::new();
        Reply::new(&mut body).refused(None, &refusal);
        let head = format!(
            "HTTP/1.1 501 Not Implemented\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.into_bytes(), body].concat()).await
    }
}

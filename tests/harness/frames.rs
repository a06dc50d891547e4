//! Frames (Workerman's Frame): four bytes of length before each message, in both directions.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::server::Server;

/// The bytes of the length, which counts them, too.
const HEAD: usize = 4;
/// More than any reply takes.
const LONGEST: usize = 64 << 20;

/// A message as a frame.
pub(crate) fn frame(message: impl AsRef<[u8]>) -> Vec<u8> {
    let message = message.as_ref();
    [&((message.len() + HEAD) as u32).to_be_bytes(), message].concat()
}

/// Reads the message of the next frame.
pub(crate) fn read_frame(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = [0; HEAD];
    stream.read_exact(&mut head)?;
    let length = u32::from_be_bytes(head) as usize;
    if !(HEAD..LONGEST).contains(&length) {
        return Err(io::Error::new(ErrorKind::InvalidData, format!("a frame of {length} bytes")));
    }
    let mut message = vec![0; length - HEAD];
    stream.read_exact(&mut message)?;
    Ok(message)
}

/// A client that sends and receives frames.
pub(crate) struct FrameClient(pub(crate) TcpStream);

impl FrameClient {
    pub(crate) fn connect(server: &Server) -> Self {
        Self(server.connect().into_stream())
    }

    pub(crate) fn send(&mut self, message: impl AsRef<[u8]>) -> &mut Self {
        self.0.write_all(&frame(message)).unwrap();
        self
    }

    /// The next message.
    #[track_caller]
    pub(crate) fn text(&mut self) -> String {
        String::from_utf8(read_frame(&mut self.0).unwrap()).unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&mut self) -> Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
    }

    /// Checks that the server closes, and does not reset the connection.
    #[track_caller]
    pub(crate) fn ends(&mut self) {
        assert_eq!(self.0.read(&mut [0]).unwrap(), 0);
    }
}

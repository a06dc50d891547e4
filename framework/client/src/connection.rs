//! One connection to a server: writes what is queued and reads what arrives, both at once.
//!
//! This is the only loop over a socket in this crate. A channel shares a connection among many requests; the
//! requests that need one of their own (control, pipelines, raw bytes) drive it themselves.

use framework_protocol::{LineDecoder, MessageBatch};
use tokio::io::{self, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

use crate::error::{ClientError, Result};
use crate::replies;

/// The number of bytes that are read at once, and about that of one write.
pub(crate) const BLOCK: usize = 64 * 1024;

/// Bytes in both directions over any transport.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection to a server.
pub(crate) struct Connection {
    /// The index of the server's address.
    pub(crate) at: usize,
    address: String,
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    chunk: Box<[u8]>,
    lines: LineDecoder,
    /// Whether the server has sent anything that looks like a reply.
    has_received: bool,
    output: Vec<u8>,
    /// The number of bytes of `output` that are written.
    written: usize,
    is_flushed: bool,
    sending: Sending,
}

/// The state of the sending side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    Open,
    /// To be closed once the output is written.
    Closing,
    Closed,
}

/// The work that one [`Connection::step`] did.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// Some output was written or flushed, or the sending side was closed.
    Wrote,
    /// So many bytes have arrived; 0 when the server has closed its side.
    Read(usize),
}

impl Connection {
    /// A connection over `stream` to the address of this index and name; a reply has at most
    /// `max_reply_length` bytes.
    pub(crate) fn new(stream: Box<dyn Stream>, at: usize, address: &str, max_reply_length: usize) -> Self {
        let (reader, writer) = io::split(stream);
        Self {
            at,
            address: address.to_owned(),
            reader,
            writer,
            chunk: vec![0; BLOCK].into(),
            lines: LineDecoder::new(max_reply_length),
            has_received: false,
            output: Vec::new(),
            written: 0,
            is_flushed: true,
            sending: Sending::Open,
        }
    }

    /// The server's address, for errors.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The bytes to be written; callers append to them.
    pub(crate) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Whether all output is written.
    pub(crate) fn is_written(&self) -> bool {
        self.output.is_empty()
    }

    /// Closes the sending side once the output is written, which makes of the last bytes a message.
    pub(crate) fn close_sending(&mut self) {
        self.sending = Sending::Closing;
    }

    /// Whether everything is written and the sending side is closed.
    pub(crate) fn is_sending_closed(&self) -> bool {
        self.sending == Sending::Closed
    }

    /// Writes some of the output or reads, whichever is possible first, writing preferred. Reading goes on
    /// while a write waits, because a server whose replies are not read stops reading the requests. May be
    /// dropped at any point without losing a byte.
    ///
    /// # Errors
    /// When the connection fails.
    pub(crate) async fn step(&mut self) -> Result<Step> {
        let Self { reader, writer, chunk, output, written, is_flushed, sending, .. } = self;
        let rest = &output[*written..];
        let has_output = !rest.is_empty() || !*is_flushed || *sending == Sending::Closing;
        let step = tokio::select! {
            biased;
            count = write(writer, rest, *is_flushed), if has_output => {
                count.map(|count| self.wrote(count)).map(|()| Step::Wrote)
            }
            count = reader.read(chunk) => count.map(Step::Read),
        };
        step.map_err(|error| ClientError::io(&self.address, error))
    }

    /// Reads without writing. May be dropped at any point.
    ///
    /// # Errors
    /// When the connection fails.
    pub(crate) async fn read(&mut self) -> Result<usize> {
        self.reader.read(&mut self.chunk).await.map_err(|error| ClientError::io(&self.address, error))
    }

    /// The bytes of the last read, which brought `count`.
    pub(crate) fn received(&self, count: usize) -> &[u8] {
        &self.chunk[..count]
    }

    /// The lines that are complete with the last read, which brought `count` bytes.
    ///
    /// # Errors
    /// When the server has closed the connection, is no task server, or sends a line that is too long.
    pub(crate) fn messages(&mut self, count: usize) -> Result<MessageBatch> {
        let chunk = &self.chunk[..count];
        if chunk.is_empty() {
            return Err(ClientError::closed(&self.address));
        }
        // Decided by the first bytes: those of another protocol may never contain a line end.
        if !self.has_received && !chunk.starts_with(b"{") {
            return Err(replies::foreign(&self.address, chunk));
        }
        self.has_received = true;
        let batch = self.lines.feed(chunk);
        if batch.overflow {
            let what = "an answer that is longer than max_reply_length";
            return Err(ClientError::unexpected_line(&self.address, what));
        }
        Ok(batch)
    }

    fn wrote(&mut self, count: usize) {
        self.written += count;
        match (count, self.is_flushed) {
            (0, true) => self.sending = Sending::Closed,
            (0, false) => self.is_flushed = true,
            (_, _) => self.is_flushed = false,
        }
        if self.written == self.output.len() {
            self.output.clear();
            self.output.shrink_to(2 * BLOCK);
            self.written = 0;
        }
    }
}

/// Writes some of `rest`; 0 when there was nothing left to write and it flushed, or shut down what was
/// flushed.
async fn write(writer: &mut WriteHalf<Box<dyn Stream>>, rest: &[u8], is_flushed: bool) -> io::Result<usize> {
    if rest.is_empty() {
        let done = if is_flushed { writer.shutdown().await } else { writer.flush().await };
        return done.map(|()| 0);
    }
    match writer.write(rest).await {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Connection, io::DuplexStream) {
        let (near, far) = io::duplex(8);
        (Connection::new(Box::new(near), 0, "a:1", 16), far)
    }

    #[tokio::test]
    async fn step_reads_while_a_write_waits() {
        let (mut connection, mut far) = pair();
        connection.output().extend_from_slice(b"more than fits");
        assert!(matches!(connection.step().await.unwrap(), Step::Wrote));
        assert!(!connection.is_written());
        far.write_all(b"{}\n").await.unwrap();
        assert!(matches!(connection.step().await.unwrap(), Step::Read(3)));
        assert_eq!(&connection.messages(3).unwrap().bytes[..], b"{}\n");
    }

    #[tokio::test]
    async fn close_sending_takes_effect_after_the_last_byte() {
        let (mut connection, mut far) = pair();
        connection.output().extend_from_slice(b"hello");
        connection.close_sending();
        while !connection.is_sending_closed() {
            connection.step().await.unwrap();
        }
        let mut received = String::new();
        far.read_to_string(&mut received).await.unwrap();
        assert_eq!(received, "hello");
        drop(far);
        assert!(matches!(connection.step().await.unwrap(), Step::Read(0)));
        assert!(connection.messages(0).is_err());
    }

    #[test]
    fn messages_of_another_protocol_or_beyond_the_limit_are_errors() {
        for (received, expected) in [(&b"HTTP/1.1 400"[..], "HTTP"), (&[b'{'; 18], "max_reply_length")] {
            let (mut connection, _far) = pair();
            connection.chunk[..received.len()].copy_from_slice(received);
            let error = connection.messages(received.len()).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}

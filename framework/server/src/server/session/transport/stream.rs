//! Lines and frames on a plain stream of bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use framework_protocol::{DetectedProtocol, Framing, RequestError};
use tokio::io::AsyncWrite;

use super::MessageTransport;
use crate::server::session::decoder::{Decoder, Read};
use crate::server::session::read_buffer;
use crate::server::stream::Stream;

/// A stream of lines or frames.
pub(crate) struct StreamTransport<'a> {
    stream: &'a mut Stream,
    decoder: Decoder,
    output: Vec<u8>,
    written: usize,
    /// The stream may still hold bytes that were written to it.
    is_dirty: bool,
}

impl<'a> StreamTransport<'a> {
    /// `limit`: the longest message, in bytes.
    pub(crate) fn new(stream: &'a mut Stream, known: Option<DetectedProtocol>, limit: usize) -> Self {
        let decoder = Decoder::for_protocol(known, limit);
        Self { stream, decoder, output: Vec::new(), written: 0, is_dirty: false }
    }
}

impl MessageTransport for StreamTransport<'_> {
    fn poll_read(&mut self, context: &mut Context) -> Poll<io::Result<Read>> {
        let decoder = &mut self.decoder;
        read_buffer::poll_read(self.stream, context, |chunk| decoder.feed(chunk))
    }

    fn poll_write(&mut self, context: &mut Context) -> Poll<io::Result<()>> {
        while self.written < self.output.len() {
            let rest = &self.output[self.written..];
            let count = ready!(Pin::new(&mut *self.stream).poll_write(context, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
            self.is_dirty = true;
        }
        self.output.clear();
        self.output.shrink_to(read_buffer::SIZE);
        self.written = 0;
        ready!(Pin::new(&mut *self.stream).poll_flush(context))?;
        self.is_dirty = false;
        Poll::Ready(Ok(()))
    }

    fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    fn left(&self) -> usize {
        self.output.len() - self.written
    }

    fn has_output(&self) -> bool {
        !self.output.is_empty() || self.is_dirty
    }

    fn framing(&self) -> Framing {
        self.decoder.framing()
    }

    fn detected(&self) -> Option<DetectedProtocol> {
        self.decoder.detected()
    }

    fn is_encrypted(&self) -> bool {
        self.stream.is_encrypted()
    }

    fn is_gone(&self) -> bool {
        self.stream.is_gone()
    }

    fn broken(&self) -> Option<&RequestError> {
        self.decoder.broken()
    }
}

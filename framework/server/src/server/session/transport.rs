//! The carriers of messages: a plain stream of lines or frames, or a WebSocket.

pub(super) mod stream;
pub(crate) mod websocket;

use std::io;
use std::task::{Context, Poll};

use framework_protocol::{DetectedProtocol, Framing, RequestError};

use super::decoder::Read;

/// A carrier of messages in both directions.
pub(crate) trait MessageTransport {
    /// Reads once from the socket.
    fn poll_read(&mut self, context: &mut Context) -> Poll<io::Result<Read>>;

    /// Writes on; ready when all is written.
    fn poll_write(&mut self, context: &mut Context) -> Poll<io::Result<()>>;

    /// The buffer for the next messages, in the framing of the outbox, once those before are written.
    fn output(&mut self) -> &mut Vec<u8>;

    /// The number of bytes that are still to be written.
    fn left(&self) -> usize;

    /// True while something is still to be written, if only from an inner buffer.
    fn has_output(&self) -> bool;

    /// The framing of the messages of a batch.
    fn framing(&self) -> Framing;

    /// The protocol of the first bytes, if the listener's policy is still to be asked about it.
    fn detected(&self) -> Option<DetectedProtocol> {
        None
    }

    /// True when the connection is encrypted.
    fn is_encrypted(&self) -> bool {
        false
    }

    /// The protocol violation after which nothing more can be read.
    fn broken(&self) -> Option<&RequestError> {
        None
    }

    /// True when a peer that has sent its last cannot receive any more either.
    fn is_gone(&self) -> bool {
        false
    }

    /// True when [`MessageTransport::poll_heartbeat`] has something to do.
    fn has_heartbeat(&self) -> bool {
        false
    }

    /// Checks that the peer is alive, which only shows while it is read from (`reads`); ready when it is
    /// gone.
    fn poll_heartbeat(&mut self, _reads: bool, _context: &mut Context) -> Poll<io::Error> {
        Poll::Pending
    }
}

/// Reads once if `wants_input`, or writes on; the input, or `None` when all is written.
pub(super) fn poll_step(
    transport: &mut impl MessageTransport,
    wants_input: bool,
    context: &mut Context,
) -> Poll<io::Result<Option<Read>>> {
    if wants_input {
        if let Poll::Ready(read) = transport.poll_read(context) {
            return Poll::Ready(read.map(Some));
        }
    }
    if let Poll::Ready(gone) = transport.poll_heartbeat(wants_input, context) {
        return Poll::Ready(Err(gone));
    }
    if transport.has_output() { transport.poll_write(context).map_ok(|()| None) } else { Poll::Pending }
}

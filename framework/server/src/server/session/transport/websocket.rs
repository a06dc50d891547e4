//! The messages of a WebSocket, which look like frames to the session.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use framework_protocol::{FrameDecoder, Framing, MessageBatch};
use futures_util::{Sink, Stream as _};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::MessageTransport;
use crate::server::context::SessionLimits;
use crate::server::session::auth::LENGTH_MAX;
use crate::server::session::decoder::Read;
use crate::server::stream::Stream;
use crate::server::websocket::heartbeat::Heartbeat;

/// The read buffer of an idle connection, in bytes.
const READ_BUFFER: usize = 8 * 1024;
/// The write buffer, in bytes.
const WRITE_BUFFER: usize = 64 * 1024;
/// The bytes of a control frame beside its payload.
const CONTROL_HEAD: usize = 2;
/// The most bytes, and the most messages, of one batch.
const BATCH_BYTES: usize = 64 * 1024;
const BATCH_MESSAGES: usize = 4_096;
/// The most bytes that are read of a client without a token: its message, and what a read may hold beyond it.
const ALLOWANCE: usize = LENGTH_MAX + 2 * READ_BUFFER;

/// A WebSocket whose messages come as frames of a batch, and go as frames of the outbox.
pub(crate) struct WebSocketTransport {
    socket: WebSocketStream<Stream>,
    heartbeat: Heartbeat,
    /// The most messages of one batch.
    batch_messages: usize,
    /// Frames from the outbox.
    output: Vec<u8>,
    /// Frames that are not yet handed to the socket.
    rest: Bytes,
    /// The socket may still hold output.
    is_dirty: bool,
    /// The bytes of pongs that the socket may still hold.
    pongs: usize,
    /// Why the peer is not read from any more.
    failure: Option<CloseFrame>,
    is_over: bool,
    /// The peer has sent a close frame, after which nothing but a close frame may be sent.
    has_closed: bool,
}

impl WebSocketTransport {
    pub(crate) async fn new(stream: Stream, limits: &SessionLimits) -> Self {
        let limit = Some(limits.package_max_length);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(WRITE_BUFFER)
            .max_message_size(limit)
            .max_frame_size(limit);
        Self {
            socket: WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await,
            heartbeat: Heartbeat::new(limits.websocket_ping_interval),
            batch_messages: BATCH_MESSAGES,
            output: Vec::new(),
            rest: Bytes::new(),
            is_dirty: false,
            pongs: 0,
            failure: None,
            is_over: false,
            has_closed: false,
        }
    }

    /// The protocol violation that ended the connection, if one did.
    pub(crate) fn failure(&self) -> Option<CloseFrame> {
        self.failure.clone()
    }

    /// Limits what is read until a token was shown: one message a batch, and not much more altogether.
    pub(crate) fn restrict(&mut self, is_restricted: bool) {
        self.batch_messages = if is_restricted { 1 } else { BATCH_MESSAGES };
        self.socket.get_mut().allow(is_restricted.then_some(ALLOWANCE));
    }

    pub(crate) fn into_socket(self) -> WebSocketStream<Stream> {
        self.socket
    }

    /// Adds a message of the socket to the batch; returns whether more may follow at once.
    fn take(&mut self, read: Option<Result<Message, Error>>, batch: &mut Vec<u8>) -> io::Result<bool> {
        self.heartbeat.beat();
        match read {
            Some(Ok(Message::Text(text))) => push(text.as_bytes(), batch),
            Some(Ok(Message::Binary(bytes))) => push(&bytes, batch),
            // The library answers a ping as soon as something is written.
            Some(Ok(Message::Ping(payload))) => {
                self.is_dirty = true;
                self.pongs += CONTROL_HEAD + payload.len();
            }
            Some(Ok(Message::Pong(_) | Message::Frame(_))) => {}
            Some(Ok(Message::Close(_))) | None => (self.is_over, self.has_closed) = (true, true),
            Some(Err(Error::Io(error))) => return Err(error),
            Some(Err(error)) => {
                self.failure = reason(&error);
                self.is_over = true;
            }
        }
        Ok(!self.is_over)
    }

    /// Hands the frames of the outbox to the socket.
    fn poll_send(&mut self, context: &mut Context) -> Poll<Result<(), Error>> {
        if self.has_closed {
            (self.output, self.rest, self.is_dirty) = (Vec::new(), Bytes::new(), false);
            return Poll::Ready(Ok(()));
        }
        if self.rest.is_empty() {
            self.rest = std::mem::take(&mut self.output).into();
        }
        while let Some(message) = first(&self.rest) {
            ready!(Pin::new(&mut self.socket).poll_ready(context))?;
            self.rest.advance(FrameDecoder::HEAD + message.len());
            Pin::new(&mut self.socket).start_send(outgoing(message))?;
            self.is_dirty = true;
        }
        self.rest = Bytes::new();
        ready!(Pin::new(&mut self.socket).poll_flush(context))?;
        (self.is_dirty, self.pongs) = (false, 0);
        Poll::Ready(Ok(()))
    }

    /// Reads a message, once the socket holds no more pongs than it may: the buffer of the library has no
    /// bound, and a peer that does not read its pongs is not read from.
    fn poll_message(&mut self, context: &mut Context) -> Poll<Option<Result<Message, Error>>> {
        if self.pongs > WRITE_BUFFER {
            if let Err(error) = ready!(Pin::new(&mut self.socket).poll_flush(context)) {
                return Poll::Ready(Some(Err(error)));
            }
            self.pongs = 0;
        }
        Pin::new(&mut self.socket).poll_next(context)
    }
}

impl MessageTransport for WebSocketTransport {
    /// All messages that are there at once are one batch.
    fn poll_read(&mut self, context: &mut Context) -> Poll<io::Result<Read>> {
        let mut batch = Vec::new();
        let mut count = 0;
        while batch.len() < BATCH_BYTES && count < self.batch_messages {
            match self.poll_message(context) {
                Poll::Ready(read) => {
                    if !self.take(read, &mut batch)? {
                        break;
                    }
                    count += 1;
                }
                Poll::Pending if count == 0 => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        let batch = MessageBatch { bytes: batch.into(), overflow: false };
        Poll::Ready(Ok(if self.is_over { Read::Gone(batch) } else { Read::Messages(batch) }))
    }

    fn poll_write(&mut self, context: &mut Context) -> Poll<io::Result<()>> {
        let before = self.left();
        let written = self.poll_send(context);
        if self.left() < before {
            self.heartbeat.beat();
        }
        self.socket.get_ref().traffic().set_buffered(self.left());
        written.map_err(into_io)
    }

    fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    fn left(&self) -> usize {
        self.output.len() + self.rest.len()
    }

    fn has_output(&self) -> bool {
        self.left() > 0 || self.is_dirty
    }

    fn framing(&self) -> Framing {
        Framing::Frames
    }

    fn has_heartbeat(&self) -> bool {
        self.heartbeat.is_wanted()
    }

    fn poll_heartbeat(&mut self, reads: bool, context: &mut Context) -> Poll<io::Error> {
        let is_stuck = self.left() > 0;
        while self.heartbeat.poll_missed(context).is_ready() {
            if !reads && !is_stuck {
                // A pong would not be read; the peer owes none.
                self.heartbeat.beat();
            } else if self.heartbeat.is_over() {
                return Poll::Ready(io::Error::new(io::ErrorKind::BrokenPipe, "the peer answers no ping"));
            } else if !is_stuck {
                let ping = Message::Ping(Bytes::new());
                if let Err(error) = Pin::new(&mut self.socket).start_send(ping) {
                    return Poll::Ready(io::Error::other(error));
                }
                self.is_dirty = true;
            }
        }
        Poll::Pending
    }
}

fn into_io(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        error => io::Error::other(error),
    }
}

fn first(frames: &Bytes) -> Option<Bytes> {
    FrameDecoder::messages(frames).next().map(|message| frames.slice_ref(message))
}

fn push(message: &[u8], batch: &mut Vec<u8>) {
    let fits = FrameDecoder::write(message, batch);
    debug_assert!(fits, "no message is longer than package_max_length");
}

/// A text message if it is UTF-8, as every reply of the server itself is.
fn outgoing(message: Bytes) -> Message {
    match Utf8Bytes::try_from(message.clone()) {
        Ok(text) => Message::Text(text),
        Err(_) => Message::Binary(message),
    }
}

/// The close frame for a peer whose message could not be read; `None` when it is gone.
fn reason(error: &Error) -> Option<CloseFrame> {
    let code = match error {
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => return None,
        Error::Capacity(_) => CloseCode::Size,
        Error::Utf8(_) => CloseCode::Invalid,
        _ => CloseCode::Protocol,
    };
    let mut reason = match code {
        CloseCode::Size => "the message is longer than package_max_length".to_owned(),
        _ => error.to_string(),
    };
    // A control frame has room for no more.
    while reason.len() > 123 {
        reason.pop();
    }
    Some(CloseFrame { code, reason: reason.into() })
}

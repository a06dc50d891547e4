//! The messages of a WebSocket, as pages of frames in and out of frames of the outbox.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use framework_protocol::{FrameDecoder, MessageBatch};
use futures_util::{Sink, Stream as _};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::heartbeat::Heartbeat;
use crate::server::session::conversation::MessageTransport;
use crate::server::session::decoder::{Framing, Read};
use crate::server::settings::ServerSettings;
use crate::server::stream::Stream;

/// What an idle connection holds for its next read, in bytes.
const READ_BUFFER: usize = 8 * 1024;
/// How much is gathered before it is written, in bytes.
const WRITE_BUFFER: usize = 64 * 1024;
/// How many bytes of messages, and how many messages, one page has at most.
const PAGE: usize = 64 * 1024;
const PAGE_MESSAGES: usize = 4_096;

/// A WebSocket whose messages come as frames of a page, and go as those of the outbox.
pub(super) struct WebSocketTransport {
    socket: WebSocketStream<Stream>,
    pulse: Heartbeat,
    /// What was read already and comes again first.
    before: Option<MessageBatch>,
    /// What the outbox gave.
    output: Vec<u8>,
    /// What of that is not yet handed to the socket.
    rest: Bytes,
    /// Whether the socket may still hold something.
    is_dirty: bool,
    /// Why the peer is not listened to any more.
    failure: Option<CloseFrame>,
    is_over: bool,
    /// Whether the peer has said goodbye, after which it may be sent nothing but the same.
    has_closed: bool,
}

impl WebSocketTransport {
    pub(super) async fn new(stream: Stream, settings: &ServerSettings) -> Self {
        let limit = Some(settings.package_max_length);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(WRITE_BUFFER)
            .max_message_size(limit)
            .max_frame_size(limit);
        Self {
            socket: WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await,
            pulse: Heartbeat::new(settings.websocket_ping_interval),
            before: None,
            output: Vec::new(),
            rest: Bytes::new(),
            is_dirty: false,
            failure: None,
            is_over: false,
            has_closed: false,
        }
    }

    /// What the peer did wrong, if that ended it.
    pub(super) fn failure(&self) -> Option<CloseFrame> {
        self.failure.clone()
    }

    /// Puts messages that were read back to the beginning.
    pub(super) fn unread(&mut self, page: MessageBatch) {
        self.before = Some(page);
    }

    pub(super) fn into_socket(self) -> WebSocketStream<Stream> {
        self.socket
    }

    /// Takes what the socket brought; whether more may follow at once.
    fn take(&mut self, read: Option<Result<Message, Error>>, page: &mut Vec<u8>) -> io::Result<bool> {
        self.pulse.beat();
        match read {
            Some(Ok(Message::Text(text))) => push(text.as_bytes(), page),
            Some(Ok(Message::Binary(bytes))) => push(&bytes, page),
            // The library answers a ping as soon as something is written.
            Some(Ok(Message::Ping(_))) => self.is_dirty = true,
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

    /// Hands over what the outbox gave, message by message.
    fn poll_hand_over(&mut self, context: &mut Context) -> Poll<Result<(), Error>> {
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
        self.is_dirty = false;
        Poll::Ready(Ok(()))
    }
}

impl MessageTransport for WebSocketTransport {
    /// All messages that are there at once are one page.
    fn poll_read(&mut self, context: &mut Context) -> Poll<io::Result<Read>> {
        if let Some(page) = self.before.take() {
            return Poll::Ready(Ok(if self.is_over { Read::Gone(page) } else { Read::Page(page) }));
        }
        let mut page = Vec::new();
        let mut count = 0;
        while page.len() < PAGE && count < PAGE_MESSAGES {
            match Pin::new(&mut self.socket).poll_next(context) {
                Poll::Ready(read) => match self.take(read, &mut page)? {
                    true => count += 1,
                    false => break,
                },
                Poll::Pending if count == 0 => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        let page = MessageBatch { bytes: page.into(), overflow: false };
        Poll::Ready(Ok(if self.is_over { Read::Gone(page) } else { Read::Page(page) }))
    }

    fn poll_write(&mut self, context: &mut Context) -> Poll<io::Result<()>> {
        let before = self.left();
        let written = self.poll_hand_over(context);
        if self.left() < before {
            self.pulse.beat();
        }
        self.socket.get_ref().traffic().set_buffered(self.left());
        written.map_err(|error| match error {
            Error::Io(error) => error,
            error => io::Error::other(error),
        })
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

    fn form(&self) -> Framing {
        Framing::Frames
    }

    fn is_watched(&self) -> bool {
        self.pulse.is_wanted()
    }

    fn poll_watch(&mut self, listens: bool, context: &mut Context) -> Poll<io::Error> {
        let is_stuck = self.left() > 0;
        while self.pulse.poll_missed(context).is_ready() {
            if !listens && !is_stuck {
                // Nobody reads whether it answers; it is not its turn.
                self.pulse.beat();
            } else if self.pulse.is_over() {
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

fn first(frames: &Bytes) -> Option<Bytes> {
    FrameDecoder::messages(frames).next().map(|message| frames.slice_ref(message))
}

fn push(message: &[u8], page: &mut Vec<u8>) {
    let fits = FrameDecoder::write(message, page);
    debug_assert!(fits, "no message is longer than package_max_length");
}

/// Text if it is, which every answer of the server itself is.
fn outgoing(message: Bytes) -> Message {
    match Utf8Bytes::try_from(message.clone()) {
        Ok(text) => Message::Text(text),
        Err(_) => Message::Binary(message),
    }
}

/// What a peer is told whose message could not be read; `None` when it is gone.
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

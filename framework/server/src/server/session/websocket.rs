//! Talks in WebSocket messages: each is a request or raw data, as a line is.

mod auth;
mod handshake;
mod transport;
mod heartbeat;

use std::io;
use std::time::Duration;

use framework_protocol::views::Protocol;
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

pub(super) use self::handshake::{accept, is_wanted, token};
use self::transport::WebSocketTransport;
use super::Session;
use super::conversation::linger;
use super::http::HyperIo;
use crate::server::metrics::Limit;

/// How long a peer may take to say goodbye.
const PATIENCE: Duration = Duration::from_secs(1);

impl Session {
    /// Reads and answers messages until one of the two closes. What went before has been answered with
    /// [`accept`]'s response.
    pub(super) async fn converse_websocket(&mut self, upgraded: Upgraded) -> io::Result<()> {
        let stream = match upgraded.downcast::<TokioIo<HyperIo>>() {
            Ok(parts) => parts.io.into_inner().into_stream().again(parts.read_buf),
            Err(_) => return Err(io::Error::other("the upgraded connection is none of this server's")),
        };
        self.record.speaks(Protocol::Websocket);
        self.record.hears_from(&self.outbox);
        self.outbox.frame();
        let mut messages = WebSocketTransport::new(stream, &self.context.settings).await;
        if self.access.is_unknown() {
            if let Some(reason) = self.greet_websocket(&mut messages).await? {
                drop(timeout(PATIENCE, close(messages, reason)).await);
                return Ok(());
            }
        }
        let ended = self.converse_over(&mut messages).await;
        let reason = match &ended {
            Ok(_) => {
                let failure = messages.failure();
                if failure.as_ref().is_some_and(|failure| failure.code == CloseCode::Size) {
                    self.context.metrics.limits.hit(Limit::PackageMaxLength);
                }
                failure.unwrap_or_else(|| self.farewell())
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                frame(CloseCode::Policy, "the answers were not read (max_output_buffer)")
            }
            Err(error) => {
                if error.kind() == io::ErrorKind::BrokenPipe {
                    self.context.metrics.limits.hit(Limit::WebsocketPingInterval);
                }
                return ended.map(drop);
            }
        };
        // Whoever does not hear it does not want to: there is nothing left to do.
        drop(timeout(PATIENCE, close(messages, reason)).await);
        ended.map(drop)
    }

    /// Why the server closes where nothing is wrong.
    fn farewell(&self) -> CloseFrame {
        match *self.stop.borrow() {
            true => frame(CloseCode::Away, "the server stops"),
            false => frame(CloseCode::Away, "nothing was heard for too long (heartbeat_idle_time)"),
        }
    }
}

/// Says goodbye, and waits until the peer has done so as well.
async fn close(
    messages: WebSocketTransport,
    reason: CloseFrame,
) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    let mut socket = messages.into_socket();
    // The peer may have closed already: then its answer is on its way out.
    drop(socket.send(Message::Close(Some(reason))).await);
    while let Some(Ok(_)) = socket.next().await {}
    drop(socket.flush().await);
    linger(socket.get_mut(), true).await;
    Ok(())
}

/// `reason`: at most 123 bytes.
fn frame(code: CloseCode, reason: &'static str) -> CloseFrame {
    CloseFrame { code, reason: reason.into() }
}

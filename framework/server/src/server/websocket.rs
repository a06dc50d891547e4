//! WebSocket connections: each message is a request or raw data, as a line is.

mod auth;
mod handshake;
pub(super) mod heartbeat;

use std::io;
use std::time::Duration;

use framework_protocol::views::Protocol;
use futures_util::{SinkExt, StreamExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

pub(super) use self::handshake::{accept, is_wanted, token};
use super::access::Access;
use super::metrics::Limit;
use super::session::linger::linger;
use super::session::message_loop;
use super::session::state::Session;
use super::session::step::SessionStep;
use super::session::transport::websocket::WebSocketTransport;
use super::stream::Stream;

/// The time that a peer has to answer a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection that has become a WebSocket, and the rights that its handshake has given.
pub(super) struct Upgraded {
    pub(super) stream: Stream,
    pub(super) access: Access,
}

/// Serves messages until one of the two sides closes, after the response of [`accept`].
pub(super) async fn serve(session: &mut Session, upgraded: Upgraded) -> io::Result<()> {
    session.access = upgraded.access;
    session.record.speaks(Protocol::Websocket);
    session.record.hears_from(&session.outbox);
    session.outbox.frame();
    let mut transport = WebSocketTransport::new(upgraded.stream, &session.context.limits).await;
    if session.access.is_unknown() {
        if let Some(reason) = auth::authenticate_first(session, &mut transport).await? {
            // Best effort: a peer that is gone needs no close.
            let _ = timeout(CLOSE_TIMEOUT, close(transport, reason)).await;
            return Ok(());
        }
    }
    let ended = message_loop::run_over(session, &mut transport).await;
    if let Some(reason) = close_reason(session, &transport, &ended) {
        let _ = timeout(CLOSE_TIMEOUT, close(transport, reason)).await;
    }
    ended.map(|_| ())
}

/// The close frame that tells the peer why the connection ended; `None` when the peer is gone.
fn close_reason(
    session: &Session,
    transport: &WebSocketTransport,
    ended: &io::Result<SessionStep>,
) -> Option<CloseFrame> {
    let limits = &session.context.metrics.limits;
    match ended {
        Ok(SessionStep::Revoked) => Some(frame(CloseCode::Policy, "the token is not valid any more")),
        Ok(_) => {
            let failure = transport.failure();
            if failure.as_ref().is_some_and(|failure| failure.code == CloseCode::Size) {
                limits.hit(Limit::PackageMaxLength);
            }
            Some(failure.unwrap_or_else(|| going_away(session)))
        }
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            Some(frame(CloseCode::Policy, "the answers were not read (max_output_buffer)"))
        }
        Err(error) => {
            if error.kind() == io::ErrorKind::BrokenPipe {
                limits.hit(Limit::WebsocketPingInterval);
            }
            None
        }
    }
}

/// The close frame where nothing is wrong.
fn going_away(session: &Session) -> CloseFrame {
    let reason = if *session.stop.borrow() {
        "the server stops"
    } else {
        "nothing was heard for too long (heartbeat_idle_time)"
    };
    frame(CloseCode::Away, reason)
}

/// Sends a close frame, and waits until the peer has closed as well.
async fn close(
    transport: WebSocketTransport,
    reason: CloseFrame,
) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    let mut socket = transport.into_socket();
    // The peer may have closed already: then the reply to its close frame is on its way out.
    let _ = socket.send(Message::Close(Some(reason))).await;
    while let Some(Ok(_)) = socket.next().await {}
    let _ = socket.flush().await;
    // What a client without a token sends beyond its allowance is discarded.
    socket.get_mut().allow(None);
    linger(socket.get_mut(), true).await;
    Ok(())
}

/// `reason`: at most 123 bytes.
fn frame(code: CloseCode, reason: &'static str) -> CloseFrame {
    CloseFrame { code, reason: reason.into() }
}

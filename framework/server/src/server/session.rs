//! One connection from its first byte to its last: detect its protocol, authenticate it, serve its requests.

pub(super) mod auth;
pub(super) mod decoder;
mod first_bytes;
pub(super) mod foreign;
mod idle;
pub(super) mod linger;
pub(super) mod message_loop;
mod read_buffer;
mod reject;
pub(super) mod request_group;
pub(super) mod state;
pub(super) mod step;
mod tls;
pub(super) mod transport;

use std::io;

use framework_protocol::DetectedProtocol;

use self::linger::linger;
pub(super) use self::state::Session;
use self::step::SessionStep;
use super::stream::Stream;
use super::{http, websocket};

/// Serves a connection until it ends, with the callbacks for its begin and its end if it is a client's.
pub(super) async fn run(mut session: Session, stream: Stream) {
    let is_client = session.record.peer.child().is_none();
    if is_client {
        session.context.events.connect(&session.connection).await;
    }
    if let Err(error) = serve(&mut session, stream).await {
        tracing::debug!("{:?}: {error}", session.connection);
    }
    session.reading = None;
    session.outbox.abandon();
    session.context.service.remove_connection(&session.outbox);
    if is_client {
        session.context.events.close(&session.connection).await;
    }
}

async fn serve(session: &mut Session, mut stream: Stream) -> io::Result<()> {
    if let Some(protocol) = session.policy.foreign() {
        return foreign::serve(session, stream, protocol).await;
    }
    let mut protocol = None;
    loop {
        let step = if !session.policy.accepts_messages(stream.is_encrypted()) {
            first_bytes::await_protocol(session, &mut stream).await?
        } else if session.access.is_unknown() {
            auth::authenticate_first(session, &mut stream).await?
        } else {
            message_loop::run(session, &mut stream, protocol).await?
        };
        match step {
            SessionStep::Closed => {
                if let Some(mut stream) =
                    session.context.service.control.shutdown.keep_open(&session.outbox, stream)
                {
                    linger(&mut stream, false).await;
                }
                return Ok(());
            }
            SessionStep::ProtocolError | SessionStep::Revoked => {
                linger(&mut stream, true).await;
                return Ok(());
            }
            SessionStep::Authenticated(detected, rest) => {
                protocol = Some(detected);
                stream = stream.again(rest);
            }
            SessionStep::ProtocolDetected(detected, first) => {
                if !session.policy.accepts(detected, stream.is_encrypted()) {
                    return reject::in_protocol(session, stream, detected).await;
                }
                stream = stream.again(first);
                match detected {
                    DetectedProtocol::Tls => match tls::upgrade(session, stream).await? {
                        Some(encrypted) => stream = encrypted,
                        None => return Ok(()),
                    },
                    DetectedProtocol::Http => return serve_http(session, stream).await,
                    DetectedProtocol::Lines | DetectedProtocol::Frames => return Ok(()),
                }
            }
        }
    }
}

/// Serves HTTP, and then a WebSocket if the connection becomes one.
async fn serve_http(session: &mut Session, stream: Stream) -> io::Result<()> {
    match http::serve(session, stream).await? {
        Some(upgraded) => websocket::serve(session, upgraded).await,
        None => Ok(()),
    }
}

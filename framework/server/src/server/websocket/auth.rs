//! Authentication of a WebSocket whose handshake had no token: its first message has to be one.

use std::future::poll_fn;
use std::io;

use bytes::Bytes;
use framework_protocol::{FrameDecoder, ParseError, ReplyWriter};
use serde_json::value::RawValue;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::{CLOSE_TIMEOUT, frame, going_away};
use crate::server::metrics::Limit;
use crate::server::poll::raised;
use crate::server::session::auth::{LENGTH_MAX, check_token};
use crate::server::session::decoder::Read;
use crate::server::session::state::Session;
use crate::server::session::transport::MessageTransport;
use crate::server::session::transport::websocket::WebSocketTransport;

/// Reads the first message and replies to it; returns the reason to close, if there is one.
pub(super) async fn authenticate_first(
    session: &mut Session,
    transport: &mut WebSocketTransport,
) -> io::Result<Option<CloseFrame>> {
    let mut stop = session.stop.clone();
    transport.restrict(true);
    let first = tokio::select! {
        first = timeout(session.context.limits.auth_timeout, read_first_message(transport)) => first,
        () = raised(&mut stop) => return Ok(Some(going_away(session))),
    };
    let Ok(first) = first else {
        session.context.metrics.limits.hit(Limit::AuthTimeout);
        return Ok(Some(frame(CloseCode::Policy, "no token was shown in time (auth_timeout)")));
    };
    let message = match first {
        Ok(Some(message)) if message.len() > LENGTH_MAX => return Ok(Some(too_long(session))),
        Ok(Some(message)) => message,
        Ok(None) => {
            let failure = transport.failure();
            return Ok(Some(failure.unwrap_or_else(|| frame(CloseCode::Normal, ""))));
        }
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => return Ok(Some(too_long(session))),
        Err(error) => return Err(error),
    };
    match check_token(session, &message).await {
        Ok(reply) => {
            transport.restrict(false);
            session.outbox.append(&reply);
            Ok(None)
        }
        Err(ParseError { refusal, id }) => {
            let mut reply = Vec::new();
            ReplyWriter::new(&mut reply).refused(id.map(RawValue::get), &refusal);
            session.outbox.append(&reply);
            session.outbox.collect(transport.output());
            // Best effort: a peer that is gone needs no reply.
            let _ = timeout(CLOSE_TIMEOUT, poll_fn(|context| transport.poll_write(context))).await;
            Ok(Some(frame(CloseCode::Policy, "a token has to be shown first")))
        }
    }
}

/// The close frame for a longer message than a client without a token may send.
fn too_long(session: &Session) -> CloseFrame {
    session.context.metrics.limits.hit(Limit::PackageMaxLength);
    frame(CloseCode::Size, "before a token was shown, a message may have 4096 bytes")
}

/// The first message; `None` when the peer has closed instead.
async fn read_first_message(transport: &mut WebSocketTransport) -> io::Result<Option<Bytes>> {
    loop {
        let (batch, is_over) = match poll_fn(|context| transport.poll_read(context)).await? {
            Read::Messages(batch) => (batch, false),
            Read::Gone(batch) | Read::Closed(batch) => (batch, true),
            Read::Other(..) => return Ok(None),
        };
        if let Some(message) = FrameDecoder::messages(&batch.bytes).next() {
            return Ok(Some(batch.bytes.slice_ref(message)));
        }
        if is_over {
            return Ok(None);
        }
    }
}

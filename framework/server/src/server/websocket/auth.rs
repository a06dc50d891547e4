//! Authentication of a WebSocket whose handshake had no token: its first message has to be one.

use std::future::poll_fn;
use std::io;

use bytes::Bytes;
use framework_protocol::{FrameDecoder, MessageBatch, ParseError, ReplyWriter};
use serde_json::value::RawValue;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::{CLOSE_TIMEOUT, frame, going_away};
use crate::server::metrics::Limit;
use crate::server::poll::raised;
use crate::server::session::auth::check_token;
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
    let first = tokio::select! {
        first = timeout(session.context.limits.auth_timeout, read_first_message(transport)) => first,
        () = raised(&mut stop) => return Ok(Some(going_away(session))),
    };
    let Ok(first) = first else {
        session.context.metrics.limits.hit(Limit::AuthTimeout);
        return Ok(Some(frame(CloseCode::Policy, "no token was shown in time (auth_timeout)")));
    };
    let Some((message, rest)) = first? else {
        let failure = transport.failure();
        return Ok(Some(failure.unwrap_or_else(|| frame(CloseCode::Normal, ""))));
    };
    match check_token(session, &message).await {
        Ok(reply) => {
            transport.unread(rest);
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

/// The first message, and the page that came with it; `None` when the peer has closed instead.
async fn read_first_message(transport: &mut WebSocketTransport) -> io::Result<Option<(Bytes, MessageBatch)>> {
    loop {
        let (page, is_over) = match poll_fn(|context| transport.poll_read(context)).await? {
            Read::Page(page) => (page, false),
            Read::Gone(page) | Read::Closed(page) => (page, true),
            Read::Other(..) => return Ok(None),
        };
        if let Some(message) = FrameDecoder::messages(&page.bytes).next() {
            let message = page.bytes.slice_ref(message);
            let rest = page.bytes.slice(FrameDecoder::HEAD + message.len()..);
            return Ok(Some((message, MessageBatch { bytes: rest, overflow: false })));
        }
        if is_over {
            return Ok(None);
        }
    }
}

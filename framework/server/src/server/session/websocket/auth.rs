//! Lets a WebSocket in whose handshake showed no token: its first message has to.

use std::future::poll_fn;
use std::io;

use bytes::Bytes;
use framework_protocol::{FrameDecoder, MessageBatch, ParseError, ReplyWriter};
use serde_json::value::RawValue;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::{PATIENCE, WebSocketTransport, frame};
use crate::server::metrics::Limit;
use crate::server::poll::raised;
use crate::server::session::Session;
use crate::server::session::auth::GrantedScopes;
use crate::server::session::conversation::MessageTransport;
use crate::server::session::decoder::Read;

impl Session {
    /// Hears the first message, and answers it; tells why it goes no further, if that is so.
    pub(super) async fn greet_websocket(
        &mut self,
        messages: &mut WebSocketTransport,
    ) -> io::Result<Option<CloseFrame>> {
        let mut stop = self.stop.clone();
        let first = tokio::select! {
            first = timeout(self.context.settings.auth_timeout, first(messages)) => first,
            () = raised(&mut stop) => return Ok(Some(self.farewell())),
        };
        let Ok(first) = first else {
            self.context.metrics.limits.hit(Limit::AuthTimeout);
            return Ok(Some(frame(CloseCode::Policy, "no token was shown in time (auth_timeout)")));
        };
        let Some((message, rest)) = first? else {
            let gone = messages.failure();
            return Ok(Some(gone.unwrap_or_else(|| frame(CloseCode::Normal, ""))));
        };
        let mut line = Vec::new();
        let heard = match self.check_token(&message).await {
            Ok((id, access)) => {
                self.access = access;
                messages.unread(rest);
                ReplyWriter::new(&mut line).ok(id.map(RawValue::get), &GrantedScopes::of(access));
                None
            }
            Err(ParseError { refusal, id }) => {
                ReplyWriter::new(&mut line).refused(id.map(RawValue::get), &refusal);
                Some(frame(CloseCode::Policy, "a token has to be shown first"))
            }
        };
        self.outbox.append(&line);
        if heard.is_some() {
            self.outbox.collect(messages.output());
            drop(timeout(PATIENCE, poll_fn(|context| messages.poll_write(context))).await);
        }
        Ok(heard)
    }
}

/// The first message, and what came with it; `None` when the peer has closed instead.
async fn first(messages: &mut WebSocketTransport) -> io::Result<Option<(Bytes, MessageBatch)>> {
    loop {
        let (page, is_over) = match poll_fn(|context| messages.poll_read(context)).await? {
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

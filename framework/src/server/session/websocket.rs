//! Talks in WebSocket messages: each is a request or raw data, as a line is.

use std::io;

use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::upgrade::Upgraded;
use hyper::{Request, Response};

use super::Session;
use crate::protocol::{Code, Refusal};

/// Answers the request to go on as a WebSocket.
pub(super) fn accept(_request: &Request<Incoming>) -> Result<Response<Empty<Bytes>>, Refusal> {
    Err(Refusal::new(Code::UnknownProtocol, "This server does not speak WebSocket yet."))
}

impl Session {
    pub(super) async fn converse_websocket(&mut self, _upgraded: Upgraded) -> io::Result<()> {
        Ok(())
    }
}

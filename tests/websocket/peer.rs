//! A WebSocket client over a real socket.

use std::net::TcpStream;

use serde_json::Value;
use tungstenite::protocol::{CloseFrame, Role};
use tungstenite::{Error, Message, WebSocket};

use crate::harness::server::Server;

/// A peer that speaks properly.
pub(crate) struct Peer {
    pub(crate) socket: WebSocket<TcpStream>,
}

impl Peer {
    pub(crate) fn connect(server: &Server) -> Self {
        let stream = server.connect().into_stream();
        let (socket, _) = tungstenite::client(format!("ws://{}/", server.address), stream).unwrap();
        Self { socket }
    }

    /// Its sending half, for another thread; it must not read.
    pub(crate) fn another(&self) -> WebSocket<TcpStream> {
        WebSocket::from_raw_socket(self.socket.get_ref().try_clone().unwrap(), Role::Client, None)
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).unwrap();
    }

    /// The next message, which is text.
    #[track_caller]
    pub(crate) fn text(&mut self) -> String {
        loop {
            match self.socket.read().unwrap() {
                Message::Text(text) => return text.to_string(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?} is no text"),
            }
        }
    }

    #[track_caller]
    pub(crate) fn json(&mut self) -> Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
    }

    /// How the server closes; messages before that are skipped.
    #[track_caller]
    pub(crate) fn closed(&mut self) -> CloseFrame {
        let mut reason = None;
        loop {
            match self.socket.read() {
                Ok(Message::Close(close)) => reason = close,
                Ok(_) => {}
                Err(Error::ConnectionClosed) => return reason.expect("the server says why"),
                Err(error) => panic!("{error} after {reason:?}"),
            }
        }
    }
}

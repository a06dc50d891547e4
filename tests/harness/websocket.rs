//! A WebSocket client over a real socket.

use std::net::TcpStream;

use serde_json::Value;
use tungstenite::protocol::{CloseFrame, Role};
use tungstenite::{Error, Message, WebSocket};

use super::client::Client;
use super::eventually::eventually;
use super::server::Server;

/// A WebSocket client that follows the protocol.
pub(crate) struct WebSocketClient {
    pub(crate) socket: WebSocket<TcpStream>,
}

impl WebSocketClient {
    pub(crate) fn connect(server: &Server) -> Self {
        let stream = server.connect().into_stream();
        let (socket, _) = tungstenite::client(format!("ws://{}/", server.address), stream).unwrap();
        Self { socket }
    }

    /// Its sending half, for another thread; it must not read.
    pub(crate) fn sender(&self) -> WebSocket<TcpStream> {
        WebSocket::from_raw_socket(self.socket.get_ref().try_clone().unwrap(), Role::Client, None)
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).unwrap();
    }

    /// The next message, which is text.
    #[track_caller]
    pub(crate) fn text(&mut self) -> String {
        // Pings may come for longer than any single read may take.
        eventually("a text message", || match self.socket.read().unwrap() {
            Message::Text(text) => Some(text.to_string()),
            Message::Ping(_) | Message::Pong(_) => None,
            other => panic!("{other:?} is no text"),
        })
    }

    #[track_caller]
    pub(crate) fn json(&mut self) -> Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
    }

    /// The close frame of the server; messages before it are skipped.
    #[track_caller]
    pub(crate) fn closed(&mut self) -> CloseFrame {
        let mut reason = None;
        eventually("the connection is closed", || match self.socket.read() {
            Ok(Message::Close(close)) => {
                reason = close;
                None
            }
            Ok(_) => None,
            Err(Error::ConnectionClosed) => Some(reason.take().expect("the server sends a reason")),
            Err(error) => panic!("{error} after {reason:?}"),
        })
    }
}

/// Opens a WebSocket by hand, so that nothing is read behind the back of the test.
pub(crate) fn open_by_hand(server: &Server) -> Client {
    let mut client = server.connect();
    client.send(format!(
        "GET / HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        server.address
    ));
    client.find_line("the end of the head", |line| line == "\r\n");
    client
}

//! Clients of every kind that count the bytes of their own sockets.

use std::io::{Read, Result, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use rustls::{ClientConnection, StreamOwned};
use tungstenite::{Message, WebSocket};

use crate::harness::certificates::Authority;
use crate::harness::client::unix;
use crate::harness::frames::{frame, read_frame};
use crate::harness::server::Server;
use crate::harness::tls;

/// A socket that counts the bytes in both directions.
pub(super) struct Counted<S> {
    stream: S,
    pub(super) sent: u64,
    pub(super) received: u64,
}

impl<S> Counted<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, sent: 0, received: 0 }
    }
}

impl<S: Read> Read for Counted<S> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let count = self.stream.read(buffer)?;
        self.received += count as u64;
        Ok(count)
    }
}

impl<S: Write> Write for Counted<S> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let count = self.stream.write(bytes)?;
        self.sent += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> Result<()> {
        self.stream.flush()
    }
}

/// A client that sends one request and reads its reply.
pub(super) trait Asks {
    fn ask(&mut self);

    /// The bytes that it has sent and received.
    fn counts(&self) -> (u64, u64);
}

const NOOP: &[u8] = b"{\"function\":\"noop\"}";

/// Sends a line, and reads one, byte by byte so that no later byte is taken.
pub(super) fn line(stream: &mut (impl Read + Write)) -> String {
    stream.write_all(&[NOOP, b"\n"].concat()).unwrap();
    read_until(stream, "\n")
}

fn read_until(stream: &mut impl Read, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        text.push(byte[0].into());
    }
    text
}

pub(super) struct Lines<S>(pub(super) Counted<S>);

impl Lines<TcpStream> {
    pub(super) fn connect(server: &Server) -> Self {
        Self(Counted::new(server.connect().into_stream()))
    }

    pub(super) fn address(&self) -> String {
        self.0.stream.local_addr().unwrap().to_string()
    }
}

impl Lines<UnixStream> {
    pub(super) fn connect_locally(server: &Server) -> Self {
        Self(Counted::new(unix(&server.control_socket())))
    }
}

impl<S: Read + Write> Asks for Lines<S> {
    fn ask(&mut self) {
        assert!(line(&mut self.0).contains("queued"));
    }

    fn counts(&self) -> (u64, u64) {
        (self.0.sent, self.0.received)
    }
}

pub(super) struct Frames(Counted<TcpStream>);

impl Frames {
    pub(super) fn connect(server: &Server) -> (Self, String) {
        let Lines(stream) = Lines::connect(server);
        let address = stream.stream.local_addr().unwrap().to_string();
        (Self(stream), address)
    }
}

impl Asks for Frames {
    fn ask(&mut self) {
        self.0.write_all(&frame(NOOP)).unwrap();
        assert!(read_frame(&mut self.0).unwrap().starts_with(b"{\"task_id\":"));
    }

    fn counts(&self) -> (u64, u64) {
        (self.0.sent, self.0.received)
    }
}

/// A client that sends all its requests over one connection.
pub(super) struct Http(Counted<TcpStream>, String);

impl Http {
    pub(super) fn connect(server: &Server) -> (Self, String) {
        let Lines(stream) = Lines::connect(server);
        let address = stream.stream.local_addr().unwrap().to_string();
        (Self(stream, server.address.clone()), address)
    }

    /// Sends a request without reading the answer.
    pub(super) fn begin(&mut self, method: &str, path: &str, body: &str) {
        let (host, length) = (&self.1, body.len());
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n");
        self.0.write_all(format!("{head}{body}").as_bytes()).unwrap();
    }

    /// The head and the body of an answer.
    pub(super) fn answer(&mut self) -> (String, String) {
        let head = read_until(&mut self.0, "\r\n\r\n").to_ascii_lowercase();
        let length = head.split_once("content-length: ").unwrap().1.split_once('\r').unwrap().0;
        let mut body = vec![0; length.parse().unwrap()];
        self.0.read_exact(&mut body).unwrap();
        (head, String::from_utf8(body).unwrap())
    }
}

impl Asks for Http {
    fn ask(&mut self) {
        self.begin("POST", "/tasks/noop", "");
        assert!(self.answer().0.starts_with("http/1.1 202"));
    }

    fn counts(&self) -> (u64, u64) {
        (self.0.sent, self.0.received)
    }
}

pub(super) struct Web(pub(super) WebSocket<Counted<TcpStream>>);

impl Web {
    pub(super) fn connect(server: &Server) -> (Self, String) {
        let Lines(stream) = Lines::connect(server);
        let address = stream.stream.local_addr().unwrap().to_string();
        let (socket, _) = tungstenite::client(format!("ws://{}/", server.address), stream).unwrap();
        (Self(socket), address)
    }
}

impl Asks for Web {
    fn ask(&mut self) {
        self.0.send(Message::binary(NOOP)).unwrap();
        assert!(self.0.read().unwrap().into_text().unwrap().contains("queued"));
    }

    fn counts(&self) -> (u64, u64) {
        let Counted { sent, received, .. } = self.0.get_ref();
        (*sent, *received)
    }
}

/// A client of lines within TLS.
pub(super) struct Encrypted(StreamOwned<ClientConnection, Counted<TcpStream>>);

impl Encrypted {
    pub(super) fn connect(server: &Server, authority: &Authority) -> (Self, String) {
        let connection = tls::connection(authority, None);
        let Lines(stream) = Lines::connect(server);
        let address = stream.stream.local_addr().unwrap().to_string();
        (Self(StreamOwned::new(connection, stream)), address)
    }
}

impl Asks for Encrypted {
    fn ask(&mut self) {
        assert!(line(&mut self.0).contains("queued"));
    }

    fn counts(&self) -> (u64, u64) {
        (self.0.sock.sent, self.0.sock.received)
    }
}

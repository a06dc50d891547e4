//! Lets workers that speak lines be workers over another protocol: a bridge that translates in between.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tungstenite::{Error, Message, WebSocket};

use super::certificates::Authority;
use super::client::tcp;
use super::eventually::PATIENCE;
use super::frames::frame;
use super::tls::{self, Encrypted};

/// How long one look at a side takes at most.
const LOOK: Duration = Duration::from_millis(2);

/// The protocol of the far side.
#[derive(Clone)]
pub(crate) enum FarProtocol {
    Frames,
    WebSocket,
    /// Lines within TLS, after this token was shown.
    TlsLines(Arc<Authority>, &'static str),
}

/// Accepts workers that speak lines, and connects each to the server.
pub(crate) struct Bridge {
    pub(crate) address: String,
}

/// One side of a bridged connection.
trait Side {
    fn send(&mut self, message: &str) -> io::Result<()>;

    /// What has come by now, as whole messages.
    ///
    /// # Errors
    /// The peer has closed, or the connection is broken.
    fn look(&mut self) -> io::Result<Vec<String>>;

    /// Sends nothing more.
    fn finish(&mut self);
}

impl Bridge {
    pub(crate) fn to(server: &str, protocol: FarProtocol) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = server.to_owned();
        thread::spawn(move || {
            for near in listener.incoming() {
                let (protocol, server) = (protocol.clone(), server.clone());
                thread::spawn(move || {
                    forward(&mut LineSide::new(near.unwrap()), &mut *far(&server, protocol))
                });
            }
        });
        Self { address }
    }
}

fn far(server: &str, protocol: FarProtocol) -> Box<dyn Side> {
    match protocol {
        FarProtocol::Frames => Box::new(FrameSide { stream: looking(tcp(server)), received: Vec::new() }),
        FarProtocol::WebSocket => {
            let (socket, _) = tungstenite::client(format!("ws://{server}/"), tcp(server)).unwrap();
            looking(socket.get_ref().try_clone().unwrap());
            Box::new(WebSocketSide(socket))
        }
        FarProtocol::TlsLines(authority, token) => {
            let mut stream = tls::connect(server, &authority, None);
            stream.write_all(format!("auth {token}\n").as_bytes()).unwrap();
            let mut side = LineSide { received: read_line(&mut stream), stream };
            looking(side.stream.sock.try_clone().unwrap());
            assert!(side.look().unwrap().is_empty(), "the server speaks only when it is spoken to");
            Box::new(side)
        }
    }
}

/// Reads the reply to the token, and returns what has come behind it.
fn read_line(stream: &mut Encrypted) -> Vec<u8> {
    let mut reply = Vec::new();
    let mut byte = [0];
    while reply.last() != Some(&b'\n') {
        stream.read_exact(&mut byte).unwrap();
        reply.push(byte[0]);
    }
    assert!(String::from_utf8_lossy(&reply).contains("\"ok\""), "{reply:?}");
    Vec::new()
}

fn looking(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(LOOK)).unwrap();
    stream
}

/// Forwards messages until one side has closed, and then what the other one still has to say.
fn forward(near: &mut dyn Side, far: &mut dyn Side) {
    loop {
        if pass(near, far).is_err() {
            far.finish();
            let deadline = Instant::now() + PATIENCE;
            while Instant::now() < deadline && far.look().is_ok() {}
            return;
        }
        if pass(far, near).is_err() {
            return near.finish();
        }
    }
}

fn pass(from: &mut dyn Side, to: &mut dyn Side) -> io::Result<()> {
    from.look()?.iter().try_for_each(|message| to.send(message))
}

/// Reads what is there into a buffer.
fn fill(stream: &mut impl Read, received: &mut Vec<u8>) -> io::Result<()> {
    let mut chunk = [0; 16 * 1024];
    match stream.read(&mut chunk) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(count) => {
            received.extend_from_slice(&chunk[..count]);
            Ok(())
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(()),
        Err(error) => Err(error),
    }
}

struct LineSide<S> {
    stream: S,
    received: Vec<u8>,
}

impl LineSide<TcpStream> {
    fn new(stream: TcpStream) -> Self {
        Self { stream: looking(stream), received: Vec::new() }
    }
}

impl<S: Read + Write + Closing> Side for LineSide<S> {
    fn send(&mut self, message: &str) -> io::Result<()> {
        self.stream.write_all(format!("{message}\n").as_bytes())?;
        self.stream.flush()
    }

    fn look(&mut self) -> io::Result<Vec<String>> {
        // Lines that came with the end are forwarded first.
        let filled = fill(&mut self.stream, &mut self.received);
        let mut lines = Vec::new();
        while let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
            let line: Vec<_> = self.received.drain(..=end).collect();
            lines.push(String::from_utf8(line).unwrap().trim_end().to_owned());
        }
        if lines.is_empty() { filled.map(|()| lines) } else { Ok(lines) }
    }

    fn finish(&mut self) {
        self.stream.close();
    }
}

/// A stream whose sending side can be closed.
trait Closing {
    fn close(&mut self);
}

impl Closing for TcpStream {
    fn close(&mut self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

impl Closing for Encrypted {
    fn close(&mut self) {
        self.conn.send_close_notify();
        let _ = self.flush();
        let _ = self.sock.shutdown(Shutdown::Write);
    }
}

struct FrameSide {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Side for FrameSide {
    fn send(&mut self, message: &str) -> io::Result<()> {
        self.stream.write_all(&frame(message))
    }

    fn look(&mut self) -> io::Result<Vec<String>> {
        let filled = fill(&mut self.stream, &mut self.received);
        let mut messages = Vec::new();
        while let Some(head) = self.received.first_chunk::<4>() {
            let length = u32::from_be_bytes(*head) as usize;
            if self.received.len() < length {
                break;
            }
            let message: Vec<_> = self.received.drain(..length).skip(4).collect();
            messages.push(String::from_utf8(message).unwrap());
        }
        if messages.is_empty() { filled.map(|()| messages) } else { Ok(messages) }
    }

    fn finish(&mut self) {
        self.stream.close();
    }
}

struct WebSocketSide(WebSocket<TcpStream>);

impl Side for WebSocketSide {
    fn send(&mut self, message: &str) -> io::Result<()> {
        self.0.send(Message::text(message)).map_err(io::Error::other)
    }

    fn look(&mut self) -> io::Result<Vec<String>> {
        match self.0.read() {
            Ok(Message::Text(text)) => Ok(vec![text.to_string()]),
            Ok(_) => Ok(Vec::new()),
            Err(Error::Io(error)) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(Vec::new())
            }
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn finish(&mut self) {
        let _ = self.0.close(None);
        let _ = self.0.flush();
    }
}

//! A connection of any of the protocols that carry one JSON object a message.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use serde_json::Value;
use tungstenite::{Message, WebSocket};

/// What is not answered by then is not answered.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) enum Wire {
    Lines(BufReader<TcpStream>),
    Frames(BufReader<TcpStream>),
    Socket(Box<WebSocket<TcpStream>>),
}

pub(super) fn connect(address: &str) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Wire {
    pub(super) fn lines(address: &str) -> Result<Self> {
        Ok(Self::Lines(BufReader::new(connect(address)?)))
    }

    pub(super) fn any(address: &str, random: &mut Rng) -> Result<Self> {
        let stream = connect(address)?;
        Ok(match random.u8(..5) {
            0..=2 => Self::Lines(BufReader::new(stream)),
            3 => Self::Frames(BufReader::new(stream)),
            _ => {
                let shaken = tungstenite::client(format!("ws://{address}/"), stream);
                match shaken {
                    Ok((socket, _)) => Self::Socket(Box::new(socket)),
                    Err(tungstenite::HandshakeError::Failure(error)) => return Err(plain(error)),
                    Err(error) => bail!("shaking hands: {error}"),
                }
            }
        })
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Lines(_) => "lines",
            Self::Frames(_) => "frames",
            Self::Socket(_) => "websocket",
        }
    }

    /// Sends many messages in one piece, where the protocol has such.
    pub(super) fn send<'a>(&mut self, messages: impl IntoIterator<Item = &'a str>) -> Result<()> {
        match self {
            Self::Lines(stream) => {
                let lines: String = messages.into_iter().flat_map(|message| [message, "\n"]).collect();
                stream.get_mut().write_all(lines.as_bytes())?;
            }
            Self::Frames(stream) => {
                let mut bytes = Vec::new();
                for message in messages {
                    bytes.extend_from_slice(&(message.len() as u32 + 4).to_be_bytes());
                    bytes.extend_from_slice(message.as_bytes());
                }
                stream.get_mut().write_all(&bytes)?;
            }
            Self::Socket(socket) => {
                for message in messages {
                    socket.write(Message::text(message)).map_err(plain)?;
                }
                socket.flush().map_err(plain)?;
            }
        }
        Ok(())
    }

    /// The next answer.
    pub(super) fn answer(&mut self) -> Result<Value> {
        let text = match self {
            Self::Lines(stream) => {
                let mut line = String::new();
                stream.read_line(&mut line)?;
                // What was cut off is no answer.
                if line.pop() != Some('\n') {
                    return Err(closed());
                }
                line
            }
            Self::Frames(stream) => {
                let mut head = [0; 4];
                stream.read_exact(&mut head)?;
                let length = u32::from_be_bytes(head) as usize;
                ensure!((4..64 << 20).contains(&length), "a frame of {length} bytes");
                let mut body = vec![0; length - 4];
                stream.read_exact(&mut body)?;
                String::from_utf8(body)?
            }
            Self::Socket(socket) => loop {
                match socket.read().map_err(plain)? {
                    Message::Text(text) => break text.to_string(),
                    Message::Close(_) => return Err(closed()),
                    _ => {}
                }
            },
        };
        serde_json::from_str(&text).with_context(|| format!("no JSON: {text:?}"))
    }

    /// The socket below, for those who do not stay.
    pub(super) fn into_stream(self) -> TcpStream {
        match self {
            Self::Lines(stream) | Self::Frames(stream) => stream.into_inner(),
            Self::Socket(socket) => socket.get_ref().try_clone().expect("there are descriptors enough"),
        }
    }
}

/// So that whoever looks at a failure of the system finds it, whatever protocol it happened to.
fn plain(error: tungstenite::Error) -> anyhow::Error {
    match error {
        tungstenite::Error::Io(error) => error.into(),
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => closed(),
        tungstenite::Error::Protocol(
            tungstenite::error::ProtocolError::ResetWithoutClosingHandshake
            | tungstenite::error::ProtocolError::HandshakeIncomplete,
        ) => closed(),
        error => error.into(),
    }
}

pub(super) fn closed() -> anyhow::Error {
    std::io::Error::from(ErrorKind::UnexpectedEof).into()
}

//! A connection of any protocol that carries one JSON object per message.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, bail};
use fastrand::Rng;
use serde_json::Value;
use tungstenite::{Message, WebSocket};

use crate::harness::client::bounded_tcp;
use crate::harness::frames::{frame, read_frame};

pub(super) enum Wire {
    Lines(BufReader<TcpStream>),
    Frames(BufReader<TcpStream>),
    Socket(Box<WebSocket<TcpStream>>),
}

pub(super) fn connect(address: &str) -> Result<TcpStream> {
    Ok(bounded_tcp(TcpStream::connect(address)?))
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
                let frames: Vec<u8> = messages.into_iter().flat_map(frame).collect();
                stream.get_mut().write_all(&frames)?;
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

    /// The next reply.
    pub(super) fn answer(&mut self) -> Result<Value> {
        let text = self.text()?;
        serde_json::from_str(&text).with_context(|| format!("no JSON: {text:?}"))
    }

    /// The next message, which need not be JSON.
    pub(super) fn text(&mut self) -> Result<String> {
        Ok(match self {
            Self::Lines(stream) => {
                let mut line = String::new();
                stream.read_line(&mut line)?;
                // An incomplete line is no reply.
                if line.pop() != Some('\n') {
                    return Err(closed());
                }
                line
            }
            Self::Frames(stream) => String::from_utf8(read_frame(stream)?)?,
            Self::Socket(socket) => loop {
                match socket.read().map_err(plain)? {
                    Message::Text(text) => break text.to_string(),
                    Message::Close(_) => return Err(closed()),
                    _ => {}
                }
            },
        })
    }

    /// The socket below, for clients that disconnect.
    pub(super) fn into_stream(self) -> TcpStream {
        match self {
            Self::Lines(stream) | Self::Frames(stream) => stream.into_inner(),
            Self::Socket(socket) => socket.get_ref().try_clone().expect("there are descriptors enough"),
        }
    }
}

/// The error of the system below an error of a WebSocket, so that faults are recognised in every protocol.
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

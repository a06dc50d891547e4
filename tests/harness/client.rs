//! Clients over real sockets; no read or write of theirs waits for ever.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use super::eventually::{PATIENCE, eventually};

/// A TCP connection whose reads and writes have a bound.
pub(crate) fn tcp(address: &str) -> TcpStream {
    bounded_tcp(TcpStream::connect(address).unwrap())
}

/// Sets the bounds of a TCP connection.
pub(crate) fn bounded_tcp(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A connection to a Unix socket whose reads and writes have a bound.
pub(crate) fn unix(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends one request to a Unix socket and no more, and reads the reply to its end.
pub(crate) fn ask_unix(path: &Path, request: &[u8]) -> String {
    let mut stream = unix(path);
    stream.write_all(request).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}

/// Accepts one connection, which has to come in time.
#[track_caller]
pub(crate) fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let (stream, _) = eventually("a client connects", || listener.accept().ok());
    listener.set_nonblocking(false).unwrap();
    stream.set_nonblocking(false).unwrap();
    bounded_tcp(stream)
}

/// A plain TCP client, such as telnet.
pub(crate) struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(address: &str) -> Self {
        Self::of(tcp(address))
    }

    /// A client over a connection that is there.
    pub(crate) fn of(stream: TcpStream) -> Self {
        Self { reader: BufReader::new(stream) }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.reader.get_mut().write_all(bytes.as_ref()).unwrap();
        self
    }

    /// The next line, with its end; empty at the end of the connection.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line
    }

    /// The next line that is what is looked for; those before it are skipped.
    #[track_caller]
    pub(crate) fn find_line(&mut self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut skipped = Vec::new();
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "the server closed before {what} came; there were {skipped:#?}");
            assert!(
                Instant::now() < deadline,
                "timed out after {PATIENCE:?}: {what}; there were {skipped:#?}"
            );
            if is_it(&line) {
                return line;
            }
            skipped.push(line);
        }
    }

    /// Reads the next line; `true` if there is one with this in it.
    pub(crate) fn receives(&mut self, text: &str) -> bool {
        let mut line = String::new();
        self.reader.read_line(&mut line).is_ok() && line.contains(text)
    }

    /// Appends to a line what has come of it; `true` if it is complete, and `false` after the time of a read,
    /// or at the end.
    pub(crate) fn try_line(&mut self, line: &mut String) -> bool {
        self.reader.read_line(line).is_ok_and(|count| count > 0) && line.ends_with('\n')
    }

    /// The next line as JSON.
    #[track_caller]
    pub(crate) fn json(&mut self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// The next line as JSON that is what is looked for; those before it are skipped.
    #[track_caller]
    pub(crate) fn find_json(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let parse =
            |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        parse(&self.find_line(what, |line| is_it(&parse(line))))
    }

    /// The result of the command `status`.
    #[track_caller]
    pub(crate) fn status(&mut self) -> Value {
        self.send("{\"command\":\"status\"}\n").json()["result"].take()
    }

    /// This many bytes.
    pub(crate) fn exactly(&mut self, length: usize) -> String {
        let mut bytes = vec![0; length];
        self.reader.read_exact(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// Sends no more; what is left is a message.
    pub(crate) fn end(&mut self) -> &mut Self {
        self.reader.get_mut().shutdown(Shutdown::Write).unwrap();
        self
    }

    /// Everything until the server closes.
    pub(crate) fn rest(&mut self) -> String {
        String::from_utf8(self.rest_bytes()).unwrap()
    }

    /// The same where it is no text.
    pub(crate) fn rest_bytes(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest).unwrap();
        rest
    }

    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        self.reader.get_mut()
    }

    /// The socket, before anything was read.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.reader.into_inner()
    }
}

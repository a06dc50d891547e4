//! Attacks of clients that may connect to a server.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::harness::client::tcp;
use crate::harness::eventually::PATIENCE;
use crate::harness::server::Server;

/// The beginnings of a header, a line, a frame and a handshake, none of which is ever completed.
const BEGINNINGS: [&[u8]; 4] = [
    b"GET /status HTTP/1.1\r\nHost: localhost\r\nX-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    b"{\"function\":\"echo\",\"args\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    b"\0\x10\0\0{\"function\":\"echo\",\"args\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/// A server that has read nothing for this long has stopped reading.
const STALL: Duration = Duration::from_secs(2);

/// Clients that send one byte at a time.
pub(super) struct Trickle(Vec<(TcpStream, &'static [u8])>);

pub(super) fn connect(server: &Server, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| TcpStream::connect(&server.address).unwrap()).collect()
}

/// This many clients of each protocol.
pub(super) fn trickle(server: &Server, each: usize) -> Trickle {
    let clients = BEGINNINGS
        .into_iter()
        .flat_map(|beginning| connect(server, each).into_iter().map(move |stream| (stream, beginning)));
    Trickle(clients.collect())
}

impl Trickle {
    /// Sends this many rounds of one byte each.
    pub(super) fn drip(mut self, rounds: usize) {
        for round in 0..rounds {
            for (stream, beginning) in &mut self.0 {
                // Some connections are closed by now, as they should be.
                let _ = stream.write_all(&beginning[round..=round]);
            }
        }
    }
}

/// Sends this byte and some random ones, no more, and reads the reply to its end.
pub(super) fn garbage(server: &Server, first: u8) {
    for length in [0, 1, 5, 100, 10_000] {
        let mut stream = tcp(&server.address);
        let tail: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(length).collect();
        // The server may close before it has read everything.
        let _ = stream.write_all(&[vec![first], tail].concat());
        let _ = stream.shutdown(Shutdown::Write);
        let end = stream.read_to_end(&mut Vec::new());
        // It closes or resets the connection, and does not leave it open.
        assert!(!end.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "first byte {first}");
    }
}

/// Asks for a gigabyte of results, as far as the server reads, and reads none.
pub(super) fn never_read(server: &Server) {
    const REQUESTS: usize = 10_000;
    let text = "x".repeat(100_000);
    let request = format!("{{\"function\":\"echo\",\"args\":\"{text}\",\"reply\":\"result\"}}\n");
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.set_nonblocking(true).unwrap();
    let (begun, mut last_read) = (Instant::now(), Instant::now());
    let mut sent = 0;
    // The server stops reading at some point, or closes; others are served meanwhile.
    while sent < REQUESTS * request.len() && last_read.elapsed() < STALL && begun.elapsed() < PATIENCE {
        match stream.write(&request.as_bytes()[sent % request.len()..]) {
            Ok(count) => (sent, last_read) = (sent + count, Instant::now()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let answer = server.connect().send("{\"function\":\"noop\"}\n").line();
                // Waiting tasks may fill the memory that is allowed for them.
                assert!(answer.contains("queued") || answer.contains("\"busy\""), "{answer}");
            }
            Err(_) => break,
        }
    }
    super::print(&format!("sent {} MB of requests without reading a result", sent >> 20));
}

/// Connects and closes, at times in the middle of a message.
pub(super) fn reconnect(server: &Server, times: usize) {
    for number in 0..times {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        let beginning = BEGINNINGS[number % BEGINNINGS.len()];
        if number % 3 == 0 {
            stream.write_all(&beginning[..number % beginning.len()]).unwrap();
        }
        if number % 5 == 0 {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

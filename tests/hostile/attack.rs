//! What a client can do to a server that it may connect to.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::harness::server::Server;

/// Beginnings that never come to their end: of a header, a line, a frame and a handshake.
const BEGINNINGS: [&[u8]; 4] = [
    b"GET /status HTTP/1.1\r\nHost: localhost\r\nX-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    b"{\"function\":\"echo\",\"args\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    b"\0\x10\0\0{\"function\":\"echo\",\"args\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/// Clients that send one byte at a time.
pub(super) struct Trickle(Vec<(TcpStream, &'static [u8])>);

pub(super) fn connect(server: &Server, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| TcpStream::connect(&server.address).unwrap()).collect()
}

/// So many clients of each protocol.
pub(super) fn trickle(server: &Server, each: usize) -> Trickle {
    let clients = BEGINNINGS
        .into_iter()
        .flat_map(|beginning| connect(server, each).into_iter().map(move |stream| (stream, beginning)));
    Trickle(clients.collect())
}

impl Trickle {
    /// Sends so many rounds of one byte each.
    pub(super) fn drip(mut self, rounds: usize) {
        for round in 0..rounds {
            for (stream, beginning) in &mut self.0 {
                // Some are cut off by now, as they should be.
                drop(stream.write_all(&beginning[round..=round]));
            }
        }
    }
}

/// Sends this byte and some random ones, no more, and hears the answer to its end.
pub(super) fn garbage(server: &Server, first: u8) {
    for length in [0, 1, 5, 100, 10_000] {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        let tail: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(length).collect();
        // A server that has heard enough may close while it is still spoken to.
        drop(stream.write_all(&[vec![first], tail].concat()));
        drop(stream.shutdown(Shutdown::Write));
        drop(stream.read_to_end(&mut Vec::new()));
    }
}

/// Asks for a gigabyte of results, as far as it is let, and reads none.
pub(super) fn never_read(server: &Server) {
    const REQUESTS: usize = 10_000;
    let text = "x".repeat(100_000);
    let request = format!("{{\"function\":\"echo\",\"args\":\"{text}\",\"reply\":\"result\"}}\n");
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.set_nonblocking(true).unwrap();
    let (mut sent, mut refused) = (0, 0);
    // The server reads no more at some time, or closes; others are served all the while.
    while sent < REQUESTS * request.len() && refused < 500 {
        match stream.write(&request.as_bytes()[sent % request.len()..]) {
            Ok(count) => (sent, refused) = (sent + count, 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                refused += 1;
                let answer = server.connect().send("{\"function\":\"noop\"}\n").line();
                // What waits may fill the memory that tasks may take.
                assert!(answer.contains("queued") || answer.contains("\"busy\""), "{answer}");
            }
            Err(_) => break,
        }
    }
    super::say(&format!("sent {} MB of requests without reading a result", sent >> 20));
}

/// Comes and goes, at times in the middle of a word.
pub(super) fn come_and_go(server: &Server, times: usize) {
    for number in 0..times {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        let beginning = BEGINNINGS[number % BEGINNINGS.len()];
        if number % 3 == 0 {
            stream.write_all(&beginning[..number % beginning.len()]).unwrap();
        }
        if number % 5 == 0 {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

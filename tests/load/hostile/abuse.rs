//! Requests of which each is allowed, and many of which would fill a server that held all that they ask for.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::client::Client;
use crate::harness::websocket::WebSocketClient;

/// The length of a long message; the limit is 2 MB.
const LONG: usize = 1_900_000;
/// For how long a client goes on that sends and reads nothing.
const TIME: Duration = Duration::from_secs(5);

fn websocket(address: &str) -> WebSocketClient {
    let stream = Client::connect(address).into_stream();
    let (socket, _) = tungstenite::client(format!("ws://{address}/"), stream).unwrap();
    WebSocketClient { socket }
}

/// Makes a task that has long arguments and has ended; the line that shows it.
pub(super) fn large_task(address: &str) -> String {
    let mut client = Client::connect(address);
    let text = "x".repeat(LONG);
    let request = format!("{{\"function\":\"echo\",\"args\":\"{text}\",\"reply\":\"both\"}}\n");
    let task = client.send(request).json()["task_id"].clone();
    client.line();
    format!("{{\"command\":\"show\",\"task\":{task}}}\n")
}

/// Sends as much of this as the server reads, again and again, and reads nothing.
fn flood(stream: &mut TcpStream, bytes: &[u8]) {
    stream.set_nonblocking(true).unwrap();
    let (begun, mut sent) = (Instant::now(), 0);
    while begun.elapsed() < TIME {
        match stream.write(&bytes[sent % bytes.len()..]) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
            // It was closed, as it may be.
            Err(_) => return,
        }
    }
}

pub(super) fn send_without_reading(address: &str, requests: &str) {
    flood(Client::connect(address).stream(), requests.as_bytes());
}

pub(super) fn ping_without_reading(address: &str) {
    let mut peer = websocket(address);
    let pings = [&[0x89, 0x80 | 125, 0, 0, 0, 0][..], &[b'x'; 125]].concat().repeat(500);
    flood(peer.socket.get_mut(), &pings);
}

pub(super) fn misspell_huge_names(address: &str, count: usize) {
    let mut client = Client::connect(address);
    let name = "n".repeat(LONG);
    for number in 0..count {
        let field = ["function", "command"][number % 2];
        let answer = client.send(format!("{{\"{field}\":\"{name}\"}}\n")).line();
        assert!(answer.contains("unknown_") && answer.len() < 1_000, "{answer:.1000}");
    }
}

/// Makes small tasks that wait, in messages that are mostly white space.
pub(super) fn delay_in_huge_messages(address: &str, count: usize) {
    let mut client = Client::connect(address);
    let space = " ".repeat(LONG);
    for _ in 0..count {
        let request = format!("{{\"function\":\"echo\",\"args\":\"x\",\"delay\":\"1h\"{space}}}\n");
        assert_eq!(client.send(request).json()["status"], "queued");
    }
}

/// Waits for results that do not come for an hour, and closes.
pub(super) fn wait_and_hang_up(address: &str, count: usize) {
    let id = "i".repeat(200);
    let request =
        format!("{{\"function\":\"noop\",\"delay\":\"1h\",\"reply\":\"result\",\"id\":\"{id}\"}}\n");
    for _ in 0..count {
        let mut peer = websocket(address);
        for _ in 0..100 {
            peer.send(request.trim_end());
        }
    }
}

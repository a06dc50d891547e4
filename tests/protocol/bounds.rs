//! What one client may make the server hold, also before it has shown a token.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use serde_json::json;
use tungstenite::Message;
use tungstenite::protocol::frame::coding::CloseCode;

use crate::harness::Project;
use crate::harness::certificates::Authority;
use crate::harness::client::Client;
use crate::harness::eventually::{PATIENCE, eventually, wait_until};
use crate::harness::metrics::process_figure;
use crate::harness::server::Server;
use crate::harness::websocket::{WebSocketClient, open_by_hand};

/// A server that has read nothing for this long has stopped reading.
const STALL: Duration = Duration::from_secs(2);
/// The memory of a server that holds little, in KiB.
const LITTLE: u64 = 120 << 10;

const SECRET: &str = "tokens = \"quite-a-long-secret:send+inspect\"\n";

/// Sends these bytes again and again, and reads nothing, until the server reads no more; the bytes sent.
fn flood(client: &mut Client, bytes: &[u8]) -> usize {
    let stream = client.stream();
    stream.set_nonblocking(true).unwrap();
    let (mut sent, mut last_read) = (0, Instant::now());
    while last_read.elapsed() < STALL && sent < 512 << 20 {
        match stream.write(&bytes[sent % bytes.len()..]) {
            Ok(count) => (sent, last_read) = (sent + count, Instant::now()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(_) => break,
        }
    }
    sent
}

#[track_caller]
fn assert_holds_little(server: &Server) {
    let most = process_figure(server.pid(), "VmHWM");
    assert!(most < LITTLE, "{most} KiB");
}

/// Masked pings of the longest payload.
fn pings() -> Vec<u8> {
    [&[0x89, 0x80 | 125, 0, 0, 0, 0][..], &[b'x'; 125]].concat().repeat(500)
}

#[test]
fn websocket_that_pings_and_never_reads_is_not_read_from() {
    let server = Server::with_settings("app_log = false\nmax_output_buffer = \"1MB\"\n");
    let sent = flood(&mut open_by_hand(&server), &pings());
    assert!(sent < 64 << 20, "the server has read {sent} bytes");
    assert_holds_little(&server);
    let mut others = WebSocketClient::connect(&server);
    others.socket.send(Message::Ping("here".into())).unwrap();
    assert_eq!(others.socket.read().unwrap(), Message::Pong("here".into()));
}

#[test]
fn websocket_without_a_token_sends_no_more_than_one_short_message() {
    let server = Server::with_settings(&format!("app_log = false\n{SECRET}"));
    assert!(flood(&mut open_by_hand(&server), &pings()) < 16 << 20);
    for length in [4_097, 100_000, 1 << 20] {
        let mut peer = WebSocketClient::connect(&server);
        let _ = peer.socket.send(Message::text("x".repeat(length)));
        assert_eq!(peer.closed().code, CloseCode::Size, "{length}");
    }
    let mut peer = WebSocketClient::connect(&server);
    let long = "y".repeat(100_000);
    peer.socket.write(Message::Ping("?".into())).unwrap();
    peer.socket.write(Message::text("auth quite-a-long-secret")).unwrap();
    peer.socket.write(Message::text(long.as_str())).unwrap();
    peer.socket.flush().unwrap();
    assert_eq!(peer.json()["status"], "ok");
    assert!(peer.text().contains(&long), "what follows the token has the limit of any message");
}

#[test]
fn answers_to_one_read_are_written_while_they_are_made() {
    const COUNT: usize = 60;
    let server = Server::with_settings("app_log = false\nmax_output_buffer = \"1MB\"\n");
    let text = "x".repeat(1_900_000);
    let accepted = server.connect().send(format!("{{\"function\":\"echo\",\"args\":\"{text}\"}}\n")).json();
    assert_eq!(accepted["task_id"], 0);
    wait_until("the task has ended", || server.ledger()["done"] == 1);
    let mut greedy = server.connect();
    let show = "{\"command\":\"show\",\"task\":0}\n";
    greedy.send(show.repeat(COUNT) + &"?\n".repeat(COUNT));
    // Others are served meanwhile.
    for number in 0..100 {
        assert_eq!(server.connect().send("{\"function\":\"noop\"}\n").json()["task_id"], number + 1);
    }
    for _ in 0..COUNT {
        assert!(greedy.line().len() > 2 * text.len());
    }
    assert!(greedy.line().starts_with("One message"), "and the help after them");
    assert_holds_little(&server);
    // A client that is gone gets no further answers.
    drop(greedy);
    let mut gone = server.connect();
    gone.send(show.repeat(100_000));
    drop(gone);
    wait_until("the connections have ended", || server.status()["connections"]["current"] == 1);
    assert_holds_little(&server);
}

#[test]
fn waiting_task_holds_its_arguments_and_not_its_message() {
    let server = Server::with_settings("app_log = false\ndurability = \"memory\"\nretention_count = 1000\n");
    let mut client = server.connect();
    let space = " ".repeat(1_900_000);
    for id in 0..100 {
        let request =
            format!("{{\"function\":\"echo\",\"args\":\"x\",\"delay\":\"1h\",\"id\":{id}{space}}}\n");
        assert_eq!(client.send(request).json()["status"], "queued");
    }
    let other = "{\"function\":\"noop\",\"reply\":\"none\"}\n".repeat(31 * 60);
    for id in 0..500 {
        let request =
            format!("{other}{{\"function\":\"echo\",\"args\":\"x\",\"delay\":\"1h\",\"id\":{id}}}\n");
        assert_eq!(client.send(request).json()["id"], id);
        if id % 50 == 0 {
            // Tasks that only wait for their turn are not what this measures.
            wait_until("only the delayed tasks wait", || server.status()["ledger"]["waiting"] == 101 + id);
        }
    }
    let figure = process_figure(server.pid(), "VmRSS");
    assert!(figure < LITTLE, "{figure} KiB");
}

#[test]
fn request_without_a_token_shows_no_function_names() {
    let server = Server::with_settings(&format!("app_log = false\n{SECRET}"));
    for method in ["GET", "PUT", "OPTIONS", "POST", "HEAD", "FOO"] {
        let ask = |name: &str| {
            let head =
                format!("{method} /tasks/{name} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            let answer = server.connect().send(head).rest();
            answer.lines().filter(|line| !line.starts_with("date: ")).collect::<String>().replace(name, "")
        };
        assert_eq!(ask("echo"), ask("ohce"), "{method}");
    }
}

#[test]
fn plain_text_where_only_tls_is_spoken_is_rejected_at_once_or_late() {
    let project = Project::new();
    Authority::new().issue("localhost").write(&project, "server");
    project.write(
        "config/server.toml",
        "ssl_cert_file = \"server.crt\"\nssl_key_file = \"server.key\"\nssl_required = true\nauth_timeout = \"300ms\"\n",
    );
    let server = Server::with(project, "");
    let mut line = server.connect();
    assert_eq!(line.send("{\"function\":").json()["code"], "unknown_protocol", "without a line end");
    for silent in ["", "GE", "hello"] {
        assert_eq!(server.connect().send(silent).rest(), "", "{silent}");
    }
    let long = server.connect().send("x".repeat(5_000)).json();
    assert_eq!(long["code"], "unknown_protocol");
}

#[test]
fn http_client_without_a_token_is_closed_after_auth_timeout() {
    let server = Server::with_settings(&format!("app_log = false\nauth_timeout = \"300ms\"\n{SECRET}"));
    let health = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n", server.address);
    let mut unknown = server.connect();
    eventually("the connection is closed", || {
        let stream = unknown.stream();
        let is_closed = stream.write_all(format!("{health}\r\n").as_bytes()).is_err()
            || stream.read(&mut [0; 4096]).map_or(true, |count| count == 0);
        is_closed.then_some(())
    });
    let mut known = server.connect();
    let status = format!(
        "GET /status HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer quite-a-long-secret\r\n\r\n",
        server.address
    );
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(900) {
        known.send(&status);
        known.find_line("a response", |line| line.starts_with("HTTP/1.1 200"));
    }
    let hits = server.project.think("task:status --json").exits(0).json()["limits"]["auth_timeout"].clone();
    assert_eq!(hits, json!(1));
    assert!(begun.elapsed() < PATIENCE);
}

//! A stop while clients are idle or in the middle of a request.
//!
//! Every timeout of a client is an hour here: a stop that waited for one would not end in time.

use std::io::{ErrorKind, Read, Write};

use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message, WebSocket};

use crate::harness::certificates::Authority;
use crate::harness::client::Client;
use crate::harness::daemon::{Daemon, project_with};
use crate::harness::eventually::{eventually, wait_until};
use crate::harness::frames::{frame, read_frame};
use crate::harness::tls;

const PATIENT: &str = "max_wait_time = \"1h\"\nhttp_header_timeout = \"1h\"\nhttp_body_timeout = \"1h\"\n\
                       auth_timeout = \"1h\"\nwebsocket_ping_interval = \"1h\"\ndefault_function = \"echo\"\n";

fn daemon() -> Daemon {
    Daemon::start(project_with(PATIENT), "")
}

/// Stops the server, which has nothing to wait for.
fn stop(daemon: &Daemon) {
    let stopped = daemon.think("task:stop").exits(0);
    assert!(stopped.stderr.contains("all tasks have ended"), "{}", stopped.stderr);
    daemon.wait();
}

/// A client whose partial request the server has seen: a whole request of the same kind comes before it.
fn after(daemon: &Daemon, whole: &str, last: &str, part: impl AsRef<[u8]>) -> Client {
    let mut client = daemon.client();
    client.send(whole);
    client.find_line(last, |line| line.contains(last));
    client.send(part);
    client
}

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[test]
fn stop_drops_an_incomplete_line() {
    let daemon = daemon();
    let mut half = after(&daemon, "x\n", "task_id: 0", "{\"function\":\"echo\",");
    let mut silent = daemon.client();
    stop(&daemon);
    assert_eq!((half.rest(), silent.rest()), (String::new(), String::new()));
    let daemon = Daemon::start(daemon.into_project(), "");
    assert_eq!(daemon.idle_ledger()["accepted"], 1);
}

#[test]
fn stop_drops_an_incomplete_frame() {
    let daemon = daemon();
    let mut client = daemon.client();
    client.send(frame("{\"command\":\"status\"}"));
    read_frame(client.stream()).unwrap();
    client.send(b"\0\0\0\x18{\"com");
    stop(&daemon);
    assert_eq!(client.rest(), "");
}

#[test]
fn stop_closes_http_connections_in_any_state() {
    let daemon = daemon();
    let mut idle = after(&daemon, HEALTH, "\r\n", "");
    let mut head = after(&daemon, HEALTH, "\r\n", "GET /healthz HTTP/1.1\r\nHost: loc");
    let task = "POST /tasks/echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let body = format!("{task}Content-Length: 100\r\n\r\n\"half");
    let mut body = after(&daemon, HEALTH, "\r\n", body);
    stop(&daemon);
    for client in [&mut idle, &mut head, &mut body] {
        let rest = client.rest();
        // The rest of the response before; an incomplete request may be answered with an error.
        assert!(!rest.contains("HTTP/1.1 2"), "{rest}");
    }
    let daemon = Daemon::start(daemon.into_project(), "");
    assert_eq!(daemon.idle_ledger()["accepted"], 0, "an incomplete body is no task");
}

#[test]
fn stop_answers_waiting_http_requests_before_it_closes() {
    let daemon = daemon();
    let later = "{\"function\":\"echo\",\"args\":\"later\",\"delay\":\"1h\"}\n";
    daemon.client().send(later).json();
    let mut waits = daemon.client();
    let body = "\"x\"";
    waits.send(format!(
        "POST /tasks/echo?wait=1m&delay=1h HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    let mut follows = daemon.client();
    follows.send("GET /tasks/0/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    follows.find_line("watching", |line| line.contains("watching"));
    wait_until("both tasks are accepted", || daemon.status()["ledger"]["accepted"] == 2);
    let stopped = daemon.think("task:stop").exits(0);
    assert!(stopped.stderr.contains("2 tasks kept for its next start"), "{}", stopped.stderr);
    let answer = waits.rest();
    assert!(answer.starts_with("HTTP/1.1 ") && answer.contains("\"task_id\":1"), "{answer}");
    let rest = follows.rest();
    assert!(rest.contains("shutting_down") && rest.ends_with("0\r\n\r\n"), "{rest}");
}

#[test]
fn stop_closes_websockets_with_going_away() {
    let daemon = daemon();
    let connect = || {
        let stream = daemon.client().into_stream();
        tungstenite::client(format!("ws://{}/", daemon.address), stream).unwrap().0
    };
    let mut idle = connect();
    let mut half = connect();
    idle.send(Message::text("{\"function\":\"echo\",\"args\":\"x\"}")).unwrap();
    assert!(idle.read().unwrap().to_text().unwrap().contains("queued"));
    // A masked text of ten bytes, of which two have come.
    half.get_mut().write_all(&[0x81, 0x8a, 0, 0, 0, 0, b'{', b'"']).unwrap();
    stop(&daemon);
    for socket in [&mut idle, &mut half] {
        assert_eq!(close_code(socket), CloseCode::Away);
    }
}

/// The code with which the server closes.
fn close_code(socket: &mut WebSocket<std::net::TcpStream>) -> CloseCode {
    let mut code = None;
    eventually("the connection is closed", || match socket.read() {
        Ok(message) => {
            if let Message::Close(close) = message {
                code = close.map(|close| close.code);
            }
            None
        }
        Err(Error::ConnectionClosed | Error::Io(_)) => Some(code.expect("the server sends a code")),
        Err(error) => panic!("{error} after {code:?}"),
    })
}

#[test]
fn stop_closes_tls_connections_with_close_notify() {
    let authority = Authority::new();
    let pair = "ssl_cert_file = \"server.crt\"\nssl_key_file = \"server.key\"\n";
    let project = project_with(&format!("{PATIENT}{pair}"));
    authority.issue("localhost").write(&project, "server");
    let daemon = Daemon::start(project, "");
    let mut encrypted = tls::connect(&daemon.address, &authority, None);
    encrypted.write_all(b"x\n").unwrap();
    let mut answer = vec![0; 256];
    let count = encrypted.read(&mut answer).unwrap();
    assert!(String::from_utf8_lossy(&answer[..count]).contains("task_id: 0"));
    let mut handshake = daemon.client();
    handshake.send(b"\x16\x03\x01\x02\0\x01");
    stop(&daemon);
    let mut rest = Vec::new();
    // Without close_notify, TLS reports a truncation.
    encrypted.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
    let end = handshake.stream().read_to_end(&mut rest);
    assert!(end.is_ok() || end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
}

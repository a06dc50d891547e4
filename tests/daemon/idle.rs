//! Clients that do nothing, or stop in the middle, and a server that is to stop.
//!
//! Every bound on how long a client may take is an hour here: who waits for one of them does not come back.

use std::io::{ErrorKind, Read, Write};

use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message, WebSocket};

use super::guard::{Daemon, project_with};
use crate::harness::certificates::Authority;
use crate::harness::server::Client;
use crate::tls;

const PATIENT: &str = "max_wait_time = \"1h\"\nhttp_header_timeout = \"1h\"\nhttp_body_timeout = \"1h\"\n\
                       auth_timeout = \"1h\"\nwebsocket_ping_interval = \"1h\"\ndefault_function = \"echo\"\n";

fn daemon() -> Daemon {
    Daemon::start(project_with(PATIENT), "")
}

/// Stops the server, for which nobody has to wait.
fn stop(daemon: &Daemon) {
    let stopped = daemon.think("task:stop").exits(0);
    assert!(stopped.stderr.contains("all tasks have ended"), "{}", stopped.stderr);
    daemon.wait();
}

/// A client that has sent this, and the server has seen it: it comes after a whole request of the same kind.
fn after(daemon: &Daemon, whole: &str, last: &str, part: impl AsRef<[u8]>) -> Client {
    let mut client = daemon.client();
    client.send(whole);
    while !client.line().contains(last) {}
    client.send(part);
    client
}

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[test]
fn a_line_that_has_no_end_yet_is_no_task_and_holds_nothing_up() {
    let daemon = daemon();
    let mut half = after(&daemon, "x\n", "task_id: 0", "{\"function\":\"echo\",");
    let mut silent = daemon.client();
    stop(&daemon);
    assert_eq!((half.rest(), silent.rest()), (String::new(), String::new()));
    let daemon = Daemon::start(daemon.into_project(), "");
    assert_eq!(daemon.settled()["accepted"], 1);
}

#[test]
fn half_a_frame_holds_nothing_up() {
    let daemon = daemon();
    let mut client = daemon.client();
    client.send(b"\0\0\0\x18{\"command\":\"status\"}");
    let mut head = [0; 4];
    client.stream().read_exact(&mut head).unwrap();
    client.exactly(u32::from_be_bytes(head) as usize - 4);
    client.send(b"\0\0\0\x18{\"com");
    stop(&daemon);
    assert_eq!(client.rest(), "");
}

#[test]
fn http_connections_are_closed_wherever_they_stand() {
    let daemon = daemon();
    let mut idle = after(&daemon, HEALTH, "\r\n", "");
    let mut head = after(&daemon, HEALTH, "\r\n", "GET /healthz HTTP/1.1\r\nHost: loc");
    let task = "POST /tasks/echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let body = format!("{task}Content-Length: 100\r\n\r\n\"half");
    let mut body = after(&daemon, HEALTH, "\r\n", body);
    stop(&daemon);
    for client in [&mut idle, &mut head, &mut body] {
        let rest = client.rest();
        // The end of the answer before; a request that has not come whole may be told so.
        assert!(!rest.contains("HTTP/1.1 2"), "{rest}");
    }
    let daemon = Daemon::start(daemon.into_project(), "");
    assert_eq!(daemon.settled()["accepted"], 0, "half a body is no task");
}

#[test]
fn who_waits_over_http_is_answered_and_then_closed() {
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
    while !follows.line().contains("watching") {}
    while daemon.status()["ledger"]["accepted"] != 2 {}
    let stopped = daemon.think("task:stop").exits(0);
    assert!(stopped.stderr.contains("Left for its next start: 2 tasks"), "{}", stopped.stderr);
    let answer = waits.rest();
    assert!(answer.starts_with("HTTP/1.1 ") && answer.contains("\"task_id\":1"), "{answer}");
    let rest = follows.rest();
    assert!(rest.contains("shutting_down") && rest.ends_with("0\r\n\r\n"), "{rest}");
}

#[test]
fn a_websocket_is_told_that_the_server_goes_away() {
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
        assert_eq!(closed(socket), CloseCode::Away);
    }
}

/// With which code the server closes.
fn closed(socket: &mut WebSocket<std::net::TcpStream>) -> CloseCode {
    let mut code = None;
    loop {
        match socket.read() {
            Ok(Message::Close(close)) => code = close.map(|close| close.code),
            Ok(_) => {}
            Err(Error::ConnectionClosed | Error::Io(_)) => return code.expect("the server says why"),
            Err(error) => panic!("{error} after {code:?}"),
        }
    }
}

#[test]
fn encrypted_connections_are_closed_with_a_notice() {
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
    // Without the notice, TLS takes the end for an attack.
    encrypted.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
    let end = handshake.stream().read_to_end(&mut rest);
    assert!(end.is_ok() || end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
}

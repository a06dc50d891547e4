//! Revoked tokens: whatever is open with one ends.

use serde_json::json;

use super::{ADMIN, NOOP, READER, SENDER, authenticated, guarded, write_secret};
use crate::harness::client::Client;
use crate::harness::eventually::wait_until;
use crate::harness::frames::FrameClient;
use crate::harness::server::Server;
use crate::harness::websocket::WebSocketClient;

/// Leaves only the token `ADMIN`.
fn revoke(server: &Server) {
    write_secret(&server.project, "tokens", &format!("{ADMIN} send, admin\n"));
}

/// A request over HTTP whose response has begun.
fn http(server: &Server, token: &str, request: &str) -> Client {
    let mut client = server.connect();
    let (line, body) = request.split_once('\n').unwrap_or((request, ""));
    client.send(format!(
        "{line} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
        server.address,
        body.len()
    ));
    client
}

#[test]
fn revoked_token_ends_connections_of_lines_and_frames_and_websockets() {
    let server = guarded("");
    let mut kept = authenticated(&server, ADMIN);
    let mut lines = authenticated(&server, SENDER);
    // It waits for a result that will not come.
    lines.send("{\"function\":\"noop\",\"delay\":\"1h\",\"reply\":\"result\"}\n");
    let mut reader = authenticated(&server, READER);
    let mut frames = FrameClient::connect(&server);
    assert!(frames.send(format!("auth {SENDER}")).text().contains("scopes"));
    let mut websocket = WebSocketClient::connect(&server);
    websocket.send(&format!("auth {SENDER}"));
    assert!(websocket.text().contains("scopes"));
    revoke(&server);
    for client in [&mut lines, &mut reader] {
        let last = client.rest();
        assert!(last.contains("unauthorized"), "{last}");
    }
    assert!(frames.text().contains("unauthorized"));
    assert_eq!(websocket.closed().reason, "the token is not valid any more");
    assert_eq!(kept.send(NOOP).json()["status"], "queued");
}

#[test]
fn token_with_other_scopes_has_to_be_shown_again() {
    let server = guarded("");
    let mut client = authenticated(&server, SENDER);
    write_secret(&server.project, "tokens", &format!("{SENDER} inspect\n"));
    assert!(client.rest().contains("unauthorized"));
    assert_eq!(authenticated(&server, SENDER).send(NOOP).json()["code"], "forbidden");
}

#[test]
fn connection_that_has_changed_its_token_depends_on_the_new_one() {
    let server = guarded("");
    let mut client = authenticated(&server, SENDER);
    assert!(client.send(format!("auth {ADMIN}\n")).line().contains("admin"));
    let mut other = authenticated(&server, SENDER);
    revoke(&server);
    assert!(other.rest().contains("unauthorized"));
    assert_eq!(client.send(NOOP).json()["status"], "queued");
}

#[test]
fn revoked_token_ends_http_streams_and_waits() {
    let server = guarded("");
    let mut events = http(&server, READER, "GET /events");
    assert!(events.line().contains("200"));
    let mut wait = http(&server, SENDER, "POST /tasks/noop?wait=5m&delay=1h");
    let mut many = server.connect();
    let task = json!({"function": "noop", "delay": "1h", "reply": "result"});
    let body = format!("{task}\n");
    many.send(format!(
        "POST /tasks HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {SENDER}\r\n\
         Content-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n{body}",
        server.address,
        body.len()
    ));
    let mut idle = http(&server, READER, "GET /status");
    assert!(idle.line().contains("200"));
    wait_until("both tasks wait", || {
        let status = authenticated(&server, READER).status();
        status["ledger"]["waiting"] == 2
    });
    revoke(&server);
    for client in [&mut events, &mut wait, &mut many, &mut idle] {
        client.rest();
    }
    assert!(http(&server, SENDER, "GET /status").line().contains("401"));
}

//! Pages of foreign sites, whose browser sends requests with any method, name and body to this machine.

use crate::harness::client::Client;
use crate::harness::server::Server;

/// A task in the body, as a page would hide it from a parser of lines.
const TASK: &str = "{\"function\":\"noop\"}\n";

fn accepted(server: &Server) -> u64 {
    server.ledger()["accepted"].as_u64().unwrap()
}

/// Sends bytes, of which the server may read only some, and returns what it answers until it closes.
fn answer(mut client: Client, bytes: &str) -> String {
    use std::io::{Read, Write};
    let stream = client.stream();
    let _ = stream.write_all(bytes.as_bytes());
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    // A reset after the answer is an end, too.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn request_with_any_method_is_http_and_comes_past_no_check() {
    let server = Server::with_settings("app_log = false\n");
    for start in [
        "FOO /x",
        "PROPFIND /",
        "get /",
        "post /tasks/noop",
        "\r\nPOST /",
        "\r\n\r\n\nM-SEARCH *",
        "X!#$%&'*+ /",
    ] {
        let head = format!("{start} HTTP/1.1\r\nHost: evil.test\r\nContent-Length: {}\r\n\r\n", TASK.len());
        let foreign = answer(server.connect(), &(head + TASK));
        assert!(foreign.starts_with("HTTP/1.1 403 ") && foreign.contains("hosts"), "{start:?}: {foreign}");
        let own = answer(server.connect(), &format!("{start} HTTP/1.1\r\nHost: localhost\r\n\r\n{TASK}"));
        assert!(own.starts_with("HTTP/1.1 40"), "{start:?}: {own}");
    }
    assert_eq!(accepted(&server), 0);
}

#[test]
fn request_with_any_method_is_http_before_a_token() {
    let server = Server::with_settings("tokens = \"quite-a-long-secret:send\"\n");
    for start in ["FOO /x", "get /"] {
        let foreign = answer(server.connect(), &format!("{start} HTTP/1.1\r\nHost: evil.test\r\n\r\n{TASK}"));
        assert!(foreign.starts_with("HTTP/1.1 403 "), "{start}: {foreign}");
    }
}

#[test]
fn http_within_lines_closes_the_connection() {
    let server = Server::with_settings("app_log = false\n");
    for beginning in [
        "hello\nPOST / HTTP/1.1\r\n".to_owned(),
        "\u{ff}\nhost: evil.test\r\n".to_owned(),
        format!("{} / HTTP/1.1\r\nHost: evil.test\r\n\r\n", "A".repeat(70_000)),
        format!("{} / HTTP/1.1\r\nHost: evil.test\r\n\r\n", "A".repeat(3 << 20)),
        format!("{{{}\nHost: evil.test\r\n\r\n", "A".repeat(100)),
    ] {
        let before = accepted(&server);
        let answer = answer(server.connect(), &format!("{beginning}{TASK}"));
        let last = answer.lines().last().unwrap_or_default();
        let is_closed = last.contains("bad_request") && last.contains("HTTP");
        assert!(is_closed || answer.starts_with("HTTP/1.1 431 "), "{answer}");
        assert!(accepted(&server) <= before + 1, "only the text before it may have become a task");
    }
}

#[test]
fn origin_is_loopback_only_as_a_whole() {
    let server = Server::with_settings("app_log = false\n");
    for origin in
        ["http://127.0.0.1:9706.evil.test", "http://localhost:80.evil.test", "http://evil.test@localhost"]
    {
        let request = format!("POST /tasks/noop HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\r\n");
        let refused = answer(server.connect(), &request);
        assert!(refused.starts_with("HTTP/1.1 403 "), "{origin}: {refused}");
    }
    for host in ["127.0.0.1:9706.evil.test", "evil.test@localhost"] {
        let refused = answer(server.connect(), &format!("GET /status HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert!(refused.starts_with("HTTP/1.1 400 "), "{host}: {refused}");
    }
    assert_eq!(accepted(&server), 0);
}

#[test]
fn every_http_answer_forbids_guessing_its_type_and_embedding_it() {
    let server = Server::with_settings("app_log = false\n");
    for request in [
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\n",
        "GET /nothing HTTP/1.1\r\nHost: localhost\r\n",
        "GET /healthz HTTP/1.1\r\nHost: evil.test\r\n",
        "OPTIONS /tasks HTTP/1.1\r\nHost: localhost\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nbro ken: x\r\n",
        "GET /healthz HTTP/1.1\r\nbroken\r\n",
    ] {
        let answer = answer(server.connect(), &format!("{request}\r\n")).to_lowercase();
        assert!(answer.contains("x-content-type-options: nosniff\r\n"), "{request}: {answer}");
        assert!(answer.contains("cross-origin-resource-policy: same-origin\r\n"), "{request}: {answer}");
    }
}

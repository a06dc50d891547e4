//! The limits of HTTP requests, and the response when one is exceeded.

use super::{ask, quiet, with_settings};
use crate::harness::curl::{Response, curl};
use crate::harness::server::Server;

fn limit(server: &Server, name: &str) -> u64 {
    server.status()["limits"][name].as_u64().unwrap()
}

#[test]
fn http_body_longer_than_the_limit_is_rejected() {
    let server = with_settings("package_max_length = 1000\n");
    let args = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
    curl(&server, &["--json", &args(1000), "/tasks/echo"]).is(202);
    assert_eq!(curl(&server, &["--json", &args(1001), "/tasks/echo"]).is(413).json()["code"], "too_long");
    let chunked = ["-H", "Transfer-Encoding: chunked", "--json", &args(1001), "/tasks/echo"];
    assert_eq!(curl(&server, &chunked).is(413).json()["code"], "too_long");
    let line = format!("{{\"function\":\"echo\",\"args\":{}}}\n{{\"function\":\"noop\"}}\n", args(1000));
    let many = curl(&server, &["-H", "Content-Type: application/x-ndjson", "--data-binary", &line, "/tasks"])
        .is(200);
    let answers: Vec<_> = many.body.lines().collect();
    assert!(answers[0].contains("too_long") && answers[1].contains("queued"), "{answers:?}");
    assert_eq!(limit(&server, "package_max_length"), 3);
}

#[test]
fn http_content_length_beyond_the_limit_is_rejected_at_once() {
    let server = quiet();
    let head = "Content-Type: application/json\r\nContent-Length: 9999999999\r\nExpect: 100-continue\r\n";
    let request = format!("POST /tasks/echo HTTP/1.1\r\nHost: {}\r\n{head}\r\n", server.address);
    assert_eq!(ask(&server, &request).is(413).header("connection"), Some("close"));
}

#[test]
fn http_head_longer_than_the_limit_is_rejected() {
    let server = quiet();
    let long =
        format!("GET /healthz HTTP/1.1\r\nHost: {}\r\nX: {}\r\n\r\n", server.address, "x".repeat(17 << 10));
    let many = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n{}\r\n", server.address, "X: y\r\n".repeat(101));
    for request in [long, many] {
        let response = ask(&server, &request).is(431);
        assert_eq!(response.header("content-type"), Some("application/problem+json"));
        assert!(response.json()["detail"].as_str().unwrap().contains("max_http_header"));
    }
    assert_eq!(limit(&server, "max_http_header"), 2);
    let url = format!("/healthz?{}", "x".repeat(9_000));
    assert_eq!(curl(&server, &[&url]).is(414).json()["code"], "too_long");
    assert_eq!(limit(&server, "max_http_url"), 1);
}

#[test]
fn http_header_timeout_applies_to_requests_only() {
    let server = with_settings("http_header_timeout = \"50ms\"\n");
    let mut client = server.connect();
    client.send("GET /healthz HTT");
    let late = Response::from(&mut client).is(408);
    assert!(late.json()["detail"].as_str().unwrap().contains("http_header_timeout"));
    assert_eq!(client.rest(), "");
    let mut client = server.connect();
    client.send(format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", server.address));
    Response::from(&mut client).is(200);
    assert_eq!(client.rest(), "", "it is closed without a word");
    assert!(limit(&server, "http_header_timeout") >= 1);
}

#[test]
fn http_body_timeout_ends_a_stalled_body() {
    let server = with_settings("http_body_timeout = \"50ms\"\n");
    let head = "Content-Type: application/json\r\nContent-Length: 3\r\n";
    let late =
        ask(&server, &format!("POST /tasks/echo HTTP/1.1\r\nHost: {}\r\n{head}\r\n\"", server.address))
            .is(408);
    assert!(late.json()["detail"].as_str().unwrap().contains("http_body_timeout"));
    assert_eq!(limit(&server, "http_body_timeout"), 1);
}

#[test]
fn http_body_timeout_ends_stalled_ndjson_after_its_replies() {
    let server = with_settings("http_body_timeout = \"50ms\"\n");
    let task = "{\"function\":\"noop\"}\n";
    let head = "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n";
    let request = format!("POST /tasks HTTP/1.1\r\nHost: {}\r\n{head}\r\n", server.address);
    let silent = server.connect().send(&request).rest();
    assert!(silent.starts_with("HTTP/1.1 408 ") && silent.contains("http_body_timeout"), "{silent}");
    let answer = server.connect().send(format!("{request}{:x}\r\n{task}\r\n", task.len())).rest();
    let (accepted, late) = (answer.find("queued").unwrap(), answer.find("http_body_timeout").unwrap());
    assert!(accepted < late, "{answer}");
    assert_eq!(limit(&server, "http_body_timeout"), 2);
}

#[test]
fn push_to_a_full_queue_is_busy_with_retry_after() {
    let server = with_settings("max_queue_length = 1\n");
    curl(&server, &["--json", "\"x\"", "/tasks/echo?delay=1h"]).is(202);
    let busy = curl(&server, &["--json", "\"x\"", "/tasks/echo?delay=1h"]).is(503);
    assert_eq!(busy.json()["code"], "busy");
    assert!(busy.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert!(busy.json()["retry_after_ms"].is_number());
}

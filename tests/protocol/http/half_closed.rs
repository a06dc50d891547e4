//! Clients that shut their sending side after their last request, and wait for the response.

use serde_json::{Value, json};

use super::quiet;
use crate::harness::curl::curl;

#[test]
fn response_reaches_a_client_that_sends_no_more() {
    let server = quiet();
    let post = |path: &str, headers: &str, body: &str| {
        let length = body.len();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {length}\r\n", server.address);
        server.connect().send(format!("{head}{headers}\r\n{body}")).end().rest()
    };
    let done = post("/tasks/echo?wait=60s", "", "\"x\"");
    // A client that waits long enough is asked whether it is still there.
    let done = done.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(&done);
    assert!(done.starts_with("HTTP/1.1 200") && done.contains("x -> OK"), "{done}");
    let queued = post("/tasks/echo", "", "\"x\"");
    assert!(queued.starts_with("HTTP/1.1 202"), "{queued}");
    let lines = "{\"function\":\"echo\",\"args\":\"x\",\"reply\":\"result\"}\n".repeat(50);
    let many = post("/tasks", "Content-Type: application/x-ndjson\r\n", &lines);
    assert_eq!(many.matches("x -> OK").count(), 50, "{many}");
    let status = server.connect().send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").end().rest();
    assert!(status.starts_with("HTTP/1.1 200"), "{status}");
}

#[test]
fn body_that_breaks_off_is_answered() {
    let server = quiet();
    let head = format!("Host: {}\r\nContent-Length: 100\r\nConnection: close\r\n", server.address);
    let single = server.connect().send(format!("POST /tasks/echo HTTP/1.1\r\n{head}\r\n\"x")).end().rest();
    assert!(single.contains("The body cannot be read"), "{single}");
    let lines = "Content-Type: application/x-ndjson\r\n\r\n{\"function\":\"noop\"}\n{\"fun";
    let many = server.connect().send(format!("POST /tasks HTTP/1.1\r\n{head}{lines}")).end().rest();
    assert!(many.contains("\"status\":\"queued\"") && many.contains("The body broke off"), "{many}");
}

#[test]
fn plus_sign_of_an_offset_is_named_where_it_is_lost() {
    let server = quiet();
    for name in ["at", "expires"] {
        let path = format!("/tasks/echo?{name}=2126-12-01T09:00:00+08:00");
        let refused: Value = curl(&server, &["--json", "\"x\"", &path]).is(400).json();
        assert!(refused["detail"].as_str().unwrap().contains("%2B"), "{refused}");
        curl(&server, &["--json", "\"x\"", &path.replace('+', "%2B")]).is(202);
    }
    let far = curl(&server, &["--json", "\"x\"", "/tasks/echo?at=9999-12-31T00:00:00Z"]).is(400).json();
    assert_eq!(far["code"], json!("bad_request"));
    assert!(far["detail"].as_str().unwrap().contains("before 9999-12-30T22:00:00Z"), "{far}");
}

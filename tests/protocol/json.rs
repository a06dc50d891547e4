//! JSON as people and editors write it: with a byte order mark, with line ends, and broken.

use serde_json::{Value, json};

use crate::harness::frames::FrameClient;
use crate::harness::server::Server;
use crate::harness::websocket::WebSocketClient;

const INDENTED: &str =
    "{\r\n  \"to\": \"ada@example.com\",\n\t\"title\": \"Hi\",\n  \"content\": \"a b\"\n}\n";

fn server() -> Server {
    Server::with_settings("app_log = false\ndefault_function = \"send_mail\"\n")
}

/// The arguments of a task as a line shows them, which is one line.
#[track_caller]
fn shown(server: &Server, task: u64) -> Value {
    let mut client = server.connect();
    client.send(format!("{{\"command\":\"show\",\"task\":{task}}}\n{{\"command\":\"queues\",\"id\":1}}\n"));
    let line = client.line();
    assert_eq!(client.json()["id"], 1, "one line is one reply");
    assert!(line.contains(r#""args":{"to":"ada@example.com","title":"Hi","content":"a b"}"#), "{line}");
    serde_json::from_str(&line).unwrap()
}

#[test]
fn arguments_with_line_ends_are_kept_in_one_line() {
    let server = server();
    let request = format!("{{\n\"function\": \"send_mail\",\n\"args\": {INDENTED} }}");
    let http = |path: &str, body: &str| {
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n", body.len());
        server.connect().send(format!("{head}Connection: close\r\n\r\n{body}")).rest()
    };
    assert!(http("/tasks/send_mail", INDENTED).starts_with("HTTP/1.1 202"));
    let mut framed = FrameClient::connect(&server);
    assert_eq!(framed.send(&request).json()["task_id"], 1);
    assert!(framed.send(INDENTED).text().contains("task_id: 2"), "the default function");
    let mut socket = WebSocketClient::connect(&server);
    socket.send(&request);
    assert_eq!(socket.json()["task_id"], 3);
    let carriage = request.replace(['\n', '\r', '\t'], "\r");
    assert_eq!(server.connect().send(format!("{carriage}\n")).json()["task_id"], 4);
    for task in 0..5 {
        shown(&server, task);
    }
    let of_http =
        server.connect().send("GET /tasks/0 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").rest();
    assert!(of_http.starts_with("HTTP/1.1 200"), "{of_http}");
}

#[test]
fn byte_order_mark_is_skipped() {
    let server = server();
    let mail = "\u{feff}{\"to\":\"ada@example.com\",\"title\":\"Hi\",\"content\":\"a b\"}";
    assert!(server.connect().send(format!("{mail}\r\n")).line().contains("task_id: 0"));
    let mut framed = FrameClient::connect(&server);
    assert!(framed.send(mail).text().contains("task_id: 1"));
    let http = format!(
        "POST /tasks/send_mail HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{mail}",
        mail.len()
    );
    assert!(server.connect().send(http).line().starts_with("HTTP/1.1 202"));
    let lines = "\u{feff}{\"function\":\"echo\",\"args\":\"x\"}\n";
    let head = format!(
        "Host: localhost\r\nContent-Type: application/x-ndjson\r\nContent-Length: {}\r\n",
        lines.len()
    );
    let many = server
        .connect()
        .send(format!("POST /tasks HTTP/1.1\r\n{head}Connection: close\r\n\r\n{lines}"))
        .rest();
    assert!(many.contains("\"task_id\":3"), "{many}");
    for task in 0..3 {
        assert_eq!(shown(&server, task)["result"]["function"], "send_mail");
    }
}

#[test]
fn telnet_negotiation_and_empty_lines_are_nothing() {
    let server = server();
    let mut putty = server.connect();
    putty.send(b"\xff\xfb\x1f\xff\xfb\x20\xff\xfb\x18\xff\xfb\x27\xff\xfd\x01\xff\xfb\x03\xff\xfd\x03");
    assert_eq!(putty.send("\r\n \r\n{\"function\":\"noop\"}\r\n").json()["task_id"], 0);
    assert_eq!(putty.send(b"\xff\xf4\xff\xfd\x06{\"function\":\"noop\"}\r\n").json()["task_id"], 1);
    assert_eq!(server.connect().send("\r\n\n").end().rest(), "");
    let guarded = Server::with_settings("tokens = \"quite-a-long-secret:send\"\n");
    let answer = guarded.connect().send(b"\xff\xfb\x1fauth quite-a-long-secret\r\n").json();
    assert_eq!(answer["result"], json!({"scopes": ["send"]}));
}

#[test]
fn what_was_meant_as_json_is_refused_with_the_place_where_it_breaks() {
    let server = server();
    for (message, says) in [
        ("{\"function\":\"noop\",}", "line 1 column 20"),
        ("{\"function\":\"echo\",\"args\":\"a}", "EOF while parsing a string"),
        ("{'function':'noop'}", "line 1 column 2"),
        ("[{\"function\":\"noop\"}]", "not an array"),
        ("[1,2]", "not an array"),
    ] {
        let mut framed = FrameClient::connect(&server);
        let mut socket = WebSocketClient::connect(&server);
        socket.send(message);
        let lines = server.connect().send(format!("{message}\n")).json();
        for answer in [lines, framed.send(message).json(), socket.json()] {
            assert_eq!(answer["code"], "bad_request", "{message}: {answer}");
            assert!(answer["error"].as_str().unwrap().contains(says), "{message}: {answer}");
        }
    }
    assert_eq!(server.ledger()["accepted"], 0);
    assert!(server.connect().send("[12:00] started\n").line().contains("task_id: 0"), "text may begin so");
}

#[test]
fn names_of_clients_are_cut_in_errors() {
    let server = server();
    let huge = "x".repeat(1 << 20);
    for request in [
        format!("{{\"function\":\"{huge}\"}}"),
        format!("{{\"command\":\"{huge}\"}}"),
        format!("{{\"function\":\"noop\",\"{huge}\":1}}"),
        format!("{{\"function\":\"noop\",\"queue\":\"{huge}\"}}"),
        format!("{{\"function\":\"noop\",\"then\":\"{huge}\"}}"),
        format!("{{\"command\":\"show\",\"{huge}\":1}}"),
        format!("{{\"command\":\"status\",\"{huge}\":1,\"{huge}\":2}}"),
        format!("{{\"function\":\"send_mail\",\"args\":{{\"{huge}\":1}}}}"),
        format!("{{\"{huge}\":1}}"),
        format!("{{\"function\":\"noop\",\"id\":\"{huge}\"}}"),
    ] {
        let answer = server.connect().send(request.clone() + "\n").line();
        assert!(answer.contains("\"error\"") && answer.len() < 1024, "{}: {answer:.2000}", &request[..40]);
    }
}

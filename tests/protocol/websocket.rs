//! WebSocket on the same port: its messages are the messages of any connection.

use std::process::Command;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::json;
use tungstenite::Message;
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};

use crate::harness::eventually::PATIENCE;
use crate::harness::server::Server;
use crate::harness::websocket::{WebSocketClient, open_by_hand};
use crate::harness::{Ran, installed, project_root};

#[test]
fn websocket_messages_are_requests_or_raw_data() {
    let server = Server::start();
    let mut peer = WebSocketClient::connect(&server);
    peer.send(r#"{"function":"echo","args":"hi","id":1,"reply":"both"}"#);
    assert_eq!(peer.json()["status"], "queued");
    assert_eq!(peer.json(), json!({"id": 1, "task_id": 0, "status": "done", "result": "hi -> OK"}));
    peer.send("666");
    assert_eq!(peer.text(), "Message from Server: 666, task_id: 1");
    peer.socket.send(Message::binary(&b"{\"function\":\"noop\",\"args\":null}"[..])).unwrap();
    assert_eq!(peer.json(), json!({"task_id": 2, "status": "queued", "durability": "fsync"}));
    peer.send("two\nlines");
    assert_eq!(
        peer.text(),
        "Message from Server: two\nlines, task_id: 3",
        "one message with any number of lines"
    );
    peer.send("");
    assert_eq!(peer.text(), "Message from Server: , task_id: 4");
}

#[test]
fn websocket_help_is_one_message() {
    let server = Server::start();
    let mut peer = WebSocketClient::connect(&server);
    peer.send("?");
    peer.send("x");
    let help = peer.text();
    assert!(help.starts_with("One message") && help.contains("on_receive"), "{help}");
    assert_eq!(peer.text(), "Message from Server: x, task_id: 0");
}

#[test]
fn websocket_messages_are_answered_in_order() {
    const COUNT: usize = 20_000;
    let server = Server::with_settings("app_log = false\n");
    let mut peer = WebSocketClient::connect(&server);
    let mut writing = peer.sender();
    let writer = std::thread::spawn(move || {
        for id in 0..COUNT {
            writing
                .write(Message::text(format!("{{\"function\":\"noop\",\"id\":{id},\"args\":null}}")))
                .unwrap();
        }
        writing.flush().unwrap();
    });
    for id in 0..COUNT {
        assert_eq!(peer.json()["id"], id);
    }
    writer.join().unwrap();
}

#[test]
fn websocket_message_longer_than_the_limit_closes_with_1009() {
    let server = Server::with_settings("package_max_length = 64\n");
    let longest = "x".repeat(64);
    let mut peer = WebSocketClient::connect(&server);
    peer.send(&longest);
    assert!(peer.text().contains(&longest));
    peer.send(&format!("{longest}y"));
    assert_eq!(peer.closed().code, CloseCode::Size);

    // In fragments, each of which is within the limit.
    let mut peer = WebSocketClient::connect(&server);
    for (opcode, is_last) in [(Data::Text, false), (Data::Continue, false), (Data::Continue, true)] {
        let frame = Frame::message(vec![b'x'; 30], OpCode::Data(opcode), is_last);
        peer.socket.send(Message::Frame(frame)).unwrap();
    }
    assert_eq!(peer.closed().code, CloseCode::Size);
    assert_eq!(server.status()["limits"]["package_max_length"], 2);
}

#[test]
fn websocket_messages_before_an_invalid_one_are_tasks() {
    let server = Server::start();
    let mut peer = WebSocketClient::connect(&server);
    peer.socket.write(Message::text("good")).unwrap();
    let broken = Frame::message(&b"\xff"[..], OpCode::Data(Data::Text), true);
    peer.socket.write(Message::Frame(broken)).unwrap();
    peer.socket.flush().unwrap();
    assert_eq!(peer.text(), "Message from Server: good, task_id: 0");
    assert_eq!(peer.closed().code, CloseCode::Invalid);
}

#[test]
fn websocket_close_is_answered_after_the_last_messages() {
    let mut server = Server::start();
    let mut peer = WebSocketClient::connect(&server);
    peer.socket.write(Message::text("fire and forget")).unwrap();
    peer.socket.close(Some(CloseFrame { code: CloseCode::Normal, reason: "bye".into() })).unwrap();
    assert_eq!(peer.closed(), CloseFrame { code: CloseCode::Normal, reason: "bye".into() });
    server.line_with("AsyncTask[0] Finish: fire and forget -> OK");
    server.line_with("Close");
}

#[test]
fn stop_closes_websockets_with_1001_after_the_replies() {
    let mut server = Server::start();
    let (mut idle, mut busy) = (WebSocketClient::connect(&server), WebSocketClient::connect(&server));
    idle.send("x");
    idle.text();
    busy.send(r#"{"function":"noop","args":null,"reply":"both","delay":"1h"}"#);
    busy.text();
    server.signal(Signal::TERM);
    assert_eq!(busy.json()["code"], "shutting_down", "the server does not wait for an hour");
    for mut peer in [idle, busy] {
        assert_eq!(peer.closed().code, CloseCode::Away);
    }
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn websocket_ping_unanswered_twice_closes_the_connection() {
    let server = Server::with_settings("websocket_ping_interval = \"20ms\"\n");
    // Reads and never answers, as if the machine of the client had lost its power.
    assert_eq!(open_by_hand(&server).rest_bytes(), [0x89, 0, 0x89, 0], "two pings");
    assert_eq!(server.status()["limits"]["websocket_ping_interval"], 1);
}

#[test]
fn websocket_ping_is_answered_with_its_payload() {
    let server = Server::start();
    let mut peer = WebSocketClient::connect(&server);
    peer.socket.send(Message::Ping("are you there".into())).unwrap();
    assert_eq!(peer.socket.read().unwrap(), Message::Pong("are you there".into()));
}

#[test]
fn websocket_that_never_reads_is_closed_and_counted() {
    let server = Server::with_settings("max_output_buffer = \"64KiB\"\napp_log = false\n");
    let mut deaf = WebSocketClient::connect(&server);
    let text = "x".repeat(10_000);
    let request = json!({"function": "echo", "args": text, "id": 1, "reply": "result"}).to_string();
    // Far more than the buffers of both systems hold.
    let deadline = Instant::now() + PATIENCE;
    while deaf.socket.send(Message::text(&request)).is_ok() {
        assert!(Instant::now() < deadline, "the server reads without bound");
    }
    assert_eq!(server.status()["limits"]["max_output_buffer"], 1);
    assert_eq!(
        server.connect().send("others\n").line().split(',').next(),
        Some("Message from Server: others")
    );
}

#[test]
fn websocket_handshake_that_is_invalid_is_answered_in_http() {
    let server = Server::start();
    let ask = |path: &str, headers: &str| {
        let mut client = server.connect();
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\n{headers}\r\n"
        ));
        client.line()
    };
    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";
    assert!(ask("/", &format!("{KEY}{VERSION}")).starts_with("HTTP/1.1 101"));
    assert!(ask("/tasks", &format!("{KEY}{VERSION}")).starts_with("HTTP/1.1 400"));
    assert!(ask("/", KEY).starts_with("HTTP/1.1 426"));
    assert!(ask("/", VERSION).starts_with("HTTP/1.1 400"));
    assert!(ask("/", &format!("{KEY}{VERSION}Origin: http://evil.test\r\n")).starts_with("HTTP/1.1 403"));
    assert!(ask("/", &format!("{KEY}{VERSION}Origin: null\r\n")).starts_with("HTTP/1.1 403"));
    assert!(
        ask("/", &format!("{KEY}{VERSION}Origin: http://localhost:8080\r\n")).starts_with("HTTP/1.1 101")
    );
}

#[test]
fn websocket_first_message_may_authenticate() {
    let server = Server::with_settings("tokens = \"quite-a-long-secret:send+inspect\"\n");
    let mut peer = WebSocketClient::connect(&server);
    peer.socket.write(Message::text(r#"{"command":"auth","token":"quite-a-long-secret","id":1}"#)).unwrap();
    peer.socket.write(Message::text("hello")).unwrap();
    peer.socket.flush().unwrap();
    assert_eq!(peer.json(), json!({"id": 1, "status": "ok", "result": {"scopes": ["send", "inspect"]}}));
    assert_eq!(peer.text(), "Message from Server: hello, task_id: 0");
    for first in ["hello", "auth wrong", r#"{"command":"status"}"#] {
        let mut peer = WebSocketClient::connect(&server);
        peer.send(first);
        assert_eq!(peer.json()["code"], "unauthorized", "{first}");
        assert_eq!(peer.closed().code, CloseCode::Policy);
    }
}

#[test]
fn websocket_subprotocol_may_carry_the_token() {
    let server = Server::with_settings("tokens = \"quite-a-long-secret:send\"\n");
    let open = |protocols: &'static str| {
        let mut request = format!("ws://{}/", server.address).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", protocols.parse().unwrap());
        let opened = tungstenite::client(request, server.connect().into_stream());
        opened.map_err(|error| error.to_string())
    };
    let (socket, response) = open("think, bearer.quite-a-long-secret").unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "think", "the secret is not repeated");
    let mut peer = WebSocketClient { socket };
    peer.send("hello");
    assert_eq!(peer.text(), "Message from Server: hello, task_id: 0");
    peer.send(r#"{"command":"queues"}"#);
    assert_eq!(peer.json()["code"], "forbidden");
    assert!(open("think, bearer.quite-a-wrong-secret").is_err());
}

#[test]
fn websocket_opens_at_the_path_and_with_the_subprotocol_of_the_settings() {
    let server =
        Server::with_settings("websocket_path = \"/socket\"\nwebsocket_protocols = [\"chat\", \"think\"]\n");
    let open = |path: &str| {
        let mut request = format!("ws://{}{path}", server.address).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "other, think, chat".parse().unwrap());
        tungstenite::client(request, server.connect().into_stream()).ok().map(|(_, response)| response)
    };
    let response = open("/socket").expect("the path of the settings opens");
    assert_eq!(response.headers()["sec-websocket-protocol"], "think");
    assert!(open("/").is_none());
}

#[test]
fn websocket_on_a_listener_without_it_is_rejected() {
    let server = Server::with_settings("protocols = [\"lines\", \"http\"]\n");
    let refused = tungstenite::client(format!("ws://{}/", server.address), server.connect().into_stream());
    assert!(refused.is_err_and(|error| error.to_string().contains("501")));
}

#[test]
fn websocket_conformance_suite_passes() {
    let server = Server::with_settings("package_max_length = 100000\napp_log = false\n");
    let ran = Ran::of(
        Command::new(installed())
            .arg(project_root().join("tests/protocol/websocket/conformance.py"))
            .arg(&server.address),
    )
    .exits(0);
    let failed: Vec<_> = ran.stdout.lines().filter(|line| !line.starts_with("ok ")).collect();
    assert!(failed.is_empty(), "{failed:#?}\n{}", ran.stderr);
    assert!(ran.stdout.lines().count() > 60, "{}", ran.stdout);
    let ledger = &server.status()["ledger"];
    assert_eq!(ledger["accepted"], ledger["done"], "{ledger}");
}

//! Listeners: their addresses, protocols and sockets, and the rejection of other protocols.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::Project;
use crate::harness::client::{Client, ask_unix, tcp};
use crate::harness::frames::{frame, read_frame};
use crate::harness::server::Server;

/// The addresses of the status.
fn addresses(server: &Server) -> Vec<Value> {
    server.status()["addresses"].as_array().unwrap().clone()
}

fn address(server: &Server, index: usize) -> String {
    addresses(server)[index]["address"].as_str().unwrap().to_owned()
}

/// Sends this, and reads everything until the server closes.
fn ask(address: &str, request: &[u8]) -> Vec<u8> {
    let mut stream = tcp(address);
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

#[test]
fn listener_has_its_own_protocols_and_default_reply() {
    let server = Server::with_settings(
        "[[listeners]]\nport = 0\nprotocols = [\"lines\"]\nreply = \"result\"\n\
         [[listeners]]\nhost = \"::1\"\nport = 0\nprotocols = [\"frames\", \"http\"]\n",
    );
    let listeners = addresses(&server);
    let spoken: Vec<_> = listeners.iter().map(|listener| listener["protocols"].clone()).collect();
    let all = json!(["lines", "frames", "http", "websocket"]);
    assert_eq!(spoken, [all, json!(["lines"]), json!(["frames", "http"]), json!(["lines"])]);
    assert!(listeners.iter().all(|listener| listener["tls"] == false && listener["auth"] == "none"));

    let request = b"{\"function\":\"echo\",\"args\":\"hello\",\"id\":1}\n";
    let mut client = Client::connect(&address(&server, 1));
    assert_eq!(client.send(request).json()["status"], "done", "the default reply of this listener");
    assert_eq!(server.connect().send(request).json()["status"], "queued", "and of the first");
    let six = address(&server, 2);
    assert!(six.starts_with("[::1]:"), "{six}");
    let mut stream = tcp(&six);
    stream.write_all(&frame("{\"command\":\"status\"}")).unwrap();
    assert!(read_frame(&mut stream).unwrap().len() > 100);
}

#[test]
fn listener_rejects_other_protocols_in_their_own_form() {
    let server = Server::with_settings(
        "[[listeners]]\nport = 0\nprotocols = [\"http\"]\n[[listeners]]\nport = 0\nprotocols = [\"lines\"]\n",
    );
    let (http, lines) = (address(&server, 1), address(&server, 2));
    let code = |json: &[u8]| serde_json::from_slice::<Value>(json).unwrap()["code"].clone();

    let line = ask(&http, b"hello\n");
    assert_eq!(code(&line), "unknown_protocol", "{}", String::from_utf8_lossy(&line));
    assert!(String::from_utf8_lossy(&line).contains("but http."));
    let answer = ask(&http, &frame("hello"));
    assert_eq!(code(&read_frame(&mut &answer[..]).unwrap()), "unknown_protocol");
    let answer = ask(&lines, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 501 ") && answer.contains("application/problem+json"), "{answer}");
    assert_eq!(code(answer.split_once("\r\n\r\n").unwrap().1.as_bytes()), "unknown_protocol");
    let alert = ask(&lines, b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03 and a long hello");
    assert_eq!((alert[0], alert[5]), (0x15, 2), "a fatal alert: {alert:?}");
}

#[test]
fn listener_rejection_is_readable_after_a_long_write() {
    let server = Server::with_settings("protocols = [\"http\"]\n");
    let mut stream = tcp(&server.address);
    stream.write_all(&b"x".repeat(1 << 20)).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("unknown_protocol"), "{answer:?}");
}

#[test]
fn unix_socket_is_private_and_removed_at_the_end() {
    let project = Project::new();
    project.write("config/server.toml", "[[listeners]]\nhost = \"unix:runtime/deep/think.sock\"\n");
    let mut server = Server::with(project, "");
    let path = server.project.path("runtime/deep/think.sock");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(address(&server, 1), "unix:runtime/deep/think.sock");
    assert!(ask_unix(&path, b"{\"function\":\"noop\"}\n").contains("\"queued\""));
    server.signal(Signal::INT);
    assert_eq!(server.exit_code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn stale_unix_socket_is_removed_and_a_live_one_is_kept() {
    let server = Server::with_settings("");
    let path = server.control_socket();
    assert!(path.exists());
    server.signal(Signal::KILL);
    let server = server.again("");
    assert!(ask_unix(&path, b"{\"command\":\"status\"}\n").contains("\"ok\""));
    drop(server);

    let project = Project::new();
    std::fs::create_dir(project.path("runtime")).unwrap();
    let socket = project.path("runtime/server.sock");
    let alive = UnixListener::bind(&socket).unwrap();
    let ran = project.think("task:start --port 0");
    assert!(ran.code != Some(0) && ran.stderr.contains("a server answers at"), "{ran:?}");
    assert!(socket.exists());
    drop(alive);
    std::fs::remove_file(&socket).unwrap();
    std::fs::write(&socket, "dear diary").unwrap();
    let ran = project.think("task:start --port 0").exits(1);
    assert!(ran.stderr.contains("exists and is not a socket"), "{ran:?}");
    assert_eq!(project.read("runtime/server.sock"), "dear diary");
}

#[test]
fn overlong_socket_path_is_rejected_except_for_control() {
    let long = "x".repeat(120);
    let project = Project::new();
    project.write("config/server.toml", &format!("host = \"unix:runtime/{long}\"\n"));
    let ran = project.think("task:start").exits(1);
    assert!(ran.stderr.contains("too long for a Unix socket"), "{ran:?}");
    project.write("config/server.toml", &format!("control_socket = \"runtime/{long}\"\n"));
    let server = Server::with(project, "");
    assert_eq!(addresses(&server).len(), 1);
}

#[test]
fn control_socket_is_exempt_from_max_connection() {
    let server = Server::with_settings("max_connection = 1\n");
    let mut only = server.connect();
    only.send("x\n").line();
    assert_eq!(server.connect().json()["code"], "too_many_connections");
    let line = ask_unix(&server.control_socket(), b"{\"command\":\"status\"}\n");
    let status: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(status["result"]["limits"]["max_connection"], 1, "{line}");
}

#[test]
fn invalid_listener_is_named() {
    for (settings, says) in [
        (
            "[[listeners]]\nprot = 1\n",
            "config/server.toml:2: `listeners` has no setting `prot`; did you mean `port`?",
        ),
        ("[[listeners]]\nport = 1\nprotocols = [\"htp\"]\n", "not `htp`; did you mean `http`?"),
        ("[[listeners]]\nhost = \"::1\"\n", "`listeners` need a `port`"),
        ("[[listeners]]\nhost = \"unix:x\"\nport = 1\n", "need no `port` for a Unix socket"),
        ("[[listeners]]\nport = 1\nprotocols = []\n", "need one of the `protocols`"),
        ("[[listeners]]\nport = 1\nssl_cert_file = \"x\"\n", "both `ssl_cert_file` and `ssl_key_file`"),
        ("auth = \"token\"\n", "there are none: set `tokens_file`"),
        ("open_websocket_protocol = true\n", "write \"websocket\" among `protocols`"),
    ] {
        let project = Project::new();
        project.write("config/server.toml", settings);
        let ran = project.think("task:start --port 0").exits(1);
        assert!(ran.stderr.contains(says), "{says}: {ran:?}");
    }
}

#[test]
fn listener_on_every_address_requires_authentication() {
    for listener in ["host = \"0.0.0.0\"", "host = \"::\""] {
        let project = Project::new();
        project.write("config/server.toml", &format!("[[listeners]]\n{listener}\nport = 0\n"));
        let ran = project.think("task:start --port 0").exits(1);
        assert!(ran.stderr.contains("no token is required there"), "{ran:?}");
    }
}

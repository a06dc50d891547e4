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
fn listener_of_http_waits_for_a_request_no_longer_than_for_its_header() {
    let server = Server::with_settings(
        "http_header_timeout = \"100ms\"\n[[listeners]]\nport = 0\nprotocols = [\"http\"]\n",
    );
    let address = address(&server, 1);
    for beginning in [&b""[..], b"\r\n", b"FROB /tas"] {
        let mut stream = tcp(&address);
        stream.write_all(beginning).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer.contains("unknown_protocol"), !beginning.is_empty(), "{answer:?}");
    }
    assert_eq!(server.status()["limits"]["http_header_timeout"], 3);
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
fn listener_behind_a_proxy_knows_the_client_from_its_header() {
    let settings = "max_connection_per_address = 2\nauth_timeout = \"300ms\"\n[[listeners]]\nport = 0\nproxy_protocol = true\n";
    let server = Server::with_settings(settings);
    let address = address(&server, 1);
    let text = "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n";
    let binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x01\xdc\x04\x01\xbb";
    let mut clients = [Client::connect(&address), Client::connect(&address)];
    clients[0].send(format!("{text}{{\"command\":\"connections\"}}\n"));
    assert_eq!(clients[0].json()["result"][0]["peer"], "192.0.2.1:56324");
    clients[1].send(binary).send("{\"command\":\"connections\"}\n");
    assert_eq!(clients[1].json()["result"][1]["peer"], "192.0.2.1:56324");
    // The limit is that of the client, not of the proxy.
    assert_eq!(Client::connect(&address).send(text).json()["code"], "too_many_connections");
    let mut other = Client::connect(&address);
    let healthy = other.send("PROXY UNKNOWN\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").line();
    assert!(healthy.starts_with("HTTP/1.1 200"), "{healthy}");
    drop((clients, other));
    for without in
        ["{\"command\":\"connections\"}\n", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "PROXY TC"]
    {
        let mut client = Client::connect(&address);
        let _ = client.stream().write_all(without.as_bytes());
        let mut answer = String::new();
        // It is closed, or reset with what was not read.
        let _ = client.stream().read_to_string(&mut answer);
        assert_eq!(answer, "", "{without}");
    }
    let limits = &server.status()["limits"];
    assert_eq!((&limits["proxy_header"], &limits["auth_timeout"]), (&json!(2), &json!(1)), "{limits}");
}

#[test]
fn invalid_listener_is_named() {
    for (settings, says) in [
        (
            "[[listeners]]\nprot = 1\n",
            "config/server.toml:2: `listeners` has no setting `prot`; did you mean `port`?",
        ),
        ("[[listeners]]\nport = 1\nprotocols = [\"htp\"]\n", "not `htp`; did you mean `http`?"),
        ("[[listeners]]\nhost = \"::1\"\n", "`listeners` number 1: `port` is missing; 0 takes a free one"),
        ("[[listeners]]\nhost = \"unix:x\"\nport = 1\n", "`port` is not for a Unix socket: remove it"),
        ("[[listeners]]\nport = 1\nprotocols = []\n", "`protocols` must have at least one of lines"),
        ("[[listeners]]\nport = 1\nssl_cert_file = \"x\"\n", "`ssl_cert_file` needs `ssl_key_file`"),
        ("host = \"\"\n", ": `host` must not be empty"),
        ("protocols = []\n", ": `protocols` must have at least one of lines"),
        ("websocket_path = \"socket\"\n", "such as \"/socket\""),
        ("websocket_protocols = [\"bearer.x\"]\n", "do not begin with \"bearer.\""),
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

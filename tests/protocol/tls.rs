//! TLS on the port of the other protocols: certificates, their reload, and client certificates.

use std::io::{BufRead, BufReader, Read, Write};

use serde_json::Value;

use crate::harness::Project;
use crate::harness::certificates::Authority;
use crate::harness::client::Client;
use crate::harness::eventually::wait_until;
use crate::harness::frames::{frame, read_frame};
use crate::harness::server::Server;
use crate::harness::tls::{Encrypted, connect};

const NOOP: &str = "{\"function\":\"noop\",\"id\":1}\n";
const PAIR: &str = "ssl_cert_file = \"server.crt\"\nssl_key_file = \"server.key\"\n";

/// Sends one line, and reads one.
fn ask(stream: &mut Encrypted, request: &str) -> std::io::Result<Value> {
    stream.write_all(request.as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    serde_json::from_str(&line).map_err(Into::into)
}

fn project(authority: &Authority, settings: &str) -> Project {
    let project = Project::new();
    authority.issue("localhost").write(&project, "server");
    project.write("config/server.toml", &format!("{PAIR}{settings}"));
    project
}

#[test]
fn tls_and_plain_clients_share_the_port() {
    let authority = Authority::new();
    let server = Server::with(project(&authority, ""), "");
    let mut encrypted = connect(&server.address, &authority, None);
    assert_eq!(ask(&mut encrypted, NOOP).unwrap()["status"], "queued");
    assert_eq!(server.connect().send(NOOP).json()["status"], "queued");
    // The protocol is detected from the first bytes within TLS.
    let mut framed = connect(&server.address, &authority, None);
    framed.write_all(&frame("{\"command\":\"status\"}")).unwrap();
    assert!(read_frame(&mut framed).unwrap().len() > 100);
    let mut http = connect(&server.address, &authority, None);
    http.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    http.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let mut nested = connect(&server.address, &authority, None);
    nested.write_all(b"\x16\x03\x01\x02\0\x01").unwrap();
    let mut alert = [0; 7];
    nested.read_exact(&mut alert).unwrap();
    assert_eq!((alert[0], alert[5]), (0x15, 2), "no TLS within TLS");
}

#[test]
fn tls_carries_websockets() {
    let authority = Authority::new();
    let server = Server::with(project(&authority, "ssl_required = true\n"), "");
    let stream = connect(&server.address, &authority, None);
    let (mut socket, _) = tungstenite::client("ws://localhost/", stream).unwrap();
    socket.send(NOOP.into()).unwrap();
    let answer: Value = serde_json::from_str(socket.read().unwrap().to_text().unwrap()).unwrap();
    assert_eq!((&answer["status"], &answer["id"]), (&"queued".into(), &1.into()));
}

#[test]
fn tls_delivers_large_messages_before_close_notify() {
    let authority = Authority::new();
    let server = Server::with(project(&authority, ""), "");
    let mut stream = connect(&server.address, &authority, None);
    let text = "x".repeat(100_000);
    for id in 0..20 {
        let request =
            format!("{{\"function\":\"echo\",\"args\":\"{text}\",\"reply\":\"result\",\"id\":{id}}}\n");
        stream.write_all(request.as_bytes()).unwrap();
    }
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    let mut lines: Vec<String> = BufReader::new(stream).lines().map(Result::unwrap).collect();
    assert_eq!(lines.len(), 20);
    assert!(lines.drain(..).all(|line| line.contains("\"done\"") && line.contains(&text)));
}

#[test]
fn ssl_required_rejects_plain_clients() {
    let authority = Authority::new();
    let server = Server::with(project(&authority, "ssl_required = true\n"), "");
    let refusal = server.connect().send(NOOP).json();
    assert!(
        refusal["code"] == "unknown_protocol" && refusal["error"].as_str().unwrap().contains("TLS"),
        "{refusal}"
    );
    let answer = server.connect().send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").rest();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("TLS"), "{answer}");
    let mut encrypted = connect(&server.address, &authority, None);
    assert_eq!(ask(&mut encrypted, NOOP).unwrap()["status"], "queued");
}

#[test]
fn tls_certificate_is_reloaded_unless_it_is_invalid() {
    let (first, second) = (Authority::new(), Authority::new());
    let mut server = Server::with(project(&first, ""), "");
    let mut open = connect(&server.address, &first, None);
    assert_eq!(ask(&mut open, NOOP).unwrap()["status"], "queued");

    second.issue("localhost").write(&server.project, "server");
    wait_until("the new certificate is used", || {
        ask(&mut connect(&server.address, &second, None), NOOP).is_ok()
    });
    server.line_with("ssl_cert_file: the change is in force");
    assert!(ask(&mut connect(&server.address, &first, None), NOOP).is_err());
    assert_eq!(ask(&mut open, NOOP).unwrap()["status"], "queued", "an open connection stays");

    server.project.write("server.crt", "-----BEGIN CERTIFICATE-----\n");
    wait_until("the broken certificate is reported", || {
        assert!(ask(&mut connect(&server.address, &second, None), NOOP).is_ok());
        server.has_printed("ssl_cert_file: the change is not taken over")
    });
    assert_eq!(ask(&mut connect(&server.address, &second, None), NOOP).unwrap()["status"], "queued");
}

#[test]
fn tls_client_certificate_authenticates() {
    let (servers, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let project = project(&servers, "ssl_client_cert_file = \"clients.crt\"\n");
    project.write("clients.crt", &clients.pem());
    // The start is accepted, although others reach the address.
    let server = Server::with(project, "--host 0.0.0.0");
    let address = server.address.replace("0.0.0.0", "127.0.0.1");
    let (known, strange) = (clients.issue("client"), strangers.issue("client"));
    let mut client = connect(&address, &servers, Some(&known));
    assert_eq!(ask(&mut client, "{\"command\":\"status\"}\n").unwrap()["status"], "ok");
    assert!(ask(&mut connect(&address, &servers, None), NOOP).is_err());
    assert!(ask(&mut connect(&address, &servers, Some(&strange)), NOOP).is_err());
    let mut plain = Client::connect(&address);
    assert_eq!(plain.send(NOOP).json()["code"], "unknown_protocol");
}

#[test]
fn tls_handshake_ends_after_auth_timeout() {
    let authority = Authority::new();
    let server = Server::with(project(&authority, "auth_timeout = \"50ms\"\n"), "");
    let mut client = server.connect();
    client.send(b"\x16\x03\x01\x02\0\x01");
    assert_eq!(client.rest(), "");
    assert_eq!(server.status()["limits"]["auth_timeout"], 1);
}

#[test]
fn tls_handshake_of_garbage_gets_an_alert() {
    let authority = Authority::new();
    let server = Server::with(project(&authority, ""), "");
    let mut client = server.connect();
    client.send(b"\x16\x03\x01\0\x05\x01\0\0\x01\xff");
    let mut alert = Vec::new();
    client.stream().read_to_end(&mut alert).unwrap();
    assert_eq!((alert.first(), alert.get(5)), (Some(&0x15), Some(&2)), "{alert:?}");
}

#[test]
fn tls_files_that_do_not_match_prevent_the_start() {
    let authority = Authority::new();
    let error_of = |project: &Project| project.think("task:start --port 0").exits(1).stderr;
    let project = project(&authority, "");
    authority.issue("localhost").write(&project, "other");
    std::fs::copy(project.path("other.key"), project.path("server.key")).unwrap();
    assert!(error_of(&project).contains("do not fit together"), "{}", error_of(&project));
    project.write("server.key", "no key");
    assert!(error_of(&project).contains("no private key can be read"), "{}", error_of(&project));
    project.write("server.crt", "");
    std::fs::copy(project.path("other.key"), project.path("server.key")).unwrap();
    assert!(error_of(&project).contains("holds no certificate"), "{}", error_of(&project));
}

//! Lines: how they are split and limited, and clients that misbehave.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::harness::client::tcp;
use crate::harness::eventually::wait_until;
use crate::harness::server::Server;

fn noop(id: usize) -> String {
    format!("{{\"function\":\"noop\",\"id\":{id},\"args\":null}}\n")
}

#[test]
fn line_byte_by_byte_is_one_message() {
    let server = Server::start();
    let mut client = server.connect();
    for byte in noop(7).into_bytes() {
        client.send([byte]);
    }
    assert_eq!(client.line(), "{\"id\":7,\"task_id\":0,\"status\":\"queued\",\"durability\":\"fsync\"}\n");
}

#[test]
fn line_split_anywhere_is_the_same_request() {
    let server = Server::start();
    let mut client = server.connect();
    let request = noop(1);
    for cut in 0..=request.len() {
        client.send(&request[..cut]).send(&request[cut..]);
        assert_eq!(client.json()["task_id"], cut);
    }
}

#[test]
fn lines_in_one_write_become_tasks_in_order() {
    const COUNT: usize = 100_000;
    let server = Server::start();
    let mut client = server.connect();
    let mut writer = client.stream().try_clone().unwrap();
    let lines: String = (0..COUNT).map(noop).collect();
    let writing = std::thread::spawn(move || writer.write_all(lines.as_bytes()).unwrap());
    for id in 0..COUNT {
        assert_eq!(
            client.line(),
            format!("{{\"id\":{id},\"task_id\":{id},\"status\":\"queued\",\"durability\":\"fsync\"}}\n")
        );
    }
    writing.join().unwrap();
}

#[test]
fn line_longer_than_the_limit_is_rejected() {
    let server = Server::with_settings("package_max_length = 64\n");
    let mut client = server.connect();
    let longest = "x".repeat(64);
    assert!(client.send(format!("{longest}\r\n")).line().contains(&longest));
    assert_eq!(client.send(format!("{longest}y\n")).json()["code"], "too_long");
    assert_eq!(client.send("z".repeat(1000)).json()["code"], "too_long");
    assert!(client.send("zz\nstill here\n").line().contains("still here"), "the connection stays usable");
}

#[test]
fn line_with_invalid_utf8_or_nul_is_data() {
    let server = Server::start();
    let mut client = server.connect();
    for bytes in [&b"\xff\xfe\n"[..], b"\0\0\n", b"{\"function\":\"\xff\"}\n", b"{\"function\"\n"] {
        client.send(bytes);
        let answer = client.line();
        assert!(answer.contains("task_id") || answer.contains("\"code\""), "{bytes:?}: {answer}");
    }
    assert_eq!(client.send(noop(1)).json()["status"], "queued");
}

#[test]
fn line_with_deeply_nested_json_is_rejected() {
    let server = Server::start();
    let mut client = server.connect();
    let nested = "[".repeat(100_000);
    let closed = format!("{nested}{}", "]".repeat(100_000));
    for args in [nested, closed] {
        client.send(format!("{{\"function\":\"echo\",\"args\":{args}}}\n"));
        client.line();
    }
    assert_eq!(client.send(noop(1)).json()["status"], "queued");
}

#[test]
fn incomplete_line_of_a_client_that_disconnects_is_dropped() {
    let mut server = Server::start();
    for _ in 0..100 {
        server.connect().send("{\"function\":\"noop\",\"ar").stream().shutdown(Shutdown::Both).unwrap();
    }
    server.connect().send("after\n");
    server.line_with("message: after from Client: 101");
}

#[test]
fn output_buffer_limit_stalls_a_client_that_never_reads() {
    /// A server that has read nothing for this long has stopped reading.
    const STALL: Duration = Duration::from_secs(2);
    let mut server = Server::with_settings("max_output_buffer = \"1MiB\"\napp_log = false\n");
    let mut deaf = server.connect();
    deaf.stream().set_nonblocking(true).unwrap();
    let lines = noop(1).repeat(1000);
    // Sends until the server stops reading, which it must at some point, or memory would grow without bound.
    let (mut sent, mut last_read) = (0_u64, Instant::now());
    while last_read.elapsed() < STALL {
        match deaf.stream().write(lines.as_bytes()) {
            Ok(count) => {
                sent += count as u64;
                last_read = Instant::now();
            }
            Err(_) => {
                assert!(server.connect().send("others\n").line().contains("others"), "others are served");
            }
        }
        assert!(sent < 256 << 20, "the server reads without bound");
    }
    drop(deaf);
    server.signal(rustix::process::Signal::INT);
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn server_holds_ten_thousand_idle_connections() {
    const COUNT: usize = 10_000;
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let server = Server::with_settings("app_log = false\n");
    let idle: Vec<_> = (0..COUNT).map(|_| TcpStream::connect(&server.address).unwrap()).collect();
    assert!(server.connect().send("busy\n").line().contains("busy"));
    let status = server.status();
    assert!(status["connections"]["current"].as_u64().unwrap() > COUNT as u64, "{status}");
    drop(idle);
}

#[test]
fn max_connection_rejects_further_clients() {
    check_limit_of_two("max_connection = 2\n");
}

#[test]
fn max_connection_per_address_rejects_further_clients() {
    check_limit_of_two("max_connection_per_address = 2\n");
}

fn check_limit_of_two(settings: &str) {
    let server = Server::with_settings(settings);
    let mut first = server.connect();
    let mut second = server.connect();
    first.send("x\n").line();
    second.send("x\n").line();
    let mut third = server.connect();
    let refusal = third.json();
    assert_eq!((&refusal["code"], third.rest()), (&"too_many_connections".into(), String::new()));
    drop(first);
    // The permit is free as soon as the server has seen the end; until then it may reset further connections.
    let is_answered = || {
        let mut stream = tcp(&server.address);
        let mut answer = String::new();
        let asked = stream.write_all(b"again\n").and_then(|()| stream.shutdown(Shutdown::Write));
        asked.and_then(|()| stream.read_to_string(&mut answer)).is_ok() && answer.contains("again")
    };
    wait_until("another client is served", is_answered);
}

#[test]
fn heartbeat_idle_time_closes_idle_connections() {
    let server = Server::with_settings("heartbeat_idle_time = \"50ms\"\n");
    assert_eq!(server.connect().rest(), "");
}

#[test]
fn http_post_with_a_line_body_sends_no_task() {
    let server = Server::start();
    let request = "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n{\"function\":\"noop\"}\n";
    let answer = server.connect().send(request).end().rest();
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("method_not_allowed"), "{answer}");
    assert_eq!(server.status()["ledger"]["accepted"], 0);
}

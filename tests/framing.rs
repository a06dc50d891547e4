//! Lines, however they arrive, and clients that misbehave.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::harness::Project;
use crate::harness::server::Server;

fn noop(id: usize) -> String {
    format!("{{\"function\":\"noop\",\"id\":{id},\"args\":null}}\n")
}

#[test]
fn one_byte_at_a_time_is_one_message() {
    let server = Server::start();
    let mut client = server.connect();
    for byte in noop(7).into_bytes() {
        client.send([byte]);
    }
    assert_eq!(client.line(), "{\"id\":7,\"task_id\":0,\"status\":\"queued\",\"durability\":\"fsync\"}\n");
}

#[test]
fn a_request_split_anywhere_is_the_same_request() {
    let server = Server::start();
    let mut client = server.connect();
    let request = noop(1);
    for cut in 0..=request.len() {
        client.send(&request[..cut]).send(&request[cut..]);
        assert_eq!(client.json()["task_id"], cut);
    }
}

#[test]
fn a_hundred_thousand_lines_in_one_write_are_as_many_tasks_in_order() {
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
fn a_line_of_exactly_the_limit_is_taken_and_one_byte_more_is_refused() {
    let project = Project::new();
    project.write("config/server.toml", "package_max_length = 64\n");
    let server = Server::with(project, "");
    let mut client = server.connect();
    let longest = "x".repeat(64);
    assert!(client.send(format!("{longest}\r\n")).line().contains(&longest));
    assert_eq!(client.send(format!("{longest}y\n")).json()["code"], "too_long");
    assert_eq!(client.send("z".repeat(1000)).json()["code"], "too_long");
    assert!(client.send("zz\nstill here\n").line().contains("still here"), "the connection stays usable");
}

#[test]
fn invalid_utf8_and_nul_bytes_are_data_like_any_other() {
    let server = Server::start();
    let mut client = server.connect();
    for bytes in [&b"\xff\xfe\n"[..], b"\0\0\n", b"{\"function\":\"\xff\"}\n", b"{\"function\"\n", b"\n"] {
        client.send(bytes);
        let answer = client.line();
        assert!(answer.contains("task_id") || answer.contains("\"code\""), "{bytes:?}: {answer}");
    }
    assert_eq!(client.send(noop(1)).json()["status"], "queued");
}

#[test]
fn deeply_nested_json_is_refused_and_harms_nothing() {
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
fn a_client_that_hangs_up_in_the_middle_of_a_line_disturbs_nobody() {
    let mut server = Server::start();
    for _ in 0..100 {
        server.connect().send("{\"function\":\"noop\",\"ar").stream().shutdown(Shutdown::Both).unwrap();
    }
    server.connect().send("after\n");
    server.line_with("message: after from Client: 101");
}

#[test]
fn a_client_that_never_reads_is_held_back_and_others_are_served() {
    let project = Project::new();
    project.write("config/server.toml", "max_output_buffer = \"1MiB\"\nmoments = false\n");
    let mut server = Server::with(project, "");
    let mut deaf = server.connect();
    deaf.stream().set_nonblocking(true).unwrap();
    let lines = noop(1).repeat(1000);
    // Sends until the server reads no more, which it must at some time, or memory would grow for ever.
    let mut stalled = 0;
    let mut sent = 0_u64;
    while stalled < 200 {
        match deaf.stream().write(lines.as_bytes()) {
            Ok(count) => {
                sent += count as u64;
                stalled = 0;
            }
            Err(_) => {
                stalled += 1;
                assert!(server.connect().send("others\n").line().contains("others"), "others are served");
            }
        }
        assert!(sent < 256 << 20, "the server reads on and on");
    }
    drop(deaf);
    server.signal(rustix::process::Signal::INT);
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn ten_thousand_idle_connections_are_no_burden() {
    const COUNT: usize = 10_000;
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let project = Project::new();
    project.write("config/server.toml", "app_log = false\n");
    let server = Server::with(project, "");
    let idle: Vec<_> = (0..COUNT).map(|_| TcpStream::connect(&server.address).unwrap()).collect();
    assert!(server.connect().send("busy\n").line().contains("busy"));
    let status = server.status();
    assert!(status["connections"]["current"].as_u64().unwrap() > COUNT as u64, "{status}");
    drop(idle);
}

#[test]
fn too_many_connections_are_told_so() {
    too_many_for("max_connection = 2\n");
}

#[test]
fn too_many_connections_of_one_address_are_told_so() {
    too_many_for("max_connection_per_address = 2\n");
}

fn too_many_for(settings: &str) {
    let project = Project::new();
    project.write("config/server.toml", settings);
    let server = Server::with(project, "");
    let mut first = server.connect();
    let mut second = server.connect();
    first.send("x\n").line();
    second.send("x\n").line();
    let mut third = server.connect();
    let refusal = third.json();
    assert_eq!((&refusal["code"], third.rest()), (&"too_many_connections".into(), String::new()));
    drop(first);
    // The seat is free as soon as the server has seen the end; until then it may turn us away in mid-sentence.
    let answered = |_| {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        let mut answer = String::new();
        let asked = stream.write_all(b"again\n").and_then(|()| stream.shutdown(Shutdown::Write));
        asked.and_then(|()| stream.read_to_string(&mut answer)).is_ok() && answer.contains("again")
    };
    assert!((0..10_000).any(answered));
}

#[test]
fn an_idle_connection_is_closed_after_the_heartbeat_time() {
    let project = Project::new();
    project.write("config/server.toml", "heartbeat_idle_time = \"50ms\"\n");
    let server = Server::with(project, "");
    assert_eq!(server.connect().rest(), "");
}

#[test]
fn a_page_in_a_browser_cannot_send_tasks() {
    let server = Server::start();
    let request = "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n{\"function\":\"noop\"}\n";
    let answer = server.connect().send(request).end().rest();
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("method_not_allowed"), "{answer}");
    assert_eq!(server.status()["ledger"]["accepted"], 0);
}

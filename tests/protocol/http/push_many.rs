//! Many tasks in one request, a line each.

use std::io::{BufRead, BufReader, Read, Write};

use serde_json::{Value, json};

use super::{quiet, with_settings};
use crate::harness::client::tcp;
use crate::harness::curl::{Response, curl};
use crate::harness::eventually::wait_until;
use crate::harness::metrics::process_figure;
use crate::harness::server::Server;

const HEAD: &str = "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n";

fn lines(body: &str) -> Vec<Value> {
    body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn post(server: &Server, body: &str) -> Response {
    curl(server, &["-H", "Content-Type: application/x-ndjson", "--data-binary", body, "/tasks"])
}

#[test]
fn push_many_answers_each_line_with_a_line() {
    let server = quiet();
    let body = "{\"function\":\"echo\",\"args\":\"a\",\"id\":1}\n\n{\"function\":\"ehco\",\"id\":2}\n666\n\
                {\"command\":\"status\",\"id\":3}\n{\"function\":\"echo\",\"args\":\"b\",\"reply\":\"result\"}";
    let answers = lines(&post(&server, body).is(200).body);
    assert_eq!(answers.len(), 5, "{answers:?}");
    let find = |name: &str, value: Value| answers.iter().find(|answer| answer[name] == value).unwrap();
    assert_eq!(find("id", json!(1))["status"], "queued");
    assert_eq!(find("id", json!(2))["suggestion"], "echo");
    assert_eq!(find("id", json!(3))["code"], "bad_request");
    assert_eq!(find("status", json!("done"))["result"], "b -> OK");
    assert_eq!(server.status()["ledger"]["accepted"], 2);
}

#[test]
fn push_many_streams_its_replies() {
    let server = quiet();
    let mut client = server.connect();
    client.send(format!("POST /tasks HTTP/1.1\r\nHost: {}\r\n{HEAD}\r\n", server.address));
    for task in 0..3 {
        let line = "{\"function\":\"echo\",\"args\":\"a\"}\n";
        client.send(format!("{:x}\r\n{line}\r\n", line.len()));
        if task == 0 {
            Response::from(&mut client).is(200);
        }
        let answer = client.find_line("an answer", |line| line.starts_with('{'));
        assert_eq!(serde_json::from_str::<Value>(&answer).unwrap()["task_id"], task);
    }
    client.send("0\r\n\r\n");
    client.find_line("the last chunk", |line| line == "0\r\n");
}

/// The most memory that the server has ever held, in bytes.
fn peak(server: &Server) -> u64 {
    process_figure(server.pid(), "VmHWM") * 1024
}

#[test]
fn push_many_of_a_hundred_thousand_lines_holds_no_memory() {
    const COUNT: usize = 100_000;
    // So long that to hold them all would show; what waits is not held by the store in memory either.
    let line = format!("{{\"function\":\"noop\",\"args\":\"{}\"}}\n", "x".repeat(2_000));
    let server = with_settings("durability = \"async\"\nretention_count = 0\n");
    let warm = line.repeat(1_000);
    assert_eq!(send(&server, &[warm.as_bytes()]), 1_000);
    let before = peak(&server);
    let pages = vec![warm.as_bytes(); COUNT / 1_000];
    assert_eq!(send(&server, &pages), COUNT);
    let grown = peak(&server).saturating_sub(before);
    assert!(grown < 100 << 20, "{} MB of {} MB were held", grown >> 20, (COUNT * line.len()) >> 20);
    assert_eq!(server.status()["ledger"]["accepted"], (COUNT + 1_000) as u64);
}

/// Sends pages of lines, and counts the acknowledgements that come meanwhile.
fn send(server: &Server, pages: &[&[u8]]) -> usize {
    let mut stream = tcp(&server.address);
    write!(stream, "POST /tasks HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{HEAD}\r\n", server.address)
        .unwrap();
    let reader = BufReader::new(stream.try_clone().unwrap());
    std::thread::scope(|scope| {
        let counting = scope.spawn(|| count(reader));
        for page in pages {
            write!(stream, "{:x}\r\n", page.len()).unwrap();
            stream.write_all(page).unwrap();
            stream.write_all(b"\r\n").unwrap();
        }
        stream.write_all(b"0\r\n\r\n").unwrap();
        counting.join().unwrap()
    })
}

fn count(reader: impl BufRead) -> usize {
    reader.lines().filter(|line| line.as_ref().unwrap().contains("\"status\":\"queued\"")).count()
}

#[test]
fn push_many_serves_a_client_that_reads_last() {
    const COUNT: usize = 50_000;
    let server = with_settings("durability = \"async\"\n");
    let lines = "{\"function\":\"noop\"}\n".repeat(COUNT);
    let mut stream = tcp(&server.address);
    let head = format!("Host: {}\r\nConnection: close\r\nContent-Type: application/x-ndjson", server.address);
    write!(stream, "POST /tasks HTTP/1.1\r\n{head}\r\nContent-Length: {}\r\n\r\n", lines.len()).unwrap();
    stream.write_all(lines.as_bytes()).unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert_eq!(count(answers.as_bytes()), COUNT);
}

#[test]
fn push_many_keeps_complete_lines_of_a_client_that_disconnects() {
    let server = quiet();
    let mut status = server.connect();
    let mut client = server.connect();
    let body = "{\"function\":\"echo\",\"args\":\"a\"}\n{\"function\":\"ec";
    client.send(format!("POST /tasks HTTP/1.1\r\nHost: {}\r\n{HEAD}\r\n", server.address));
    client.send(format!("{:x}\r\n{body}\r\n", body.len()));
    wait_until("the whole line is accepted", || status.status()["ledger"]["accepted"] == 1);
    drop(client);
    wait_until("the connection is closed", || status.status()["connections"]["current"] == 1);
    assert_eq!(status.status()["ledger"]["accepted"], 1, "an incomplete line is no task");
}

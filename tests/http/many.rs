//! Many tasks in one request, a line each.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::asked::{Response, curl};
use super::{quiet, with_settings};
use crate::harness::server::Server;

const HEAD: &str = "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n";

fn lines(body: &str) -> Vec<Value> {
    body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn post(server: &Server, body: &str) -> Response {
    curl(server, &["-H", "Content-Type: application/x-ndjson", "--data-binary", body, "/tasks"])
}

#[test]
fn each_line_is_answered_by_a_line() {
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
fn the_answers_come_while_the_lines_still_do() {
    let server = quiet();
    let mut client = server.connect();
    client.send(format!("POST /tasks HTTP/1.1\r\nHost: {}\r\n{HEAD}\r\n", server.address));
    for task in 0..3 {
        let line = "{\"function\":\"echo\",\"args\":\"a\"}\n";
        client.send(format!("{:x}\r\n{line}\r\n", line.len()));
        if task == 0 {
            Response::from(&mut client).is(200);
        }
        let mut answer = client.line();
        while !answer.starts_with('{') {
            answer = client.line();
        }
        assert_eq!(serde_json::from_str::<Value>(&answer).unwrap()["task_id"], task);
    }
    client.send("0\r\n\r\n");
    while client.line() != "0\r\n" {}
}

/// The most memory that a process has ever held, in bytes.
fn peak(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn a_hundred_thousand_lines_pass_through_and_hold_no_memory() {
    const COUNT: usize = 100_000;
    // So long that to hold them all would show; what waits is not held by the store in memory either.
    let line = format!("{{\"function\":\"noop\",\"args\":\"{}\"}}\n", "x".repeat(2_000));
    let server = with_settings("durability = \"async\"\nkeep_count = 0\n");
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
    let mut stream = TcpStream::connect(&server.address).unwrap();
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
fn a_client_that_reads_only_when_it_has_sent_all_is_served_too() {
    const COUNT: usize = 50_000;
    let server = with_settings("durability = \"async\"\n");
    let lines = "{\"function\":\"noop\"}\n".repeat(COUNT);
    let mut stream = TcpStream::connect(&server.address).unwrap();
    let head = format!("Host: {}\r\nConnection: close\r\nContent-Type: application/x-ndjson", server.address);
    write!(stream, "POST /tasks HTTP/1.1\r\n{head}\r\nContent-Length: {}\r\n\r\n", lines.len()).unwrap();
    stream.write_all(lines.as_bytes()).unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert_eq!(count(answers.as_bytes()), COUNT);
}

#[test]
fn a_client_that_hangs_up_in_the_middle_has_sent_what_came() {
    let server = quiet();
    let mut status = server.connect();
    let mut look = || status.send("{\"command\":\"status\"}\n").json()["result"].clone();
    let mut client = server.connect();
    let body = "{\"function\":\"echo\",\"args\":\"a\"}\n{\"function\":\"ec";
    client.send(format!("POST /tasks HTTP/1.1\r\nHost: {}\r\n{HEAD}\r\n", server.address));
    client.send(format!("{:x}\r\n{body}\r\n", body.len()));
    while look()["ledger"]["accepted"] != 1 {}
    drop(client);
    while look()["connections"]["current"] != 1 {}
    assert_eq!(look()["ledger"]["accepted"], 1, "half a line is no task");
}

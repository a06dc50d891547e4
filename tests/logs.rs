//! The log of the server: its content, its rotation, and what happens when it cannot be written.

mod handlers;
mod reopened;

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::eventually::{eventually, wait_until};
use crate::harness::server::Server;

fn logging(settings: &str) -> Server {
    Server::with_settings(&format!("log_file = \"server.log\"\n{settings}"))
}

/// `true` if a line of a log, as text or JSON, is that of the end of this task.
fn is_end(line: &str, id: &str) -> bool {
    line.contains("outcome")
        && [format!("task={id} "), format!("\"task\":{id},")].iter().any(|task| line.contains(task))
}

/// Runs one task, and reads the log up to the line of its end.
fn echo(server: &Server, text: &str) -> String {
    let request = format!("{{\"function\":\"echo\",\"args\":\"{text}\",\"reply\":\"result\"}}\n");
    let id = server.connect().send(request).json()["task_id"].to_string();
    eventually("the end of the task is logged", || {
        let log = server.project.read("server.log");
        log.lines().any(|line| is_end(line, &id)).then_some(log)
    })
}

#[test]
fn log_has_one_line_per_end_and_task_ids_on_handler_lines() {
    let server = logging("");
    let log = echo(&server, "x");
    let end = log.lines().find(|line| line.contains("outcome")).unwrap();
    assert!(end.contains("  INFO outcome: task=0 done function=echo attempts=1 ran_ms="), "{end}");
    assert!(log.contains("  INFO app_log: 0, Task Completed task=0\n"), "{log}");
    // Its folder cannot be made where a file is.
    server.project.write("runtime/mail", "");
    let mail = r#"{"function":"send_mail","args":{"to":"b@example.com","content":""},"attempts":1}"#;
    assert_eq!(server.connect().send(format!("{mail}\n")).json()["status"], "queued");
    let failed = eventually("the end of the mail is logged", || {
        let log = server.project.read("server.log");
        log.lines().find(|line| line.contains("outcome: task=1 ")).map(str::to_owned)
    });
    assert!(failed.contains("failed function=send_mail attempts=1") && failed.contains("error="), "{failed}");
}

#[test]
fn log_json_lines_are_objects_with_a_task_field() {
    let server = logging("log_format = \"json\"\n");
    let log = echo(&server, "x");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let end = lines.iter().find(|line| line["target"] == "outcome").unwrap();
    assert_eq!((&end["task"], &end["message"]), (&0.into(), &"done".into()));
    assert_eq!(end["fields"]["function"], "echo");
    assert!(end["fields"]["ran_ms"].is_number());
    let completed = lines.iter().find(|line| line["message"] == "0, Task Completed").unwrap();
    assert_eq!(completed["task"], 0);
}

#[test]
fn log_outcomes_false_and_terminals_omit_outcome_lines() {
    let server = logging("log_outcomes = false\n");
    server.connect().send("x\n").line();
    let mut on_terminal = Server::start();
    on_terminal.connect().send("x\n").line();
    assert_eq!(on_terminal.line_with("Finish"), "AsyncTask[0] Finish: x -> OK");
    for server in [&server, &on_terminal] {
        server.signal(Signal::INT);
    }
    assert!(!on_terminal.rest().iter().any(|line| line.contains("outcome")));
    let mut server = server;
    assert_eq!(server.exit_code(), Some(0));
    assert!(!server.project.read("server.log").contains("outcome"));
}

#[test]
fn log_rotation_by_size_keeps_log_keep_files() {
    let server = logging("log_rotation = \"1KB\"\nmax_log_files = 2\n");
    for _ in 0..40 {
        echo_somewhere(&server);
    }
    let files: Vec<_> = ["server.log", "server.log.1", "server.log.2"]
        .map(|name| fs::read_to_string(server.project.path(name)).unwrap())
        .into_iter()
        .collect();
    assert!(!server.project.path("server.log.3").exists());
    assert!(files[1..].iter().all(|file| file.len() <= 1024 && file.ends_with('\n')), "{files:#?}");
}

/// Runs one task, and waits until its end is in one of the files.
fn echo_somewhere(server: &Server) {
    let request = "{\"function\":\"echo\",\"args\":\"x\",\"reply\":\"result\"}\n";
    let id = server.connect().send(request).json()["task_id"].to_string();
    let end = format!("outcome: task={id} ");
    let read = |name| fs::read_to_string(server.project.path(name)).unwrap_or_default();
    wait_until("the end of the task is logged", || {
        ["server.log", "server.log.1"].iter().any(|name| read(name).contains(&end))
    });
}

#[test]
fn log_is_reopened_at_sighup_after_a_move() {
    let server = logging("");
    echo(&server, "before");
    fs::rename(server.project.path("server.log"), server.project.path("old.log")).unwrap();
    server.signal(Signal::HUP);
    wait_until("the log is opened anew", || server.project.path("server.log").exists());
    let log = echo(&server, "after");
    assert!(!log.contains("task=0 ") && log.contains("task=1 done"), "{log}");
    assert!(server.project.read("old.log").contains("task=0 done"));
}

#[test]
fn log_on_a_full_device_stops_nothing() {
    let mut server = Server::with_settings("log_file = \"/dev/full\"\n");
    for id in 0..100 {
        assert_eq!(server.connect().send("x\n").line(), format!("Message from Server: x, task_id: {id}\n"));
    }
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn log_is_complete_when_the_server_has_ended() {
    let mut server = logging("");
    let mut client = server.connect();
    for _ in 0..10 {
        client.send("{\"function\":\"echo\",\"args\":\"x\"}\n".repeat(100));
        for _ in 0..100 {
            client.json();
        }
    }
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
    let log = server.project.read("server.log");
    let ends = log.lines().filter(|line| line.contains("outcome: task=")).count();
    let left = server
        .rest()
        .iter()
        .find_map(|line| line.strip_prefix("Left for the next start: ").map(str::to_owned));
    let left: usize = left.map_or(0, |left| left.split(' ').next().unwrap().parse().unwrap());
    assert_eq!(ends + left, 1_000);
}

//! The server's log: what is in it, how it is put aside, and what happens when it cannot be written.

mod handlers;
mod reopened;

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::Project;
use crate::harness::server::Server;

fn logging(settings: &str) -> Server {
    let project = Project::new();
    project.write("config/server.toml", &format!("log_file = \"server.log\"\n{settings}"));
    Server::with(project, "")
}

/// Runs one task, and reads the log up to the line of its end.
fn echo(server: &Server, text: &str) -> String {
    let request = format!("{{\"function\":\"echo\",\"args\":\"{text}\",\"reply\":\"result\"}}\n");
    let id = server.connect().send(request).json()["task_id"].to_string();
    loop {
        let log = server.project.read("server.log");
        if log.lines().any(|line| line.contains("outcome") && line.contains(&id)) {
            return log;
        }
        std::thread::yield_now();
    }
}

#[test]
fn each_end_is_one_line_with_its_task_and_what_a_handler_says_carries_its_id() {
    let server = logging("");
    let log = echo(&server, "x");
    let end = log.lines().find(|line| line.contains("outcome")).unwrap();
    assert!(end.contains("  INFO outcome: task=0 done function=echo attempts=1 ran_ms="), "{end}");
    assert!(log.contains("  INFO moment: 0, Task Completed task=0\n"), "{log}");
    // Its folder cannot be made where a file is.
    server.project.write("runtime/mail", "");
    let mail = r#"{"function":"send_mail","args":{"to":"b@example.com","content":""},"attempts":1}"#;
    assert_eq!(server.connect().send(format!("{mail}\n")).json()["status"], "queued");
    let failed = loop {
        let log = server.project.read("server.log");
        if let Some(line) = log.lines().find(|line| line.contains("outcome: task=1 ")) {
            break line.to_owned();
        }
    };
    assert!(failed.contains("failed function=send_mail attempts=1") && failed.contains("error="), "{failed}");
}

#[test]
fn in_json_each_line_is_an_object_and_a_task_is_a_field() {
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
fn neither_the_terminal_nor_whoever_does_not_want_it_gets_a_line_for_each_end() {
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
fn a_log_that_grows_is_put_aside_and_only_some_are_kept() {
    let server = logging("log_rotation = \"1KB\"\nlog_keep = 2\n");
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
    while !["server.log", "server.log.1"].iter().any(|name| read(name).contains(&end)) {
        std::thread::yield_now();
    }
}

#[test]
fn a_log_that_was_moved_away_is_begun_anew_after_sighup() {
    let server = logging("");
    echo(&server, "before");
    fs::rename(server.project.path("server.log"), server.project.path("old.log")).unwrap();
    server.signal(Signal::HUP);
    while !server.project.path("server.log").exists() {
        std::thread::yield_now();
    }
    let log = echo(&server, "after");
    assert!(!log.contains("task=0 ") && log.contains("task=1 done"), "{log}");
    assert!(server.project.read("old.log").contains("task=0 done"));
}

#[test]
fn a_log_without_room_stops_nothing() {
    let project = Project::new();
    project.write("config/server.toml", "log_file = \"/dev/full\"\n");
    let mut server = Server::with(project, "");
    for id in 0..100 {
        assert_eq!(server.connect().send("x\n").line(), format!("Message from Server: x, task_id: {id}\n"));
    }
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn a_log_is_complete_when_the_server_has_ended() {
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

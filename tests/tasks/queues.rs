//! The queues: queue:list, queue:pause, queue:resume.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::Project;
use crate::harness::server::Server;

fn queues(server: &Server) -> Value {
    serde_json::from_str(&server.think(&["queue:list", "--json"]).exits(0).stdout).unwrap()
}

#[test]
fn paused_queue_runs_nothing_until_resumed() {
    let server = Server::start();
    server.think(&["queue:pause", "mail"]).exits(0);
    server.think(&["task:send", "noop", "{}", "--queue", "mail"]).exits(0);
    // A task of another queue overtakes it.
    server.think(&["task:send", "noop", "{}", "--wait"]).exits(0);
    let all = queues(&server);
    let mail = all.as_array().unwrap().iter().find(|queue| queue["name"] == "mail").unwrap();
    assert_eq!((&mail["waiting"], &mail["paused"]), (&json!(1), &json!(true)), "{mail}");
    let text = server.think(&["queue:list"]).exits(0).stdout;
    assert!(text.lines().any(|line| line.starts_with("mail") && line.ends_with("paused")), "{text}");
    let ran = server.think(&["queue:resume", "mail", "--json"]).exits(0);
    assert_eq!(ran.stdout, "{\"paused\":false,\"queue\":\"mail\"}\n");
    server.think(&["task:watch", "0"]).exits(0);
}

#[test]
fn unknown_queue_suggests_the_nearest() {
    let server = Server::start();
    for command in
        [&["queue:pause", "mial"][..], &["queue:resume", "mial"], &["task:flush", "-f", "--queue", "mial"]]
    {
        let ran = server.think(command).exits(5);
        assert!(ran.stderr.contains("Did you mean \"mail\"?"), "{ran:?}");
    }
}

/// A server with a waiting task of each of these functions.
fn server_with_waiting(functions: &[&str]) -> Server {
    let server = Server::start();
    for function in functions {
        server.think(&["task:send", function, "\"x\"", "--delay", "1h"]).exits(0);
    }
    server
}

#[test]
fn queue_check_and_backup_work_beside_the_server() {
    let server = server_with_waiting(&["noop", "echo"]);
    let ran = server.project.think("queue:check --json").exits(0);
    let report = ran.json();
    assert_eq!(report["findings"], json!([]));
    let copy = server.project.path("copy.db");
    let backup = format!("queue:backup {}", copy.display());
    server.project.think(&backup).exits(0);
    let ran = server.project.think(&backup).exits(1);
    assert!(ran.stderr.contains("writes over nothing"), "{ran:?}");
    server.project.think(&format!("queue:check --file {}", copy.display())).exits(0);
    let ran = server.project.think("queue:repair").exits(4);
    assert!(ran.stderr.contains(&format!("pid {}", server.pid())), "{ran:?}");
}

#[test]
fn queue_repair_saves_what_is_readable() {
    let mut server = server_with_waiting(&["noop"; 3]);
    let backup = format!("queue:backup {}", server.project.path("copy.db").display());
    server.project.think(&backup).exits(0);
    server.signal(Signal::TERM);
    server.exit_code();
    let copy = server.project.path("copy.db");
    let bytes = std::fs::read(&copy).unwrap();
    std::fs::write(&copy, &bytes[..bytes.len() - 16 * 1024]).unwrap();
    let file = format!("--file {}", copy.display());
    let ran = server.project.think(&format!("queue:check {file}")).exits(1);
    assert!(ran.stderr.contains("queue:repair") || ran.stderr.contains("malformed"), "{ran:?}");
    let ran = server.project.think(&format!("queue:repair {file} --json"));
    let report = ran.json();
    assert!(std::fs::exists(report["kept"].as_str().unwrap()).unwrap(), "{report}");
    server.project.think(&format!("queue:check {file}")).exits(0);
}

#[test]
fn queue_commands_name_a_missing_or_invalid_file() {
    let project = Project::new();
    project.write("text.db", &"no database at all\n".repeat(1_000));
    for command in ["queue:check", "task:check", "queue:repair", "task:run 0 --here"] {
        for file in ["gone.db", "text.db"] {
            let ran = project.think(&format!("{command} --file {}", project.path(file).display())).exits(1);
            assert!(ran.stderr.contains(file), "{command}: {ran:?}");
        }
    }
    assert!(project.read("text.db").starts_with("no database"), "it is unchanged");
}

#[test]
fn task_check_names_undecodable_tasks() {
    let mut server = server_with_waiting(&["noop", "echo"]);
    let ran = server.project.think("task:check --json").exits(0);
    let report = ran.json();
    assert_eq!((&report["waiting"], &report["incompatible"]), (&json!(2), &json!(0)));
    server.signal(Signal::TERM);
    server.exit_code();
    // As an earlier program would have left it.
    let file = rusqlite::Connection::open(server.project.path("runtime/queue.db")).unwrap();
    file.execute("UPDATE tasks SET args = '5' WHERE function = 'echo'", []).unwrap();
    file.execute("UPDATE tasks SET function = 'gone' WHERE function = 'noop'", []).unwrap();
    let ran = server.project.think("task:check").exits(1);
    for part in ["There is no function \"gone\".", "expected a string", "first task 1"] {
        assert!(ran.stdout.contains(part), "no {part}: {ran:?}");
    }
    assert!(ran.stderr.contains("2 of 2 tasks waiting cannot run"), "{ran:?}");
}

#[test]
fn task_run_here_does_not_affect_the_server() {
    let server = server_with_waiting(&["echo"]);
    let ran = server.project.think("task:run 0 --here").exits(0);
    assert_eq!(ran.stdout, "\"x -> OK\"\n");
    assert!(ran.stderr.contains("runs in this process only"), "{ran:?}");
    let ledger = &server.status()["ledger"];
    assert_eq!((&ledger["done"], &ledger["waiting"]), (&json!(0), &json!(1)));
    server.project.think("task:run 0").exits(2);
    server.project.think("task:run 7 --here").exits(1);
}

#[test]
fn attempts_beyond_the_setting_are_refused() {
    let server = Server::with_settings("max_attempts = 5");
    let mut client = server.connect();
    let mut send = |attempts: u32| {
        let request = format!("{{\"function\":\"echo\",\"args\":\"x\",\"attempts\":{attempts}}}\n");
        client.send(request).json()
    };
    assert_eq!(send(5)["status"], "queued");
    let refused = send(6);
    assert_eq!(refused["code"], "bad_request");
    assert!(refused["error"].as_str().unwrap().contains("from 1 to 5 (max_attempts)"), "{refused}");
    let ran = Project::with_settings("max_attempts = 1").think("task:start --port 0").exits(1);
    assert!(ran.stderr.contains("max_attempts is 1") && ran.stderr.contains("send_mail"), "{ran:?}");
}

#[test]
fn result_beyond_the_output_buffer_is_an_error_and_the_connection_goes_on() {
    let server = Server::with_settings("max_output_buffer = \"64KB\"");
    let mut client = server.connect();
    let request = json!({"id": 1, "function": "echo", "args": "x".repeat(200_000), "reply": "result"});
    let reply = client.send(format!("{request}\n")).json();
    assert_eq!((&reply["id"], &reply["code"]), (&json!(1), &json!("too_long")));
    assert!(reply["error"].as_str().unwrap().contains("Task 0 is done"), "{reply}");
    let small = "{\"id\":2,\"function\":\"noop\",\"args\":{},\"reply\":\"result\"}\n";
    assert_eq!(client.send(small).json()["status"], "done");
}

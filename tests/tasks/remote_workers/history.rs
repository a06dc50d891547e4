//! Which worker ran the attempts of a task.

use serde_json::json;

use super::{QUICK, TestWorker, send, show};
use crate::harness::daemon::{Daemon, project_with};
use crate::harness::server::Server;

/// A task that fails in an attempt of the worker `left`, is lost with the worker `right`, and is done by the
/// worker `last`, one after the other.
#[track_caller]
fn run_by_three(server: &Server) -> u64 {
    let mut client = server.connect();
    let mut left = TestWorker::join(server, "left", 1, &["job"]);
    let id = send(&mut client, &json!({"function": "job", "attempts": 9}));
    let task = left.next("task");
    left.send(&json!({"command": "drain", "worker": "left"}));
    left.next("quiet");
    left.settle(&task, json!({"error": "bad", "retry": "1ms"}));
    let mut right = TestWorker::join(server, "right", 1, &["job"]);
    right.next("task");
    drop(right);
    let mut last = TestWorker::join(server, "last", 1, &["job"]);
    let task = last.next("task");
    last.settle(&task, json!({"result": 1}));
    assert_eq!(client.json()["status"], "done");
    id
}

#[test]
fn history_names_the_worker_of_each_attempt() {
    for settings in ["", "durability = \"memory\"\n"] {
        let server = Server::with_settings(&format!("{QUICK}min_retry_pause = \"1ms\"\n{settings}"));
        let id = run_by_three(&server);
        let task = show(&server, id);
        let workers: Vec<_> = task["history"].as_array().unwrap().iter().map(|one| &one["worker"]).collect();
        assert_eq!(workers, ["left", "right", "last"], "{settings}: {task}");
        let text = server.think(&["task:show", &id.to_string()]).exits(0).stdout;
        assert!(text.contains("by the worker right") && !text.contains("in process"), "{text}");
    }
}

#[test]
fn history_of_a_retried_task_still_names_the_worker_of_its_last_attempt() {
    let server = Server::start();
    let mut client = server.connect();
    let mut worker = TestWorker::join(&server, "left", 1, &["job"]);
    let id = send(&mut client, &json!({"function": "job"}));
    let task = worker.next("task");
    worker.settle(&task, json!({"error": "bad", "retry": false}));
    client.json();
    server.think(&["task:retry", &id.to_string()]).exits(0);
    let task = worker.next("task");
    worker.settle(&task, json!({"result": 1}));
    let history = show(&server, id)["history"].clone();
    assert_eq!((&history[0]["worker"], &history[1]["worker"]), (&json!("left"), &json!("left")), "{history}");
}

#[test]
fn history_of_an_attempt_in_the_server_names_no_worker() {
    let server = Server::start();
    let mut client = server.connect();
    let id = send(&mut client, &json!({"function": "echo", "args": "hi"}));
    client.json();
    let history = show(&server, id)["history"].clone();
    assert!(history[0].get("worker").is_none() && history[0]["pid"] == server.pid(), "{history}");
}

#[test]
fn worker_that_resumes_a_lease_of_an_earlier_process_stands_in_the_history() {
    let daemon = Daemon::start(project_with("worker_lease_time = \"1d\"\n"), "");
    let fields = |resumes: &serde_json::Value| {
        json!({
            "worker": "left", "credit": 1, "functions": [{"name": "job"}], "session": "0123456789abcdef",
            "resumes": resumes,
        })
    };
    let mut worker = TestWorker::new(daemon.client());
    worker.work(fields(&json!([])));
    let id = send(&mut daemon.client(), &json!({"function": "job"}));
    let task = worker.next("task");
    let project = daemon.into_project();
    let daemon = Daemon::start(project, "");
    let mut worker = TestWorker::new(daemon.client());
    worker.work(fields(&json!([task["lease"]])));
    worker.settle(&task, json!({"result": 1}));
    let shown = daemon.think(&format!("task:show {id} --json")).exits(0).json();
    assert_eq!(shown["history"][0]["worker"], "left", "{shown}");
}

#[test]
fn file_of_schema_2_is_brought_to_the_present_one_and_is_checked_and_repaired_before() {
    let server = Server::start();
    let mut client = server.connect();
    let id = send(&mut client, &json!({"function": "echo", "args": "hi"}));
    client.json();
    server.signal(rustix::process::Signal::TERM);
    let project = server.into_project();
    let path = project.path("runtime/queue.db");
    let as_schema_2 = || {
        let file = rusqlite::Connection::open(&path).unwrap();
        file.execute_batch(
            "ALTER TABLE ends DROP COLUMN worker; ALTER TABLE attempts DROP COLUMN worker;
             ALTER TABLE changes DROP COLUMN function; ALTER TABLE changes DROP COLUMN cause;
             PRAGMA user_version = 2;",
        )
        .unwrap();
    };
    as_schema_2();
    project.think("queue:check").exits(0);
    project.think("queue:repair").exits(0);
    as_schema_2();
    let server = Server::with(project, "");
    let mut client = server.connect();
    assert_eq!(show(&server, id)["result"], "hi -> OK");
    let mut worker = TestWorker::join(&server, "left", 1, &["job"]);
    let id = send(&mut client, &json!({"function": "job"}));
    let task = worker.next("task");
    worker.settle(&task, json!({"result": 1}));
    assert_eq!(show(&server, id)["history"][0]["worker"], "left");
}

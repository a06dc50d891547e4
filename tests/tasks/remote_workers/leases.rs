//! What becomes of the tasks of a worker that is lost, silent or slow, and of a server that ends.

use rustix::process::Signal;
use serde_json::json;

use super::{QUICK, TestWorker, send, show};
use crate::harness::client::Client;
use crate::harness::daemon::{Daemon, project_with};
use crate::harness::eventually::wait_until;
use crate::harness::server::Server;

#[test]
fn task_of_a_lost_connection_goes_to_another_worker_and_a_second_time_is_set_aside() {
    let server = Server::start();
    let mut client = server.connect();
    let first = TestWorker::join(&server, "first", 1, &["job"]);
    let id = send(&mut client, &json!({"function": "job", "attempts": 9}));
    wait_until("it runs", || server.ledger()["running"] == 1);
    drop(first);
    let mut second = TestWorker::join(&server, "second", 1, &["job"]);
    assert_eq!(second.next("task")["attempt"], 2);
    drop(second);
    let end = client.json();
    let error = end["error"].as_str().unwrap();
    assert!(
        end["status"] == "failed" && error.contains("set aside") && error.contains("\"second\""),
        "{end}"
    );
    assert_eq!(show(&server, id)["attempts"], 2);
}

#[test]
fn idle_workers_take_turns() {
    let server = Server::start();
    let mut client = server.connect();
    let mut workers = ["a", "b", "c"].map(|name| TestWorker::join(&server, name, 1, &["job"]));
    for _ in 0..2 {
        for worker in &mut workers {
            let id = send(&mut client, &json!({"function": "job"}));
            let task = worker.next("task");
            assert_eq!(task["task_id"], id);
            worker.settle(&task, json!({"result": 1}));
            client.json();
        }
    }
}

#[test]
fn task_of_a_worker_that_has_left_waits_again_without_counting() {
    let server = Server::start();
    let mut client = server.connect();
    let mut first = TestWorker::join(&server, "first", 1, &["job"]);
    send(&mut client, &json!({"function": "job"}));
    first.next("task");
    first.send(&json!({"command": "leave"}));
    first.next("ok");
    drop(first);
    let mut second = TestWorker::join(&server, "second", 1, &["job"]);
    let task = second.next("task");
    assert_eq!(task["attempt"], 1);
    second.settle(&task, json!({"result": 1}));
    assert_eq!(client.json()["status"], "done");
}

#[test]
fn silent_worker_loses_its_task_and_its_late_end_is_stale() {
    let server = Server::with_settings(QUICK);
    let mut client = server.connect();
    let mut silent = TestWorker::join(&server, "silent", 1, &["job"]);
    send(&mut client, &json!({"function": "job"}));
    let task = silent.next("task");
    let mut other = TestWorker::join_with(
        &server,
        json!({"worker": "other", "credit": 1, "heartbeats": false, "functions": [{"name": "job"}]}),
    );
    let again = other.next("task");
    assert_eq!((&again["task_id"], &again["attempt"]), (&task["task_id"], &json!(2)));
    assert_eq!(silent.settle(&task, json!({"result": "late"}))["stale"], json!([task["lease"]]));
    other.settle(&again, json!({"result": "in time"}));
    assert_eq!(client.json()["result"], "in time");
    // It is alive again, and gets the next one.
    send(&mut client, &json!({"function": "job"}));
    send(&mut client, &json!({"function": "job"}));
    silent.next("task");
    other.next("task");
}

#[test]
fn timeout_is_sent_to_the_worker_and_fails_the_attempt_if_it_does_not_stop() {
    let server = Server::with_settings(&format!("{QUICK}max_backoff = \"1ms\"\n"));
    let mut client = server.connect();
    let mut worker = TestWorker::join_with(
        &server,
        json!({"worker": "w", "credit": 1, "functions": [{"name": "job", "timeout": "100ms"}]}),
    );
    // It stops as it is asked to.
    send(&mut client, &json!({"function": "job"}));
    let task = worker.next("task");
    assert_eq!(worker.next("cancel")["why"], "timeout");
    assert_eq!(worker.settle(&task, json!({"cancelled": true}))["stale"], json!([]));
    assert!(client.json()["error"].as_str().unwrap().contains("its timeout of 100ms"));
    // It does not, and its late end is stale.
    send(&mut client, &json!({"function": "job"}));
    let task = worker.next("task");
    assert_eq!(worker.next("cancel")["why"], "timeout");
    assert!(client.json()["error"].as_str().unwrap().contains("its timeout of 100ms"));
    assert_eq!(worker.settle(&task, json!({"result": 1}))["stale"], json!([task["lease"]]));
}

#[test]
fn cancel_of_a_client_is_sent_to_the_worker() {
    let server = Server::with_settings(QUICK);
    let mut client = server.connect();
    let mut worker = TestWorker::join(&server, "w", 2, &["job"]);
    let id = send(&mut client, &json!({"function": "job"}));
    let task = worker.next("task");
    let cancelled = server.think(&["task:cancel", &id.to_string(), "--json"]).exits(0).json();
    assert!(cancelled.to_string().contains("requested"), "{cancelled}");
    assert_eq!(worker.next("cancel")["why"], "cancelled");
    worker.settle(&task, json!({"cancelled": true}));
    assert_eq!(client.json()["status"], "cancelled");
}

#[test]
fn worker_settles_its_tasks_within_the_grace_period_of_a_stop() {
    let mut server = Server::start();
    let mut client = server.connect();
    let mut worker = TestWorker::join(&server, "w", 1, &["job"]);
    send(&mut client, &json!({"function": "job"}));
    let task = worker.next("task");
    server.signal(Signal::TERM);
    assert_eq!(worker.next("quiet")["why"], "shutdown");
    worker.settle(&task, json!({"result": "last"}));
    assert_eq!(client.json()["result"], "last");
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn task_that_is_not_settled_within_the_grace_period_waits_for_the_next_start() {
    let server = Server::with_settings("max_wait_time = \"200ms\"\n");
    let mut worker = TestWorker::join(&server, "w", 1, &["job"]);
    server.connect().send("{\"function\":\"job\"}\n").json();
    worker.next("task");
    server.signal(Signal::TERM);
    assert_eq!(worker.next("cancel")["why"], "shutdown");
    let server = server.again("");
    let mut worker = TestWorker::join(&server, "w", 1, &["job"]);
    assert_eq!(worker.next("task")["attempt"], 1, "the attempt does not count");
}

#[test]
fn reload_waits_for_workers_and_closes_their_connections() {
    let mut daemon = Daemon::start(project_with("durability = \"async\"\n"), "");
    let connect = |daemon: &Daemon| Client::connect(&daemon.address);
    let join = json!({"command": "work", "worker": "w", "credit": 1, "functions": [{"name": "job"}]});
    let mut worker = TestWorker::new(connect(&daemon));
    worker.send(&join);
    worker.next("ok");
    connect(&daemon).send("{\"function\":\"job\"}\n").json();
    let task = worker.next("task");
    let reload = daemon.project.command().args(["task:reload"]).spawn().unwrap();
    worker.settle(&task, json!({"result": 1}));
    assert_eq!(worker.next("quiet")["why"], "reload");
    assert_eq!(worker.0.rest(), "");
    crate::harness::Ran::finish(reload).exits(0);
    daemon.follow_reload();
    // The function is known to the new process before a worker is there.
    let reply = connect(&daemon).send("{\"function\":\"job\"}\n").json();
    assert_eq!(reply["status"], "queued", "{reply}");
    let mut worker = TestWorker::new(connect(&daemon));
    worker.send(&join);
    let task = worker.next("task");
    worker.settle(&task, json!({"result": 2}));
    assert_eq!(daemon.idle_ledger()["done"], 2);
}

#[test]
fn silent_worker_does_not_count_as_one_that_runs_its_functions() {
    let server = Server::with_settings(QUICK);
    let mut silent = TestWorker::join(&server, "silent", 0, &["job"]);
    let id = send(&mut server.connect(), &json!({"function": "job"}));
    assert_eq!(server.status()["unserved"], json!([]));
    wait_until("nobody runs it", || server.status()["unserved"][0]["function"] == "job");
    assert_eq!(server.status()["queues"]["job"]["parked"], 1);
    assert_eq!(show(&server, id)["parked"], true);
    let text = server.think(&["task:functions", "job"]).exits(0).stdout;
    assert!(text.contains("nobody runs it since"), "{text}");
    silent.send(&json!({"command": "heartbeat"}));
    wait_until("it is back", || server.status()["unserved"] == json!([]));
    assert_eq!(server.status()["queues"]["job"]["parked"], 0);
    silent.send(&json!({"command": "credit", "credit": 1}));
    assert_eq!(silent.next("task")["task_id"], id);
}

//! Workers that come back for their tasks after a lost connection.

use serde_json::{Value, json};

use super::rust::{HANDS_OUT, RustWorker, mail};
use super::{TestWorker, send, show};
use crate::harness::eventually::wait_until;
use crate::harness::mail::SilentMailServer;
use crate::harness::proxy::Proxy;
use crate::harness::server::Server;

/// Settings with which the tasks of a worker are held for it as long as a test takes.
const HELD: &str = "worker_lease_time = \"1d\"\nworker_resume_time = \"1d\"\n";
const SECRET: &str = "0123456789abcdef";

/// What a worker of a session sends to join, with these leases of before.
fn fields(session: &str, credit: u32, resumes: &[&Value]) -> Value {
    json!({
        "worker": "w", "credit": credit, "functions": [{"name": "job"}], "session": session, "resumes": resumes,
    })
}

fn running(server: &Server) -> Value {
    server.ledger()["running"].clone()
}

#[test]
fn worker_that_comes_back_has_the_leases_again_that_it_names() {
    let server = Server::with_settings(HELD);
    let mut client = server.connect();
    let mut worker = TestWorker::join_with(&server, fields(SECRET, 2, &[]));
    let kept = send(&mut client, &json!({"function": "job", "args": "kept"}));
    let first = worker.next("task");
    let other = send(&mut client, &json!({"function": "job", "args": "other"}));
    let second = worker.next("task");
    drop(worker);
    let mut next = TestWorker::join(&server, "next", 1, &["job"]);
    let mut worker = TestWorker::new(server.connect());
    let reply = worker.work(fields(SECRET, 0, &[&first["lease"], &json!("1.1"), &json!("")]));
    assert_eq!(reply["result"]["resumed"], json!([first["lease"]]), "{reply}");
    assert_eq!(reply["result"]["unknown"], json!(["1.1", ""]), "{reply}");
    // The one that it does not name goes to another worker, and the attempt does not count.
    let again = next.next("task");
    assert_eq!((&again["task_id"], &again["attempt"]), (&json!(other), &json!(1)));
    assert_eq!(worker.settle(&second, json!({"result": 0}))["stale"], json!([second["lease"]]));
    next.settle(&again, json!({"result": 2}));
    assert_eq!(worker.settle(&first, json!({"result": 1}))["stale"], json!([]));
    let results: Vec<_> = (0..2).map(|_| client.json()["result"].clone()).collect();
    assert_eq!(results, [2, 1]);
    assert_eq!(show(&server, kept)["attempts"], 1);
}

#[test]
fn lease_is_given_to_nobody_who_does_not_know_the_secret_of_its_session() {
    let server = Server::with_settings(HELD);
    let mut client = server.connect();
    let mut worker = TestWorker::join_with(&server, fields(SECRET, 1, &[]));
    send(&mut client, &json!({"function": "job"}));
    let task = worker.next("task");
    drop(worker);
    let mut other = TestWorker::new(server.connect());
    let reply = other.work(fields("fedcba9876543210", 1, &[&task["lease"]]));
    assert_eq!(reply["result"]["unknown"], json!([task["lease"]]), "{reply}");
    assert_eq!(other.settle(&task, json!({"result": "theirs"}))["stale"], json!([task["lease"]]));
    // Nor to its own worker, where this does not register the function any more.
    let mut without = fields(SECRET, 0, &[&task["lease"]]);
    without["functions"] = json!([{"name": "other"}]);
    let mut worker = TestWorker::new(server.connect());
    assert_eq!(worker.work(without)["result"]["unknown"], json!([task["lease"]]));
    let again = other.next("task");
    assert_eq!(again["attempt"], 1);
    other.settle(&again, json!({"result": "ours"}));
    assert_eq!(client.json()["result"], "ours");
}

#[test]
fn work_with_a_session_that_cannot_be_resumed_is_refused() {
    let server = Server::start();
    for (more, says) in [
        (json!({"session": "short"}), "a secret of 16 to 256 bytes"),
        (json!({"session": "x".repeat(257)}), "a secret of 16 to 256 bytes"),
        (json!({"session": SECRET, "heartbeats": false}), "sends heartbeats"),
        (json!({"resumes": ["1.1"]}), "needs the \"session\""),
        (json!({"session": SECRET, "resumes": vec!["1.1"; 10_001]}), "at most 10000"),
        (json!({"session": SECRET, "resumes": [1]}), "\"resumes\" must be"),
    ] {
        let mut fields = json!({"worker": "w", "functions": [{"name": "job"}]});
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let reply = TestWorker::new(server.connect()).work(fields);
        assert!(reply["error"].as_str().unwrap().contains(says), "{reply}");
    }
}

#[test]
fn worker_that_does_not_come_back_in_time_has_lost_its_tasks() {
    let server = Server::with_settings("worker_lease_time = \"1d\"\nworker_resume_time = \"200ms\"\n");
    let mut client = server.connect();
    let mut worker = TestWorker::join_with(&server, fields(SECRET, 1, &[]));
    let id = send(&mut client, &json!({"function": "job", "attempts": 9}));
    let task = worker.next("task");
    drop(worker);
    let mut next = TestWorker::join(&server, "next", 1, &["job"]);
    assert_eq!(next.next("task")["attempt"], 2);
    let mut worker = TestWorker::new(server.connect());
    let reply = worker.work(fields(SECRET, 0, &[&task["lease"]]));
    assert_eq!(reply["result"]["unknown"], json!([task["lease"]]), "{reply}");
    let first = show(&server, id)["history"][0]["error"].as_str().unwrap().to_owned();
    assert!(first.contains("\"w\" ended") && first.contains("not come back within 200ms"), "{first}");
}

#[test]
fn worker_that_comes_back_before_its_connection_has_ended_takes_its_leases_from_there() {
    let server = Server::with_settings(HELD);
    let mut client = server.connect();
    let mut old = TestWorker::join_with(&server, fields(SECRET, 1, &[]));
    send(&mut client, &json!({"function": "job"}));
    let task = old.next("task");
    let mut new = TestWorker::new(server.connect());
    let reply = new.work(fields(SECRET, 1, &[&task["lease"]]));
    assert_eq!(reply["result"]["resumed"], json!([task["lease"]]), "{reply}");
    assert_eq!(old.next("quiet")["why"], "resumed elsewhere");
    old.send(&json!({"command": "settle", "ends": [{"lease": task["lease"], "result": "old"}]}));
    assert_eq!(old.next("error")["code"], "conflict");
    drop(old);
    new.settle(&task, json!({"result": "new"}));
    assert_eq!(client.json()["result"], "new");
    assert_eq!(
        server.connect().send("{\"command\":\"workers\"}\n").json()["result"].as_array().unwrap().len(),
        1
    );
}

#[test]
fn task_of_a_worker_that_has_not_come_back_is_cancelled_and_given_up_at_a_stop() {
    let server = Server::with_settings(&format!("{HELD}max_wait_time = \"200ms\"\n"));
    let mut worker = TestWorker::join_with(&server, fields(SECRET, 1, &[]));
    server.connect().send("{\"function\":\"job\"}\n").json();
    worker.next("task");
    drop(worker);
    server.signal(rustix::process::Signal::TERM);
    let server = server.again("");
    let mut worker = TestWorker::join(&server, "w", 1, &["job"]);
    assert_eq!(worker.next("task")["attempt"], 1, "the attempt does not count");
}

#[test]
fn program_goes_on_with_its_tasks_after_a_cut_of_its_connection() {
    let silent = SilentMailServer::start();
    let server = Server::with_settings(&format!("{HANDS_OUT}{HELD}"));
    let proxy = Proxy::to(&server.address);
    let mut client = server.connect();
    let worker = RustWorker::with_silent_mail(&silent, &proxy.address, "--function send_mail");
    let mut only = mail();
    only["attempts"] = 1.into();
    let id = send(&mut client, &only);
    let running_mail = silent.accept();
    proxy.cut();
    worker.lines.line_with("goes on with the tasks that it had");
    assert_eq!(running(&server), 1);
    drop(running_mail);
    let end = client.json();
    assert!(end["status"] == "failed" && !end["error"].as_str().unwrap().contains("worker"), "{end}");
    assert_eq!(show(&server, id)["attempts"], 1);
}

#[test]
fn program_reports_what_has_ended_while_it_had_no_connection() {
    let silent = SilentMailServer::start();
    let server = Server::with_settings(&format!("{HANDS_OUT}{HELD}"));
    let proxy = Proxy::to(&server.address);
    let mut client = server.connect();
    let worker = RustWorker::with_silent_mail(&silent, &proxy.address, "--function send_mail");
    let mut only = mail();
    only["attempts"] = 1.into();
    let id = send(&mut client, &only);
    let running_mail = silent.accept();
    proxy.block();
    worker.lines.line_with("is tried again");
    drop(running_mail);
    worker.lines.line_with("is tried again");
    worker.lines.line_with("is tried again");
    proxy.unblock();
    let end = client.json();
    assert!(end["status"] == "failed" && !end["error"].as_str().unwrap().contains("worker"), "{end}");
    assert_eq!(show(&server, id)["attempts"], 1);
    wait_until("it takes another task", || {
        let workers = server.connect().send("{\"command\":\"workers\"}\n").json()["result"].take();
        workers[0]["running"] == 0
    });
}

#[test]
fn program_that_is_to_stop_without_a_connection_reports_its_tasks_first() {
    let silent = SilentMailServer::start();
    let server = Server::with_settings(&format!("{HANDS_OUT}{HELD}"));
    let proxy = Proxy::to(&server.address);
    let mut client = server.connect();
    let arguments = "--function send_mail --grace 10m";
    let worker = RustWorker::with_silent_mail(&silent, &proxy.address, arguments);
    let mut only = mail();
    only["attempts"] = 1.into();
    send(&mut client, &only);
    let running_mail = silent.accept();
    proxy.block();
    worker.lines.line_with("is tried again");
    worker.signal(rustix::process::Signal::TERM);
    worker.lines.line_with("is tried again");
    drop(running_mail);
    worker.lines.line_with("is tried again");
    proxy.unblock();
    let end = client.json();
    assert!(end["status"] == "failed" && !end["error"].as_str().unwrap().contains("worker"), "{end}");
    assert_eq!(worker.exit_code(), Some(0));
}

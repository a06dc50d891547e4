//! Workers that go on with their tasks while the server is reloaded, or killed and started again.

use std::io::Write;

use serde_json::{Value, json};

use super::rust::{HANDS_OUT, RustWorker, mail};
use super::{TestWorker, send};
use crate::harness::client::Client;
use crate::harness::daemon::{Daemon, project_with};
use crate::harness::eventually::wait_until;
use crate::harness::mail::SilentMailServer;

const SECRET: &str = "0123456789abcdef";
/// Settings with which the next process waits for workers as long as a test takes.
const PATIENT: &str = "worker_lease_time = \"1d\"\n";

/// A worker of a session that joins with these leases of before; the reply.
fn join(daemon: &Daemon, credit: u32, resumes: &[&Value]) -> (TestWorker, Value) {
    let mut worker = TestWorker::new(daemon.client());
    let reply = worker.work(json!({
        "worker": "w", "credit": credit, "functions": [{"name": "job"}], "session": SECRET, "resumes": resumes,
    }));
    assert_eq!(reply["status"], "ok", "{reply}");
    (worker, reply["result"].clone())
}

/// A worker without a session or heartbeats, and with credit for one task.
fn other(daemon: &Daemon) -> TestWorker {
    let mut worker = TestWorker::new(daemon.client());
    worker.work(json!({"worker": "other", "credit": 1, "heartbeats": false, "functions": [{"name": "job"}]}));
    worker
}

fn show(daemon: &Daemon, task: u64) -> Value {
    daemon.client().send(format!("{}\n", json!({"command": "show", "task": task}))).json()["result"].take()
}

fn kill_and_start(daemon: Daemon) -> Daemon {
    let project = daemon.into_project();
    Daemon::start(project, "")
}

#[track_caller]
fn reload(daemon: &mut Daemon) {
    daemon.think("task:reload").exits(0);
    daemon.follow_reload();
}

#[test]
fn reload_does_not_wait_for_a_worker_that_comes_back_and_leaves_it_its_leases() {
    let mut daemon = Daemon::start(project_with(PATIENT), "");
    let (mut worker, _) = join(&daemon, 1, &[]);
    let mut client = daemon.client();
    let id = send(&mut client, &json!({"function": "job"}));
    let task = worker.next("task");
    // The old process stays for the client that waits there.
    daemon.think("task:reload").exits(0);
    assert_eq!(worker.next("quiet")["why"], "reload");
    assert_eq!(worker.0.rest(), "");
    let _other = other(&daemon);
    let (mut worker, reply) = join(&daemon, 0, &[&task["lease"]]);
    assert_eq!(reply["resumed"], json!([task["lease"]]), "{reply}");
    assert_eq!(worker.settle(&task, json!({"result": 7}))["stale"], json!([]));
    assert_eq!(client.json()["result"], 7, "a client of the old process has the result");
    daemon.follow_reload();
    let task = show(&daemon, id);
    assert_eq!(task["attempts"], 1, "{task}");
}

#[test]
fn leases_outlive_kills_and_reloads_of_the_server_one_after_the_other() {
    let mut daemon = Daemon::start(project_with(PATIENT), "");
    let (mut worker, _) = join(&daemon, 2, &[]);
    let mut client = daemon.client();
    let ids = [(); 2].map(|()| send(&mut client, &json!({"function": "job"})));
    let tasks = [(); 2].map(|()| worker.next("task"));
    for is_reload in [false, true, false] {
        if is_reload {
            reload(&mut daemon);
        } else {
            daemon = kill_and_start(daemon);
        }
        assert_eq!(daemon.status()["ledger"]["running"], 2);
    }
    let mut next = other(&daemon);
    let (mut worker, reply) = join(&daemon, 0, &[&tasks[0]["lease"], &json!("1.1")]);
    assert_eq!((&reply["resumed"], &reply["unknown"]), (&json!([tasks[0]["lease"]]), &json!(["1.1"])));
    // The one that it does not name waits again, and the attempt does not count.
    let again = next.next("task");
    assert_eq!((&again["task_id"], &again["attempt"]), (&tasks[1]["task_id"], &json!(1)));
    next.settle(&again, json!({"result": 2}));
    worker.send(&json!({"command": "progress", "lease": tasks[0]["lease"], "percent": 50}));
    worker.settle(&tasks[0], json!({"result": 1}));
    let ledger = daemon.idle_ledger();
    assert_eq!((&ledger["done"], &ledger["accepted"]), (&json!(2), &json!(2)));
    for id in ids {
        assert_eq!(show(&daemon, id)["attempts"], 1);
    }
}

#[test]
fn task_of_a_worker_that_does_not_come_back_after_a_kill_of_the_server_is_lost() {
    let daemon = Daemon::start(project_with("worker_lease_time = \"300ms\"\n"), "");
    let (mut worker, _) = join(&daemon, 1, &[]);
    let id = send(&mut daemon.client(), &json!({"function": "job", "attempts": 9}));
    worker.next("task");
    let daemon = kill_and_start(daemon);
    let mut next = other(&daemon);
    assert_eq!(next.next("task")["attempt"], 2);
    let history = show(&daemon, id)["history"][0].clone();
    assert!(history["error"].as_str().unwrap().contains("did not come back within 300ms"), "{history}");
}

#[test]
fn cancel_of_a_task_whose_worker_is_away_reaches_it_when_it_comes_back() {
    let daemon = Daemon::start(project_with(PATIENT), "");
    let (mut worker, _) = join(&daemon, 1, &[]);
    let id = send(&mut daemon.client(), &json!({"function": "job"}));
    let task = worker.next("task");
    let daemon = kill_and_start(daemon);
    daemon.think(&format!("task:cancel {id}")).exits(0);
    let (mut worker, reply) = join(&daemon, 0, &[&task["lease"]]);
    assert_eq!(reply["resumed"], json!([task["lease"]]), "{reply}");
    assert_eq!(worker.next("cancel")["lease"], task["lease"]);
    worker.settle(&task, json!({"cancelled": true}));
    assert_eq!(daemon.idle_ledger()["cancelled"], 1);
}

#[test]
fn program_goes_on_with_its_tasks_over_a_reload_and_a_kill_of_the_server() {
    let silent = SilentMailServer::start();
    let mut daemon = Daemon::start(project_with(&format!("{HANDS_OUT}{PATIENT}")), "");
    let worker = RustWorker::with_silent_mail(&silent, &daemon.address, "--function send_mail");
    let mut only = mail();
    only["attempts"] = 1.into();
    only["timeout"] = "1h".into();
    // Nobody waits for it, so that the old process ends at once.
    let id = daemon.client().send(format!("{only}\n")).json()["task_id"].as_u64().unwrap();
    let running_mail = silent.accept();
    reload(&mut daemon);
    worker.lines.line_with("goes on with the tasks that it had");
    let daemon = kill_and_start(daemon);
    worker.lines.line_with("goes on with the tasks that it had");
    drop(running_mail);
    wait_until("the attempt has ended", || show(&daemon, id)["state"] == "failed");
    let task = show(&daemon, id);
    assert_eq!(task["attempts"], 1, "{task}");
    assert!(!task["error"].as_str().unwrap().contains("worker"), "{task}");
}

#[test]
fn file_of_running_tasks_that_is_damaged_is_no_obstacle_to_the_start() {
    let daemon = Daemon::start(project_with(PATIENT), "");
    let (mut worker, _) = join(&daemon, 1, &[]);
    send(&mut daemon.client(), &json!({"function": "job"}));
    worker.next("task");
    let project = daemon.into_project();
    let path = project.path("runtime/queue.db.running");
    let mut bytes = std::fs::read(&path).unwrap();
    // All that is no head: ids that do not exist, and workers that nobody has seen.
    bytes[64..].fill(0xa5);
    std::fs::File::create(&path).unwrap().write_all(&bytes).unwrap();
    let daemon = Daemon::start(project, "");
    let mut next = TestWorker::new(Client::connect(&daemon.address));
    next.work(json!({"worker": "next", "credit": 1, "functions": [{"name": "job"}]}));
    let task = next.next("task");
    next.settle(&task, json!({"result": 1}));
    assert_eq!(daemon.idle_ledger()["done"], 1);
}

//! The messages of workers, over lines, frames and WebSocket.

use serde_json::{Value, json};

use super::{QUICK, TestWorker, send, show};
use crate::harness::eventually::{eventually, wait_until};
use crate::harness::frames::FrameClient;
use crate::harness::server::Server;
use crate::harness::websocket::WebSocketClient;

#[test]
fn task_is_run_by_the_worker_that_has_registered_its_function() {
    let server = Server::start();
    let mut worker = TestWorker::new(server.connect());
    let reply = worker.work(json!({"worker": "w", "credit": 1, "functions": [{"name": "resize"}]}));
    assert_eq!(reply["result"]["lease_ms"], 15_000, "{reply}");
    let mut client = server.connect();
    let id = send(&mut client, &json!({"function": "resize", "args": {"width": 21}}));
    let task = worker.next("task");
    assert_eq!(
        (&task["task_id"], &task["function"], &task["attempt"]),
        (&json!(id), &json!("resize"), &json!(1))
    );
    assert_eq!((&task["args"], &task["timeout_ms"]), (&json!({"width": 21}), &json!(600_000)));
    worker.send(&json!({"command": "progress", "lease": task["lease"], "percent": 50, "text": "half"}));
    worker.send(&json!({"command": "log", "lease": task["lease"], "text": "a line"}));
    wait_until("the log line is there", || show(&server, id)["log"][0]["text"] == "a line");
    assert_eq!(show(&server, id)["progress"]["text"], "half");
    assert_eq!(worker.settle(&task, json!({"result": {"ok": true}}))["stale"], json!([]));
    let end = client.json();
    assert_eq!((&end["status"], &end["result"]), (&json!("done"), &json!({"ok": true})));
}

#[test]
fn worker_is_served_over_frames_and_websocket_as_over_lines() {
    let server = Server::start();
    let work = |name: &str| {
        json!({"command": "work", "worker": name, "credit": 1, "functions": [{"name": name}]}).to_string()
    };
    let settle = |task: &Value| {
        json!({"command": "settle", "ends": [{"lease": task["lease"], "result": null}]}).to_string()
    };
    let mut client = server.connect();
    let mut frames = FrameClient::connect(&server);
    assert_eq!(frames.send(work("framed")).json()["status"], "ok");
    let mut socket = WebSocketClient::connect(&server);
    socket.send(&work("socket"));
    assert_eq!(socket.json()["status"], "ok");
    send(&mut client, &json!({"function": "framed"}));
    let task = frames.json();
    assert_eq!(frames.send(settle(&task)).json()["status"], "settled", "{task}");
    assert_eq!(client.json()["status"], "done");
    send(&mut client, &json!({"function": "socket"}));
    let task = socket.json();
    socket.send(&settle(&task));
    assert_eq!((&socket.json()["status"], &client.json()["status"]), (&json!("settled"), &json!("done")));
}

#[test]
fn settle_ends_a_task_in_each_way_that_a_worker_can_report() {
    let server = Server::with_settings("min_retry_pause = \"1ms\"\n");
    let mut worker = TestWorker::join(&server, "w", 1, &["job"]);
    let mut client = server.connect();
    let two = json!({"function": "job", "attempts": 2});
    // A first error is followed by another attempt, a second one ends the task.
    send(&mut client, &two);
    let first = worker.next("task");
    worker.settle(&first, json!({"error": "bad", "retry": "10ms"}));
    let second = worker.next("task");
    assert_eq!((&second["task_id"], &second["attempt"]), (&first["task_id"], &json!(2)));
    worker.settle(&second, json!({"error": "worse"}));
    let end = client.json();
    assert_eq!((&end["status"], &end["error"]), (&json!("failed"), &json!("worse")));
    // An error that no attempt would mend ends the task at once.
    send(&mut client, &two);
    let task = worker.next("task");
    worker.settle(&task, json!({"error": "hopeless", "retry": false}));
    assert_eq!(client.json()["error"], "hopeless");
    // A task that was not run waits again, and the attempt does not count.
    send(&mut client, &two);
    let task = worker.next("task");
    worker.settle(&task, json!({"returned": true}));
    let again = worker.next("task");
    assert_eq!((&again["task_id"], &again["attempt"]), (&task["task_id"], &json!(1)));
    worker.settle(&again, json!({"result": 7}));
    assert_eq!(client.json()["result"], 7);
}

#[test]
fn settle_accepts_tasks_that_follow_with_the_end() {
    let server = Server::start();
    let mut worker = TestWorker::join(&server, "w", 1, &["job"]);
    let mut client = server.connect();
    send(&mut client, &json!({"function": "job"}));
    let task = worker.next("task");
    worker.settle(&task, json!({"result": 1, "push": [{"function": "echo", "args": "hi"}]}));
    assert_eq!(client.json()["status"], "done");
    wait_until("both tasks are done", || server.ledger()["done"] == 2);
    send(&mut client, &json!({"function": "job"}));
    let task = worker.next("task");
    worker.settle(&task, json!({"result": 1, "push": [{"function": "nobody"}]}));
    let end = client.json();
    assert!(end["error"].as_str().unwrap().contains("There is no function \"nobody\""), "{end}");
}

#[test]
fn message_about_a_lease_that_is_not_held_is_stale_and_changes_nothing() {
    let server = Server::start();
    let mut worker = TestWorker::join(&server, "w", 1, &["job"]);
    let mut other = TestWorker::join(&server, "o", 0, &["job"]);
    let mut client = server.connect();
    send(&mut client, &json!({"function": "job"}));
    let task = worker.next("task");
    assert_eq!(other.settle(&task, json!({"result": "theirs"}))["stale"], json!([task["lease"]]));
    for lease in ["", "0.0", "x", "..", "0.ffffffffffffffffff"] {
        let settled = worker.settle(&json!({"lease": lease}), json!({"result": 1}));
        assert_eq!(settled["stale"], json!([lease]));
        worker.send(&json!({"command": "progress", "lease": lease, "percent": 1}));
        assert_eq!(worker.next("stale")["lease"], lease);
    }
    worker.settle(&task, json!({"result": "ours"}));
    assert_eq!(worker.settle(&task, json!({"result": "twice"}))["stale"], json!([task["lease"]]));
    assert_eq!(client.json()["result"], "ours");
    assert_eq!(server.ledger()["done"], 1);
}

#[test]
fn message_that_is_wrong_is_refused_and_the_worker_goes_on() {
    let server = Server::start();
    let mut stranger = server.connect();
    for command in ["settle\",\"ends\":[]", "heartbeat\"", "leave\"", "credit\",\"credit\":1"] {
        let reply = stranger.send(format!("{{\"command\":\"{command}}}\n")).json();
        assert_eq!(reply["code"], "conflict", "{reply}");
    }
    let mut worker = TestWorker::join(&server, "w", 0, &["job"]);
    assert_eq!(worker.work(json!({"worker": "w", "functions": [{"name": "b"}]}))["code"], "conflict");
    for (end, says) in [
        (json!({"lease": "a"}), "it needs one of"),
        (json!({"lease": "a", "result": 1, "error": "x"}), "it needs one of"),
        (json!({"result": 1}), "missing field `lease`"),
        (json!({"lease": "a", "result": 1, "rest": 1}), "unknown field `rest`"),
        (json!({"lease": "a", "error": "x", "retry": "soon"}), "number 1"),
    ] {
        worker.send(&json!({"command": "settle", "ends": [end]}));
        let reply = worker.0.json();
        assert!(reply["error"].as_str().unwrap().contains(says), "{reply}");
    }
    let mut client = server.connect();
    send(&mut client, &json!({"function": "job"}));
    worker.send(&json!({"command": "credit", "credit": 1}));
    let task = worker.next("task");
    worker.settle(&task, json!({"result": null}));
    assert_eq!(client.json()["status"], "done");
}

#[test]
fn tasks_go_to_the_least_loaded_worker_and_never_beyond_the_credit() {
    let server = Server::start();
    let mut workers =
        [("a", 3), ("b", 5)].map(|(name, credit)| TestWorker::join(&server, name, credit, &["job"]));
    let mut client = server.connect();
    for _ in 0..20 {
        client.send("{\"function\":\"job\"}\n").json();
    }
    let listed = || {
        let list = server.connect().send("{\"command\":\"workers\"}\n").json()["result"].take();
        let running = |index: usize| list[index]["running"].as_u64().unwrap();
        [running(0), running(1)]
    };
    eventually("both have what they can start", || (listed() == [3, 5]).then_some(()));
    assert_eq!(server.ledger()["waiting"], 12);
    let task = workers[0].next("task");
    workers[0].settle(&task, json!({"result": 1}));
    eventually("the next task has come", || (server.ledger()["waiting"] == 11).then_some(()));
    assert_eq!(listed(), [3, 5]);
}

#[test]
fn credit_in_bytes_bounds_what_a_worker_holds() {
    let server = Server::start();
    let fields = json!({"worker": "w", "credit": 100, "credit_bytes": 2_500, "functions": [{"name": "job"}]});
    let mut worker = TestWorker::join_with(&server, fields);
    let mut client = server.connect();
    for _ in 0..10 {
        client.send(format!("{}\n", json!({"function": "job", "args": "x".repeat(1_000)}))).json();
    }
    wait_until("three tasks run", || server.ledger()["running"] == 3);
    let task = worker.next("task");
    worker.settle(&task, json!({"result": 1}));
    wait_until("another one runs", || server.ledger()["waiting"] == 6);
    assert_eq!(server.ledger()["running"], 3);
}

#[test]
fn drain_gives_a_worker_no_further_tasks() {
    let server = Server::with_settings(QUICK);
    let mut worker = TestWorker::join(&server, "host:4242", 5, &["job"]);
    server.think(&["task:workers", "--drain", "host:4242"]).exits(0);
    assert_eq!(worker.next("quiet")["why"], "drain");
    server.connect().send("{\"function\":\"job\"}\n").json();
    let listed = server.think(&["task:workers", "--json"]).exits(0).json();
    assert_eq!((&listed[0]["quiet"], &listed[0]["running"]), (&json!(true), &json!(0)));
    let wrong = server.think(&["task:workers", "--drain", "host:4241"]);
    assert!(wrong.code != Some(0) && wrong.stderr.contains("Did you mean \"host:4242\"?"), "{wrong:?}");
}

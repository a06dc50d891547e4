//! Workers that keep no connection: they get tasks by one request over HTTP, and settle them by another.

use serde_json::{Value, json};

use super::{QUICK, TestWorker, send, show};
use crate::harness::client::Client;
use crate::harness::curl::{Response, curl, curl_at};
use crate::harness::daemon::{Daemon, project_with};
use crate::harness::eventually::wait_until;
use crate::harness::server::Server;

/// A function is known once a worker has asked for its tasks.
fn register(server: &Server) {
    assert!(poll(&server.address, "functions=job&wait=0").is_empty());
}

/// The tasks that a request gets.
#[track_caller]
fn poll(address: &str, query: &str) -> Vec<Value> {
    let response = curl_at(address, &["-X", "POST", &format!("/work?{query}")]).is(200);
    assert_eq!(response.header("content-type"), Some("application/x-ndjson"));
    response.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
fn post(address: &str, path: &str, body: &Value) -> Response {
    curl_at(address, &["--json", &body.to_string(), path])
}

#[track_caller]
fn settle(address: &str, lease: &Value, mut end: Value) -> Value {
    end["lease"] = lease.clone();
    post(address, "/work/settle", &json!({ "ends": [end] })).is(200).json()
}

#[test]
fn poll_gets_tasks_up_to_its_credit_and_settle_ends_them() {
    let server = Server::start();
    register(&server);
    let mut client = server.connect();
    for args in ["a", "b", "c"] {
        send(&mut client, &json!({"function": "job", "args": args}));
    }
    let tasks = poll(&server.address, "worker=cron&language=php/8.2&functions=job,other&credit=2&wait=20s");
    let args: Vec<_> = tasks.iter().map(|task| task["args"].clone()).collect();
    assert_eq!(args, ["a", "b"], "{tasks:?}");
    assert_eq!((&tasks[0]["status"], &tasks[0]["attempt"]), (&json!("task"), &json!(1)));
    let workers = curl(&server, &["/workers"]).is(200).json();
    assert_eq!((&workers[0]["name"], &workers[0]["running"]), (&json!("cron"), &json!(2)), "{workers}");
    let line = json!({"lease": tasks[0]["lease"], "percent": 50.0, "text": "half"});
    assert_eq!(post(&server.address, "/work/progress", &line).is(200).json(), json!({}));
    let line = json!({"lease": tasks[0]["lease"], "text": "a line"});
    assert_eq!(post(&server.address, "/work/log", &line).is(200).json(), json!({}));
    assert_eq!(show(&server, 0)["log"][0]["text"], "a line");
    // A result is taken as it is written.
    let ends = format!(
        "{{\"ends\":[{{\"lease\":{},\"result\":12345678901234567890123}},{{\"lease\":{},\"error\":\"no\",\"retry\":false}}]}}",
        tasks[0]["lease"], tasks[1]["lease"]
    );
    let settled = curl(&server, &["--json", &ends, "/work/settle"]).is(200);
    assert_eq!(settled.json(), json!({"status": "settled", "stale": []}));
    assert!(client.line().contains("12345678901234567890123"));
    assert_eq!(client.json()["status"], "failed");
    assert_eq!(show(&server, 0)["history"][0]["worker"], "cron");
    assert_eq!(
        settle(&server.address, &tasks[0]["lease"], json!({"result": 1}))["stale"],
        json!([tasks[0]["lease"]])
    );
    assert_eq!(curl(&server, &["/workers"]).json(), json!([]));
    assert_eq!(server.ledger()["waiting"], 1);
}

#[test]
fn poll_waits_for_the_first_task_and_gets_none_when_the_time_is_over() {
    let server = Server::start();
    register(&server);
    assert!(poll(&server.address, "functions=job&wait=50ms").is_empty());
    let address = server.address.clone();
    let waiting = std::thread::spawn(move || poll(&address, "functions=job&wait=60s"));
    wait_until("the worker waits", || curl(&server, &["/workers"]).json()[0]["credit"] == 1);
    let id = send(&mut server.connect(), &json!({"function": "job"}));
    assert_eq!(waiting.join().unwrap()[0]["task_id"], id);
}

#[test]
fn poll_that_does_not_wait_gets_all_that_waits() {
    let server = Server::start();
    register(&server);
    let mut client = server.connect();
    client.send("{\"function\":\"job\",\"reply\":\"ack\"}\n".repeat(700));
    (0..700).for_each(|_| drop(client.json()));
    assert_eq!(poll(&server.address, "functions=job&credit=600&wait=0").len(), 600);
    for _ in 0..100 {
        assert_eq!(poll(&server.address, "functions=job&wait=0").len(), 1);
    }
    assert!(poll(&server.address, "functions=job&wait=0").is_empty());
}

#[test]
fn token_that_is_bound_to_a_queue_gets_tasks_of_it() {
    let tokens =
        "tokens = \"bound-0123456789:work(queue:images), free-01234567890:work, sender-0123456789:send\"\n";
    let server = Server::with_settings(tokens);
    let post = |token: &str, path: &str, body: &Value| {
        let header = format!("Authorization: Bearer {token}");
        curl(&server, &["-H", &header, "--json", &body.to_string(), path])
    };
    let functions = json!({"functions": [{"name": "crop", "queue": "images"}, {"name": "pay"}]});
    post("free-01234567890", "/work?wait=0", &functions).is(200);
    for function in ["crop", "pay"] {
        post("sender-0123456789", &format!("/tasks/{function}"), &json!(1)).is(202);
    }
    post("bound-0123456789", "/work?wait=0", &json!({"functions": [{"name": "pay", "queue": "images"}]}))
        .is(403);
    let bound = |query: &str| {
        let header = "Authorization: Bearer bound-0123456789";
        curl(&server, &["-X", "POST", "-H", header, &format!("/work?wait=0&{query}")])
    };
    bound("functions=pay").is(403);
    assert!(bound("functions=crop").is(200).body.contains("\"function\":\"crop\""));
}

#[test]
fn poll_registers_its_functions_with_what_a_body_says_of_them() {
    let server = Server::start();
    let functions = json!({"functions": [{"name": "job", "timeout": "30s", "attempts": 3}]});
    assert_eq!(post(&server.address, "/work?wait=0", &functions).is(200).body, "");
    register(&server);
    let id = send(&mut server.connect(), &json!({"function": "job"}));
    let task = show(&server, id);
    assert_eq!((&task["timeout_ms"], &task["max_attempts"]), (&json!(30_000), &json!(3)), "{task}");
    for (body, says) in [
        (json!({"functions": ["job"]}), "number 1"),
        (json!({"functions": [{"name": "job"}], "credit": 2}), "credit"),
        (json!([]), "object"),
    ] {
        let problem = post(&server.address, "/work?wait=0", &body).is(400).json();
        assert!(problem["detail"].as_str().unwrap().contains(says), "{problem}");
    }
    // One that is only similar to a known one is a mistake, unless a body says that it is none.
    let typo = curl(&server, &["-X", "POST", "/work?functions=jobb&wait=0"]).is(404).json();
    assert_eq!(typo["suggestion"], "job", "{typo}");
    post(&server.address, "/work?wait=0", &json!({"functions": [{"name": "jobb", "attempts": 1}]})).is(200);
}

#[test]
fn poll_of_a_client_that_hangs_up_holds_no_task() {
    let server = Server::start();
    register(&server);
    let mut client = server.connect();
    client.send("POST /work?functions=job&wait=60s HTTP/1.1\r\nHost: localhost\r\n\r\n");
    wait_until("the worker waits", || curl(&server, &["/workers"]).json()[0]["credit"] == 1);
    drop(client);
    send(&mut server.connect(), &json!({"function": "job"}));
    let task = &poll(&server.address, "functions=job&wait=20s")[0];
    assert_eq!(task["attempt"], 1);
}

#[test]
fn task_is_lost_when_its_timeout_is_over() {
    let server = Server::with_settings(QUICK);
    register(&server);
    let id = send(&mut server.connect(), &json!({"function": "job", "timeout": "100ms"}));
    let task = poll(&server.address, "worker=w&functions=job&wait=20s").remove(0);
    let again = poll(&server.address, "functions=job&wait=20s").remove(0);
    assert_eq!((&again["task_id"], &again["attempt"]), (&task["task_id"], &json!(2)));
    let error = show(&server, id)["history"][0]["error"].as_str().unwrap().to_owned();
    assert!(error.contains("\"w\" was lost: its timeout of 100ms is over"), "{error}");
    assert_eq!(
        settle(&server.address, &task["lease"], json!({"result": 1}))["stale"],
        json!([task["lease"]])
    );
}

#[test]
fn heartbeat_names_the_leases_that_are_to_stop_and_those_that_are_lost() {
    let server = Server::with_settings("worker_cancel_time = \"1d\"\n");
    register(&server);
    let mut client = server.connect();
    let ids = [(); 2].map(|()| send(&mut client, &json!({"function": "job"})));
    let tasks = poll(&server.address, "functions=job&credit=2&wait=20s");
    let leases: Vec<_> = tasks.iter().map(|task| task["lease"].clone()).collect();
    let beat = |leases: &Value| {
        post(&server.address, "/work/heartbeat", &json!({ "leases": leases })).is(200).json()
    };
    assert_eq!(beat(&json!(leases)), json!({"cancel": [], "stale": []}));
    curl(&server, &["-X", "DELETE", &format!("/tasks/{}", ids[1])]).is(200);
    wait_until("the worker is asked to stop", || beat(&json!(leases))["cancel"] == json!([leases[1]]));
    settle(&server.address, &leases[1], json!({"cancelled": true}));
    assert_eq!(client.json()["status"], "cancelled");
    assert_eq!(beat(&json!([leases[1], "1.1", "x"]))["stale"], json!([leases[1], "1.1", "x"]));
    settle(&server.address, &leases[0], json!({"result": 1}));
    assert_eq!(client.json()["result"], 1);
}

#[test]
fn lease_is_settled_by_nobody_who_does_not_know_its_secret() {
    let server = Server::start();
    register(&server);
    send(&mut server.connect(), &json!({"function": "job"}));
    let task = poll(&server.address, "functions=job&wait=20s").remove(0);
    let lease = task["lease"].as_str().unwrap();
    let (name, secret) = lease.rsplit_once('.').unwrap();
    assert_eq!(secret.len(), 32, "{lease}");
    for wrong in [format!("{name}.{}", "0".repeat(32)), format!("{name}."), format!("{lease}x")] {
        assert_eq!(settle(&server.address, &json!(wrong), json!({"result": 1}))["stale"], json!([wrong]));
    }
    let refused = post(&server.address, "/work/settle", &json!({"ends": [{"lease": name, "result": 1}]}));
    assert!(refused.is(409).body.contains("no worker"));
    // The connection of a worker settles what it knows the secret of, too.
    let mut worker = TestWorker::join(&server, "w", 0, &["job"]);
    let settled = worker.settle(&json!({"lease": name}), json!({"result": 1}));
    assert_eq!(settled["stale"], json!([name]));
    assert_eq!(worker.settle(&task, json!({"result": 1}))["stale"], json!([]));
    assert_eq!(show(&server, 0)["state"], "done");
}

#[test]
fn lease_outlives_a_reload_a_stop_and_a_kill_of_the_server() {
    let mut daemon = Daemon::start(project_with("worker_lease_time = \"1d\"\n"), "");
    assert!(poll(&daemon.address, "functions=job&wait=0").is_empty());
    post(&daemon.address, "/tasks/job", &Value::Null).is(202);
    let task = poll(&daemon.address, "worker=w&functions=job&wait=20s").remove(0);
    daemon.think("task:reload").exits(0);
    daemon.follow_reload();
    daemon = Daemon::start(daemon.into_project(), "");
    let stopped = daemon.think("task:stop");
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    daemon = Daemon::start(daemon.into_project(), "");
    assert_eq!(daemon.status()["ledger"]["running"], 1);
    let lease = &task["lease"];
    let beat = post(&daemon.address, "/work/heartbeat", &json!({"leases": [lease]})).is(200).json();
    assert_eq!(beat, json!({"cancel": [], "stale": []}));
    assert_eq!(settle(&daemon.address, lease, json!({"result": 7}))["stale"], json!([]));
    let mut client: Client = daemon.client();
    let shown = client.send(format!("{}\n", json!({"command": "show", "task": task["task_id"]}))).json();
    assert_eq!(
        (&shown["result"]["state"], &shown["result"]["attempts"]),
        (&json!("done"), &json!(1)),
        "{shown}"
    );
}

#[test]
fn work_that_cannot_be_is_refused_with_the_reason() {
    let server = Server::with_settings("tokens = \"bound-0123456789:work(resize), free-01234567890:work\"\n");
    let refused = |token: &str, path: &str, status: u16| {
        let header = format!("Authorization: Bearer {token}");
        curl(&server, &["-X", "POST", "-H", &header, path]).is(status).json()["detail"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (bound, free) = ("bound-0123456789", "free-01234567890");
    assert!(refused(free, "/work", 400).contains("\"functions\""));
    assert!(refused(free, "/work?functions=&wait=0", 400).contains("name"));
    assert!(refused(free, "/work?functions=job&credit=0", 400).contains("\"credit\""));
    assert!(refused(free, "/work?functions=job&credit=x", 400).contains("\"credit\""));
    assert!(refused(free, "/work?functions=job&wait=6m", 400).contains("max_http_wait"));
    assert!(refused(free, "/work?function=job", 400).contains("no query parameter"));
    assert!(refused(bound, "/work?functions=job&wait=0", 403).contains("may not run"));
    assert!(refused("wrong-0123456789", "/work?functions=job", 401).contains("token"));
    assert!(refused(free, "/work/settle", 400).contains("\"ends\""));
    curl(&server, &["-H", &format!("Authorization: Bearer {free}"), "--json", "[1]", "/work/settle"]).is(400);
    let few = Server::with_settings("max_workers = 1\n");
    let _one = TestWorker::join(&few, "one", 0, &["job"]);
    let busy = curl(&few, &["-X", "POST", "/work?functions=job&wait=0"]).is(503);
    assert!(busy.json()["detail"].as_str().unwrap().contains("max_workers"));
}

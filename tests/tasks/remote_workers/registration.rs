//! Functions that workers register: their schemas, their bounds, and how long they are known.

use serde_json::{Value, json};

use super::{TestWorker, send, show};
use crate::harness::Project;
use crate::harness::eventually::wait_until;
use crate::harness::server::Server;

/// The reply to a worker that joins with this function.
#[track_caller]
fn join(server: &Server, function: &Value) -> (TestWorker, Value) {
    let mut worker = TestWorker::new(server.connect());
    let reply = worker.work(json!({"worker": "w", "credit": 1, "functions": [function]}));
    (worker, reply)
}

fn resize(schema: &Value) -> Value {
    json!({"name": "resize", "queue": "images", "attempts": 3, "timeout": "30s", "schema": schema})
}

#[test]
fn arguments_are_checked_by_the_registered_schema_before_anything_is_queued() {
    let server = Server::start();
    let schema = json!({"type": "object", "properties": {"width": {"type": "integer"}}, "required": ["width"],
        "description": "Scale a picture"});
    let (_worker, reply) = join(&server, &resize(&schema));
    assert_eq!(reply["status"], "ok", "{reply}");
    let mut client = server.connect();
    for args in [json!({"width": "x"}), json!({}), json!(null)] {
        let reply = client.send(format!("{}\n", json!({"function": "resize", "args": args}))).json();
        assert_eq!(reply["code"], "bad_arguments", "{reply}");
    }
    let id = send(&mut client, &json!({"function": "resize", "args": {"width": 1}}));
    let shown = show(&server, id);
    assert_eq!((&shown["queue"], &shown["max_attempts"]), (&json!("images"), &json!(3)));
    let functions = client.send("{\"command\":\"functions\",\"function\":\"resize\"}\n").json();
    let info = &functions["result"][0];
    assert_eq!((&info["registered"], &info["schema"]["required"]), (&json!(true), &json!(["width"])));
    assert_eq!(info["description"], "Scale a picture");
    let elsewhere =
        client.send("{\"function\":\"resize\",\"args\":{\"width\":1},\"queue\":\"mail\"}\n").json();
    assert!(elsewhere["error"].as_str().unwrap().contains("\"images\""), "{elsewhere}");
    let near = client.send("{\"function\":\"resise\"}\n").json();
    assert_eq!(near["suggestion"], "resize");
}

#[test]
fn task_of_a_function_that_nobody_runs_now_waits_and_the_status_says_so() {
    let server = Server::start();
    let (worker, _) = join(&server, &json!({"name": "resize"}));
    drop(worker);
    wait_until("the worker has gone", || {
        server.connect().send("{\"command\":\"workers\"}\n").json()["result"] == json!([])
    });
    let id = server.connect().send("{\"function\":\"resize\"}\n").json()["task_id"].as_u64().unwrap();
    assert_eq!(
        (&show(&server, id)["state"], &show(&server, id)["parked"]),
        (&json!("waiting"), &json!(true))
    );
    let status = server.status();
    assert_eq!(status["unserved"][0]["function"], "resize", "{status}");
    assert_eq!(status["queues"]["resize"]["parked"], 1);
    let text = server.think(&["task:status"]).exits(0).stdout;
    assert!(text.contains("nobody runs"), "{text}");
    let (mut worker, _) = join(&server, &json!({"name": "resize"}));
    assert_eq!(worker.next("task")["task_id"], id);
    assert_eq!(server.status()["unserved"], json!([]));
}

#[test]
fn registered_function_is_known_after_a_kill_and_its_tasks_wait_for_a_worker() {
    for durability in ["fsync", "async"] {
        let server = Server::with_settings(&format!("durability = \"{durability}\"\n"));
        let schema = json!({"type": "object", "required": ["width"]});
        let (mut worker, _) = join(&server, &resize(&schema));
        let mut client = server.connect();
        let running = send(&mut client, &json!({"function": "resize", "args": {"width": 1}}));
        worker.next("task");
        let waiting = send(&mut client, &json!({"function": "resize", "args": {"width": 2}}));
        server.signal(rustix::process::Signal::KILL);
        let server = server.again("");
        let reply = server.connect().send("{\"function\":\"resize\"}\n").json();
        assert_eq!(reply["code"], "bad_arguments", "{reply}");
        let (mut worker, _) = join(&server, &resize(&schema));
        let task = worker.next("task");
        assert_eq!(
            (&task["task_id"], &task["attempt"]),
            (&json!(running), &json!(1)),
            "it is no crash of the task"
        );
        worker.settle(&task, json!({"result": 1}));
        assert_eq!(worker.next("task")["task_id"], waiting);
    }
}

#[test]
fn second_schema_of_a_function_is_refused_unless_it_replaces_the_first() {
    let server = Server::start();
    let (old, _) = join(&server, &resize(&json!({"type": "object"})));
    let (_same, reply) = join(&server, &resize(&json!({"type": "object"})));
    assert_eq!(reply["status"], "ok", "{reply}");
    let (_, reply) = join(&server, &resize(&json!({"type": "array"})));
    assert_eq!(reply["code"], "schema_conflict", "{reply}");
    let mut newer = resize(&json!({"type": "array"}));
    newer["replaces"] = true.into();
    let (_newer, reply) = join(&server, &newer);
    assert_eq!(reply["status"], "ok", "{reply}");
    let reply = server.connect().send("{\"function\":\"resize\",\"args\":{}}\n").json();
    assert_eq!(reply["code"], "bad_arguments", "{reply}");
    drop(old);
}

#[test]
fn registration_is_refused_when_it_is_wrong_or_beyond_a_bound() {
    let settings = "max_workers = 1\nmax_worker_functions = 2\nmax_registered_functions = 2\nmax_function_schema = 100\n";
    let server = Server::with_settings(settings);
    for (function, code, says) in [
        (json!({"name": "echo"}), "schema_conflict", "function \"echo\" of its own"),
        (json!({"name": "a b"}), "bad_request", "\"name\""),
        (json!({"name": "a", "quue": "x"}), "bad_request", "unknown field `quue`"),
        (json!({"name": "a", "schema": {"type": "nothing"}}), "bad_request", "cannot be used"),
        (json!({"name": "a", "schema": {"$ref": "http://127.0.0.1:1/a"}}), "bad_request", "cannot be used"),
        (json!({"name": "a", "schema": {"description": "x".repeat(200)}}), "too_long", "max_function_schema"),
    ] {
        let (_, reply) = join(&server, &function);
        assert_eq!(reply["code"], code, "{reply}");
        assert!(reply["error"].as_str().unwrap().contains(says), "{reply}");
    }
    let names = |names: &[&str]| -> Value { names.iter().map(|name| json!({"name": name})).collect() };
    let work = |functions: Value| {
        let mut worker = TestWorker::new(server.connect());
        let reply = worker.work(json!({"worker": "w", "functions": functions}));
        (worker, reply)
    };
    assert!(work(names(&["a", "b", "c"])).1["error"].as_str().unwrap().contains("max_worker_functions"));
    assert_eq!(work(names(&[])).1["code"], "bad_request");
    let (worker, reply) = work(names(&["a", "b"]));
    assert_eq!(reply["status"], "ok", "{reply}");
    assert!(work(names(&["a"])).1["error"].as_str().unwrap().contains("max_workers"));
    drop(worker);
    wait_until("one function more is too many, also beside a known one", || {
        work(names(&["a", "d"])).1["error"]
            .as_str()
            .is_some_and(|error| error.contains("max_registered_functions"))
    });
    wait_until("there is room for another worker", || {
        work(names(&["c"])).1["error"]
            .as_str()
            .is_some_and(|error| error.contains("max_registered_functions"))
    });
    let limits = server.status()["limits"].clone();
    for limit in ["max_workers", "max_worker_functions", "max_registered_functions", "max_function_schema"] {
        assert!(limits[limit].as_u64().unwrap() > 0, "{limit} in {limits}");
    }
}

#[test]
fn work_needs_a_token_of_its_own_scope() {
    let tokens = "tokens = \"worker-0123456789:work, sender-0123456789:send+inspect\"\n";
    let server = Server::with(Project::with_settings(tokens), "");
    let mut worker = TestWorker::new(server.connect());
    let fields = json!({"worker": "w", "credit": 1, "functions": [{"name": "job"}]});
    assert_eq!(worker.work(fields.clone())["code"], "unauthorized");
    let mut worker = TestWorker::new(server.connect());
    worker.0.send("auth sender-0123456789\n").json();
    assert_eq!(worker.work(fields.clone())["code"], "forbidden");
    let mut worker = TestWorker::new(server.connect());
    worker.0.send("auth worker-0123456789\n").json();
    assert_eq!(worker.work(fields)["status"], "ok");
    for request in
        ["{\"function\":\"job\"}", "{\"command\":\"show\",\"task\":0}", "{\"command\":\"workers\"}"]
    {
        assert_eq!(worker.0.send(format!("{request}\n")).json()["code"], "forbidden");
    }
    let mut client = server.connect();
    client.send("auth sender-0123456789\n").json();
    send(&mut client, &json!({"function": "job"}));
    let task = worker.next("task");
    worker.settle(&task, json!({"result": 1}));
    assert_eq!(client.json()["status"], "done");
    // Nor does it send tasks with the ends of others.
    worker.0.send("{\"command\":\"credit\",\"credit\":1}\n");
    send(&mut client, &json!({"function": "job"}));
    let task = worker.next("task");
    worker.settle(&task, json!({"result": 1, "push": [{"function": "echo", "args": "hi"}]}));
    let end = client.json();
    assert!(end["error"].as_str().unwrap().contains("does not have the scope \"send\""), "{end}");
}

#[test]
fn token_that_is_bound_to_functions_runs_no_other_and_sees_no_other_arguments() {
    let tokens = "tokens = \"bound-0123456789:work(resize), sender-0123456789:send\"\n";
    let server = Server::with(Project::with_settings(tokens), "");
    let mut worker = TestWorker::new(server.connect());
    worker.0.send("auth bound-0123456789\n").json();
    let work = |names: &[&str]| -> Value {
        let functions: Value = names.iter().map(|name| json!({"name": name})).collect();
        json!({"worker": "w", "credit": 9, "functions": functions})
    };
    for names in [&["pay"][..], &["resize", "pay"]] {
        let reply = worker.work(work(names));
        assert_eq!(reply["code"], "forbidden", "{reply}");
    }
    assert_eq!(worker.work(work(&["resize"]))["status"], "ok");
    for request in
        ["show\",\"task\":0", "list\"", "functions\"", "watch\",\"task\":0", "workers\"", "drain\""]
    {
        let reply = worker.0.send(format!("{{\"command\":\"{request}}}\n")).json();
        assert_eq!(reply["code"], "forbidden", "{reply}");
    }
    let mut client = server.connect();
    client.send("auth sender-0123456789\n").json();
    assert_eq!(client.send("{\"function\":\"pay\"}\n").json()["code"], "unknown_function");
    send(&mut client, &json!({"function": "resize"}));
    assert_eq!(worker.next("task")["function"], "resize");
}

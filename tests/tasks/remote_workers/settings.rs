//! Settings and schedules that name registered functions and their queues.

use serde_json::{Value, json};

use super::{TestWorker, send, show};
use crate::harness::Project;
use crate::harness::eventually::wait_until;
use crate::harness::server::Server;

/// A function in a queue of another name.
fn picture() -> Value {
    let schema =
        json!({"type": "object", "properties": {"width": {"type": "integer"}}, "required": ["width"]});
    json!({"name": "picture", "queue": "images", "schema": schema})
}

fn join(server: &Server, credit: u32) -> TestWorker {
    TestWorker::join_with(server, json!({"worker": "w", "credit": credit, "functions": [picture()]}))
}

/// Settings that name a function, and its queue.
const NAMED: &str = "default_function = \"picture\"\nqueue_rates = { images = \"1000/s\" }\n\
                     queue_weights = { images = 3 }\nfunction_retention = { picture = \"1h\" }\n";
/// A request to the default function.
const DEFAULT: &str = "{\"function\":null,\"args\":{\"width\":1}}\n";
const LOG: &str = "log_file = \"server.log\"\n";
const NIGHTLY: &str = "[nightly]\nfunction = \"picture\"\nargs = { width = 21 }\ncron = \"0 3 * * *\"\n";

fn project(settings: &str) -> Project {
    let project = Project::with_settings(settings);
    project.write("config/schedule.toml", NIGHTLY);
    project
}

/// Waits until the server's log has this.
fn logs(server: &Server, text: &str) {
    wait_until(text, || server.project.read("server.log").contains(text));
}

#[test]
fn settings_name_a_function_that_a_worker_registers_later() {
    for durability in ["fsync", "memory"] {
        let settings = format!("{NAMED}{LOG}durability = \"{durability}\"\n");
        let server = Server::with(project(&settings), "");
        for said in [
            "default_function names the function \"picture\"",
            "function_retention names the function \"picture\"",
            "queue_rates names the queue \"images\"",
            "queue_weights names the queue \"images\"",
            "the schedule \"nightly\" makes no task before a worker registers the function \"picture\"",
        ] {
            logs(&server, said);
        }
        let mut client = server.connect();
        assert_eq!(client.send(DEFAULT).json()["code"], "unknown_function");
        let ran = server.think(&["schedule:run", "nightly"]).exits(5);
        assert!(ran.stderr.contains("There is no function \"picture\"."), "{ran:?}");
        server.think(&["schedule:list"]).exits(0);
        let mut worker = join(&server, 9);
        assert_eq!(
            client.send("{\"function\":null,\"args\":{\"width\":\"x\"}}\n").json()["code"],
            "bad_arguments"
        );
        assert_eq!(client.send(DEFAULT).json()["status"], "queued");
        assert_eq!(worker.next("task")["args"], json!({"width": 1}));
        server.think(&["schedule:run", "nightly"]).exits(0);
        assert_eq!(worker.next("task")["args"], json!({"width": 21}));
        let queues = server.think(&["queue:list", "--json"]).exits(0).json();
        let images = queues.as_array().unwrap().iter().find(|queue| queue["name"] == "images").unwrap();
        assert_eq!((&images["weight"], &images["rate"]), (&json!(3), &json!("1000/s")), "{queues}");
    }
}

#[test]
fn settings_name_a_function_that_is_known_from_earlier() {
    let server = Server::start();
    drop(join(&server, 0));
    server.project.think("task:stop").exits(0);
    let project = server.into_project();
    project.write("config/server.toml", &format!("port = 0\n{NAMED}{LOG}"));
    project.write("config/schedule.toml", NIGHTLY);
    let server = Server::with(project, "");
    assert_eq!(server.connect().send(DEFAULT).json()["status"], "queued");
    server.think(&["schedule:run", "nightly"]).exits(0);
    let list = server.think(&["schedule:list", "--json"]).exits(0).json();
    assert_eq!((&list[0]["function"], &list[0]["queue"]), (&json!("picture"), &json!("images")), "{list}");
    server.project.think("task:stop").exits(0);
    let project = server.into_project();
    let log = project.read("server.log");
    assert!(!log.contains("names the") && !log.contains("makes no task"), "nothing is unknown: {log}");
    project.think("schedule:list").exits(0);
    let ran = project.think("task:check").exits(0);
    assert!(ran.stderr.contains("2 tasks waiting"), "{ran:?}");
    for (settings, near) in [
        ("default_function = \"pictrue\"", "picture"),
        ("function_retention = { pictrue = \"1h\" }", "picture"),
        ("queue_rates = { imagse = \"1/s\" }", "images"),
        ("queue_weights = { imagse = 2 }", "images"),
        ("task_queues = { images = 2, \"*\" = 2 }", "outside of the server"),
    ] {
        project.write("config/server.toml", &format!("port = 0\n{settings}\n"));
        let ran = project.think("task:start").exits(1);
        assert!(ran.stderr.contains(near), "{settings}: {ran:?}");
    }
    project.write("config/server.toml", "port = 0\n");
    project.write("config/schedule.toml", &NIGHTLY.replace("picture", "pictrue"));
    let ran = project.think("task:start").exits(1);
    assert!(ran.stderr.contains("Did you mean \"picture\"?"), "{ran:?}");
}

#[test]
fn schedule_whose_arguments_do_not_fit_the_registered_schema_is_no_obstacle_to_the_start() {
    let server = Server::start();
    drop(join(&server, 0));
    server.project.think("task:stop").exits(0);
    let project = server.into_project();
    project.write("config/server.toml", LOG);
    project.write("config/schedule.toml", &NIGHTLY.replace("21", "\"wide\""));
    let server = Server::with(project, "");
    logs(&server, "the schedule \"nightly\" makes no task yet");
    let ran = server.think(&["schedule:run", "nightly"]).exits(5);
    assert!(ran.stderr.contains("do not fit the function \"picture\" at /width"), "{ran:?}");
}

#[test]
fn rate_of_a_queue_holds_for_registered_functions_too() {
    for durability in ["fsync", "memory"] {
        let settings = format!("durability = \"{durability}\"\nqueue_rates = {{ images = \"1/h\" }}\n");
        let server = Server::with_settings(&settings);
        let functions = json!([picture(), {"name": "crop", "queue": "images"}, {"name": "other"}]);
        let fields = json!({"worker": "w", "credit": 9, "functions": functions});
        let mut worker = TestWorker::join_with(&server, fields);
        let mut client = server.connect();
        send(&mut client, &json!({"function": "picture", "args": {"width": 1}}));
        assert_eq!(worker.next("task")["function"], "picture");
        for function in ["picture", "crop", "other"] {
            send(&mut client, &json!({"function": function, "args": {"width": 1}}));
        }
        assert_eq!(worker.next("task")["function"], "other", "the others of the queue have to wait");
        assert_eq!(server.status()["queues"]["images"]["waiting"], 2);
    }
}

#[test]
fn weights_of_queues_hold_for_registered_functions_too() {
    let server = Server::with_settings("queue_weights = { a = 3 }\n");
    let mut worker = TestWorker::join(&server, "w", 0, &["a", "b"]);
    let mut client = server.connect();
    for function in ["b", "b", "b", "b", "a", "a", "a", "a"] {
        send(&mut client, &json!({ "function": function }));
    }
    worker.send(&json!({"command": "credit", "credit": 4}));
    let first: Vec<_> = (0..4).map(|_| worker.next("task")["function"].clone()).collect();
    assert_eq!(first.iter().filter(|function| **function == "a").count(), 3, "{first:?}");
}

#[test]
fn retention_of_a_registered_function_is_its_own() {
    for durability in ["fsync", "memory"] {
        let settings = format!("durability = \"{durability}\"\nfunction_retention = {{ brief = \"0s\" }}\n");
        let server = Server::with_settings(&settings);
        let mut worker = TestWorker::join(&server, "w", 9, &["brief", "kept"]);
        let ids = ["brief", "kept"].map(|function| {
            let id = send(&mut server.connect(), &json!({ "function": function }));
            let task = worker.next("task");
            worker.settle(&task, json!({"result": 1}));
            id
        });
        wait_until("the brief one is gone", || show(&server, ids[0]).is_null());
        assert_eq!(show(&server, ids[1])["state"], "done");
    }
}

#[test]
fn reload_goes_on_with_waiting_tasks_of_registered_functions() {
    let server = Server::with(project(NAMED), "");
    drop(join(&server, 0));
    let id = server.connect().send(DEFAULT).json()["task_id"].clone();
    server.project.think("task:reload").exits(0);
    let mut worker = join(&server, 1);
    assert_eq!(worker.next("task")["task_id"], id);
}

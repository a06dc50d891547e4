//! Tokens of workers that are bound to queues: no task of another queue ever reaches them.

use serde_json::{Value, json};

use super::{TestWorker, send};
use crate::harness::Project;
use crate::harness::server::Server;

const TOKENS: &str = "tokens = \"bound-0123456789:work(queue:mail), both-012345678901:work(resize,queue:images), \
                      free-01234567890:work, sender-0123456789:send+inspect\"\n";

fn start() -> Server {
    Server::with(Project::with_settings(TOKENS), "")
}

/// A connection that has shown this token.
fn worker(server: &Server, token: &str) -> TestWorker {
    let mut worker = TestWorker::new(server.connect());
    let reply = worker.0.send(format!("auth {token}\n")).json();
    assert_eq!(reply["status"], "ok", "{reply}");
    worker
}

/// The reply to a worker that joins with one function.
fn work(worker: &mut TestWorker, name: &str, queue: &str, credit: u32) -> Value {
    let functions = json!([{"name": name, "queue": queue}]);
    worker.work(json!({"worker": name, "credit": credit, "functions": functions}))
}

#[test]
fn token_that_is_bound_to_a_queue_registers_functions_of_it_alone() {
    let server = start();
    let mut bound = worker(&server, "bound-0123456789");
    let reply = bound.work(json!({"worker": "w", "credit": 1, "functions": [{"name": "pay"}]}));
    assert_eq!(reply["code"], "forbidden", "{reply}");
    assert!(reply["error"].as_str().unwrap().contains("in the queue \"pay\""), "{reply}");
    assert_eq!(work(&mut bound, "pay", "images", 1)["code"], "forbidden");
    assert_eq!(work(&mut bound, "letter", "mail", 1)["status"], "ok");
    let mut both = worker(&server, "both-012345678901");
    assert_eq!(work(&mut both, "crop", "images", 1)["code"], "forbidden");
    assert_eq!(work(&mut both, "resize", "mail", 1)["code"], "forbidden");
    assert_eq!(work(&mut both, "resize", "images", 1)["status"], "ok");
    let mut client = server.connect();
    client.send("auth sender-0123456789\n").json();
    for (function, at) in [("letter", &mut bound), ("resize", &mut both)] {
        send(&mut client, &json!({ "function": function }));
        assert_eq!(at.next("task")["function"], function);
    }
    for request in [
        "show\",\"task\":0",
        "list\"",
        "functions\"",
        "watch\",\"task\":0",
        "workers\"",
        "queues\"",
        "status\"",
    ] {
        let reply = bound.0.send(format!("{{\"command\":\"{request}}}\n")).json();
        assert_eq!(reply["code"], "forbidden", "{reply}");
    }
    let reply = bound.0.send("{\"function\":\"letter\"}\n").json();
    assert_eq!(reply["code"], "forbidden", "{reply}");
}

#[test]
fn token_that_is_bound_to_a_queue_cannot_move_a_function_into_it() {
    let server = start();
    let mut free = worker(&server, "free-01234567890");
    assert_eq!(work(&mut free, "pay", "money", 0)["status"], "ok");
    let refused = |server: &Server| {
        let mut bound = worker(server, "bound-0123456789");
        let reply = work(&mut bound, "pay", "mail", 9);
        assert_eq!(reply["code"], "forbidden", "{reply}");
        assert!(!reply.to_string().contains("money"), "{reply}");
    };
    refused(&server);
    drop(free);
    refused(&server);
    server.project.think("task:stop").exits(0);
    refused(&server.again(""));
}

#[test]
fn token_that_is_bound_to_a_queue_gets_no_task_once_the_function_waits_in_another_one() {
    for durability in ["fsync", "memory"] {
        let settings = format!("{TOKENS}durability = \"{durability}\"\n");
        let server = Server::with(Project::with_settings(&settings), "");
        let mut bound = worker(&server, "bound-0123456789");
        let functions = json!([{"name": "pay", "queue": "mail"}, {"name": "letter", "queue": "mail"}]);
        let reply = bound.work(json!({"worker": "w", "credit": 9, "functions": functions}));
        assert_eq!(reply["status"], "ok", "{reply}");
        let mut free = worker(&server, "free-01234567890");
        assert_eq!(work(&mut free, "pay", "money", 0)["status"], "ok");
        let mut client = server.connect();
        client.send("auth sender-0123456789\n").json();
        send(&mut client, &json!({"function": "pay", "args": "secret"}));
        send(&mut client, &json!({"function": "letter"}));
        assert_eq!(bound.next("task")["function"], "letter", "the task of another queue was first");
        free.send(&json!({"command": "credit", "credit": 1}));
        assert_eq!(free.next("task")["args"], "secret");
    }
}

#[test]
fn token_with_a_queue_that_has_no_name_is_refused_at_the_start() {
    let project = Project::with_settings("tokens = \"bound-0123456789:work(queue:)\"\n");
    let ran = project.think("task:start").exits(1);
    assert!(ran.stderr.contains("without a function or a queue"), "{ran:?}");
}

#[test]
fn worker_keeps_the_rights_with_which_it_has_joined() {
    let server = start();
    let mut bound = worker(&server, "bound-0123456789");
    assert_eq!(work(&mut bound, "letter", "mail", 1)["status"], "ok");
    for token in ["{\"command\":\"auth\",\"token\":\"sender-0123456789\"}", "auth sender-0123456789"] {
        let reply = bound.0.send(format!("{token}\n")).json();
        assert_eq!(reply["code"], "conflict", "{reply}");
    }
    assert_eq!(bound.0.send("{\"command\":\"status\"}\n").json()["code"], "forbidden");
}

//! Workers outside of the server: those in other languages, and the messages that they exchange with it.

mod fleet;
mod functions;
mod fuzz;
mod history;
mod http;
mod inherit;
mod languages;
mod leases;
mod messages;
mod registration;
mod resume;
mod rust;
mod settings;
mod tokens;
mod transports;

use std::collections::VecDeque;

use serde_json::{Value, json};

use crate::harness::client::Client;
use crate::harness::server::Server;

/// Settings with which a lost worker is noticed soon.
const QUICK: &str = "worker_lease_time = \"1s\"\nworker_cancel_time = \"200ms\"\n";

/// A worker that a test plays itself, over lines; with the messages that nobody has looked for yet.
struct TestWorker(Client, VecDeque<Value>);

impl TestWorker {
    fn new(client: Client) -> Self {
        Self(client, VecDeque::new())
    }

    /// Joins as the worker `name` of these functions; the reply is skipped.
    #[track_caller]
    fn join(server: &Server, name: &str, credit: u32, functions: &[&str]) -> Self {
        let functions: Vec<_> = functions.iter().map(|function| json!({ "name": function })).collect();
        Self::join_with(server, json!({ "worker": name, "credit": credit, "functions": functions }))
    }

    /// Joins with these fields.
    #[track_caller]
    fn join_with(server: &Server, fields: Value) -> Self {
        let mut worker = Self::new(server.connect());
        let reply = worker.work(fields);
        assert_eq!(reply["status"], "ok", "{reply}");
        worker
    }

    /// Sends `work` with these fields; the reply.
    #[track_caller]
    fn work(&mut self, mut fields: Value) -> Value {
        fields["command"] = "work".into();
        self.send(&fields);
        self.0.json()
    }

    fn send(&mut self, message: &Value) {
        self.0.send(format!("{message}\n"));
    }

    /// The next message of this status; others are kept for later.
    #[track_caller]
    fn next(&mut self, status: &str) -> Value {
        if let Some(index) = self.1.iter().position(|message| message["status"] == status) {
            return self.1.remove(index).unwrap();
        }
        loop {
            let message = self.0.json();
            if message["status"] == status {
                return message;
            }
            self.1.push_back(message);
        }
    }

    /// Settles one lease with these fields, and gives credit for one more task; the reply.
    #[track_caller]
    fn settle(&mut self, task: &Value, mut end: Value) -> Value {
        end["lease"] = task["lease"].clone();
        self.send(&json!({ "command": "settle", "ends": [end], "credit": 1 }));
        self.next("settled")
    }
}

/// Sends a task whose end is awaited; its id.
#[track_caller]
fn send(client: &mut Client, task: &Value) -> u64 {
    let mut task = task.clone();
    task["reply"] = "both".into();
    let reply = client.send(format!("{task}\n")).json();
    assert_eq!(reply["status"], "queued", "{reply}");
    reply["task_id"].as_u64().unwrap()
}

/// All that the server says of a task.
#[track_caller]
fn show(server: &Server, task: u64) -> Value {
    server.connect().send(format!("{}\n", json!({ "command": "show", "task": task }))).json()["result"].take()
}

//! The cases of the workers of tests/workers over frames, WebSocket, and lines within TLS with a token.

use std::sync::Arc;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::languages::{SLOW, Worker};
use super::send;
use crate::harness::Project;
use crate::harness::bridge::{Bridge, FarProtocol};
use crate::harness::certificates::Authority;
use crate::harness::client::Client;
use crate::harness::eventually::wait_until;
use crate::harness::server::Server;

/// Long enough for heartbeats on a busy machine.
const LEASE: &str = "worker_lease_time = \"3s\"\nworker_cancel_time = \"200ms\"\n";
const TOKENS: &str = "tokens = \"worker-0123456789:work, client-0123456789:send+inspect\"\n\
                      ssl_cert_file = \"server.crt\"\nssl_key_file = \"server.key\"\n";

/// A server, with a bridge to it.
struct Bridged {
    server: Server,
    bridge: Bridge,
    /// The line by which a client shows its token.
    auth: &'static str,
}

impl Bridged {
    fn new(protocol: FarProtocol) -> Self {
        Self::of(Server::with_settings(LEASE), protocol, "")
    }

    fn of(server: Server, protocol: FarProtocol, auth: &'static str) -> Self {
        let bridge = Bridge::to(&server.address, protocol);
        Self { server, bridge, auth }
    }

    fn client(&self) -> Client {
        let mut client = self.server.connect();
        if !self.auth.is_empty() {
            assert_eq!(client.send(self.auth).json()["status"], "ok");
        }
        client
    }

    fn ask(&self, command: &Value) -> Value {
        self.client().send(format!("{command}\n")).json()["result"].take()
    }

    fn ledger(&self) -> Value {
        self.ask(&json!({"command": "status"}))["ledger"].take()
    }

    fn workers(&self) -> Vec<Value> {
        self.ask(&json!({"command": "workers"})).as_array().unwrap().clone()
    }

    fn attempts(&self, task: u64) -> Value {
        self.ask(&json!({"command": "show", "task": task}))["attempts"].take()
    }

    /// Starts a worker, and waits until the server knows it.
    #[track_caller]
    fn join(&self, file: &str) -> Worker {
        let worker = Worker::start(file, &self.bridge.address);
        wait_until("the worker is there", || self.info(&worker).is_some());
        worker
    }

    /// What the server says of a worker, if it is there.
    fn info(&self, worker: &Worker) -> Option<Value> {
        let name = format!(":{}", worker.id());
        self.workers().into_iter().find(|worker| worker["name"].as_str().unwrap().ends_with(&name))
    }

    /// Waits until a worker has a task. Another one may still be thought to run it that was killed just now.
    #[track_caller]
    fn wait_for_task(&self, worker: &Worker) {
        wait_until("it runs", || self.info(worker).is_some_and(|worker| worker["running"] == 1));
    }

    /// Plays all cases, one after the other.
    #[track_caller]
    fn play(&self) {
        self.play_answers();
        self.play_kills();
        self.play_stops();
        let ledger = self.ledger();
        assert_eq!((&ledger["running"], &ledger["waiting"]), (&json!(0), &json!(1)), "{ledger}");
    }

    /// Three languages answer; an exception is an error; handlers may take longer than a lease.
    #[track_caller]
    fn play_answers(&self) {
        let workers = SLOW.map(|(file, ..)| self.join(file));
        let mut client = self.client();
        for (function, args, result) in [
            ("resize", json!({"width": 21}), json!({"width": 42})),
            ("thumbnail", json!({"height": 84}), json!({"height": 42})),
            ("greet", json!({"name": "Ada"}), json!("Hello, Ada!")),
        ] {
            send(&mut client, &json!({"function": function, "args": args}));
            assert_eq!(client.json()["result"], result);
        }
        send(&mut client, &json!({"function": "flaky", "args": {}}));
        assert_eq!(client.json()["error"], "ValueError: no luck");
        let running = SLOW.map(|(_, function, args)| {
            let mut client = self.client();
            let id = send(&mut client, &json!({"function": function, "args": args(4_500)}));
            (client, id)
        });
        for (mut client, id) in running {
            assert_eq!((&client.json()["status"], self.attempts(id)), (&json!("done"), json!(1)));
        }
        workers.into_iter().for_each(Worker::kill);
        wait_until("the workers have gone", || self.workers().is_empty());
    }

    /// A killed worker loses its task to another, and a task that has lost two is set aside.
    #[track_caller]
    fn play_kills(&self) {
        let mut client = self.client();
        let (_, function, args) = SLOW[1];
        let first = self.join("worker.py");
        let id = send(&mut client, &json!({"function": function, "args": args(1_500)}));
        self.wait_for_task(&first);
        first.kill();
        let second = self.join("worker.py");
        assert_eq!((&client.json()["status"], self.attempts(id)), (&json!("done"), json!(2)));
        send(&mut client, &json!({"function": function, "args": args(60_000), "attempts": 9}));
        self.wait_for_task(&second);
        second.kill();
        let third = self.join("worker.py");
        self.wait_for_task(&third);
        third.kill();
        let end = client.json();
        assert!(end["error"].as_str().unwrap().contains("set aside"), "{end}");
    }

    /// A stopped worker loses its task, and its late end changes nothing; a terminated one ends its task and
    /// gets no other.
    #[track_caller]
    fn play_stops(&self) {
        let mut client = self.client();
        let (_, function, args) = SLOW[1];
        let stopped = self.join("worker.py");
        let id = send(&mut client, &json!({"function": function, "args": args(1_500)}));
        self.wait_for_task(&stopped);
        stopped.signal(Signal::STOP);
        let other = self.join("worker.py");
        assert_eq!((&client.json()["status"], self.attempts(id)), (&json!("done"), json!(2)));
        stopped.signal(Signal::CONT);
        wait_until("the stopped worker is heard again", || {
            let workers = self.workers();
            workers.iter().all(|worker| worker["silent_ms"].as_u64().unwrap() < 3_000)
        });
        assert_eq!(self.attempts(id), 2);
        stopped.kill();
        send(&mut client, &json!({"function": function, "args": args(1_500)}));
        self.wait_for_task(&other);
        other.end();
        assert_eq!(client.json()["status"], "done");
        send(&mut client, &json!({"function": function, "args": args(1)}));
    }
}

#[test]
fn workers_over_frames_play_all_cases() {
    Bridged::new(FarProtocol::Frames).play();
}

#[test]
fn workers_over_websocket_play_all_cases() {
    Bridged::new(FarProtocol::WebSocket).play();
}

#[test]
fn workers_over_tls_with_a_token_for_work_play_all_cases() {
    let authority = Arc::new(Authority::new());
    let project = Project::with_settings(&format!("{LEASE}{TOKENS}"));
    authority.issue("localhost").write(&project, "server");
    let server = Server::with(project, "");
    let protocol = FarProtocol::TlsLines(authority, "worker-0123456789");
    Bridged::of(server, protocol, "auth client-0123456789\n").play();
}

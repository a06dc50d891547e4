//! The workers of tests/workers, in PHP, Python and JavaScript, and what is done to them.

use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{QUICK, send, show};
use crate::harness::daemon::{Daemon, project_with};
use crate::harness::eventually::wait_until;
use crate::harness::process::{kill, wait};
use crate::harness::readme::blocks;
use crate::harness::server::Server;
use crate::harness::{installed, project_root};

/// A worker of tests/workers, killed with its owner.
pub(super) struct Worker(Child);

impl Worker {
    pub(super) fn start(file: &str, address: &str) -> Self {
        installed();
        let interpreter = match file.rsplit_once('.').unwrap().1 {
            "php" => "php",
            "py" => "python3",
            _ => "node",
        };
        let mut command = Command::new(interpreter);
        if interpreter == "php" {
            // A read that is not bounded by the worker itself takes longer than any test.
            command.args(["-d", "default_socket_timeout=3600"]);
        }
        command.arg(project_root().join("tests/workers").join(file)).arg(address);
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Starts, and waits until the server knows it.
    #[track_caller]
    fn join(file: &str, server: &Server) -> Self {
        let worker = Self::start(file, &server.address);
        let name = format!(":{}", worker.0.id());
        wait_until("the worker is there", || {
            let workers = server.connect().send("{\"command\":\"workers\"}\n").json()["result"].take();
            let is_it = |worker: &Value| worker["name"].as_str().unwrap().ends_with(&name);
            workers.as_array().unwrap().iter().any(is_it)
        });
        worker
    }

    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// Kills it in the middle of what it does.
    pub(super) fn kill(mut self) {
        kill(&mut self.0);
    }

    /// Asks it to go, and waits for its end.
    #[track_caller]
    pub(super) fn end(mut self) {
        self.signal(Signal::TERM);
        assert_eq!(wait(&mut self.0).code(), Some(0));
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        kill(&mut self.0);
    }
}

/// The file of a worker, a function of its that takes long, and the arguments for this many milliseconds.
pub(super) type SlowFunction = (&'static str, &'static str, fn(u64) -> Value);

/// The workers of all languages.
pub(super) const SLOW: [SlowFunction; 3] = [
    ("worker.php", "pause", |ms| json!({ "ms": ms })),
    ("worker.py", "slow", |ms| json!({ "s": ms as f64 / 1_000.0 })),
    ("worker.mjs", "nap", |ms| json!({ "ms": ms })),
];

#[test]
fn workers_in_three_languages_answer() {
    let server = Server::start();
    let _workers = SLOW.map(|(file, ..)| Worker::join(file, &server));
    let mut client = server.connect();
    for (function, args, result) in [
        ("resize", json!({"width": 21}), json!({"width": 42})),
        ("thumbnail", json!({"height": 84}), json!({"height": 42})),
        ("greet", json!({"name": "Ada"}), json!("Hello, Ada!")),
    ] {
        send(&mut client, &json!({"function": function, "args": args}));
        assert_eq!(client.json()["result"], result);
    }
    let sent = server.think(&["task:send", "resize", "{\"width\":21}", "--wait"]).exits(0);
    assert_eq!(sent.stdout.lines().last(), Some("{\"width\":42}"));
    let listed = server.think(&["task:workers"]).exits(0).stdout;
    assert!(listed.contains("php/") && listed.contains("python/") && listed.contains("node/"), "{listed}");
}

#[test]
fn readme_shows_the_worker_in_php() {
    let file = std::fs::read_to_string(project_root().join("tests/workers/worker.php")).unwrap();
    assert_eq!(blocks("php worker.php"), [file.trim_end()]);
}

#[test]
fn exception_of_a_handler_is_the_error_of_its_task() {
    let server = Server::start();
    let _worker = Worker::join("worker.py", &server);
    let mut client = server.connect();
    send(&mut client, &json!({"function": "flaky", "args": {}}));
    let end = client.json();
    assert_eq!((&end["status"], &end["error"]), (&json!("failed"), &json!("ValueError: no luck")));
}

#[test]
fn handler_that_takes_longer_than_a_lease_keeps_it() {
    // Long enough for heartbeats on a busy machine.
    let server = Server::with_settings("worker_lease_time = \"3s\"\n");
    let _workers = SLOW.map(|(file, ..)| Worker::join(file, &server));
    let running = SLOW.map(|(_, function, args)| {
        let mut client = server.connect();
        let id = send(&mut client, &json!({"function": function, "args": args(4_500)}));
        (client, id)
    });
    for (mut client, id) in running {
        assert_eq!((&client.json()["status"], &show(&server, id)["attempts"]), (&json!("done"), &json!(1)));
    }
}

#[test]
fn killed_worker_loses_its_task_to_another_and_two_of_them_set_it_aside() {
    for (file, function, args) in SLOW {
        let server = Server::start();
        let mut client = server.connect();
        let first = Worker::join(file, &server);
        let id = send(&mut client, &json!({"function": function, "args": args(500)}));
        wait_until("it runs", || server.ledger()["running"] == 1);
        first.kill();
        let second = Worker::join(file, &server);
        assert_eq!((&client.json()["status"], &show(&server, id)["attempts"]), (&json!("done"), &json!(2)));
        send(&mut client, &json!({"function": function, "args": args(60_000), "attempts": 9}));
        wait_until("it runs", || server.ledger()["running"] == 1);
        second.kill();
        let third = Worker::join(file, &server);
        wait_until("it runs again", || server.ledger()["running"] == 1);
        third.kill();
        let end = client.json();
        assert!(end["error"].as_str().unwrap().contains("set aside"), "{end}");
    }
}

#[test]
fn stopped_worker_loses_its_task_to_another_and_its_late_end_changes_nothing() {
    for (file, function, args) in SLOW {
        let server = Server::with_settings(QUICK);
        let mut client = server.connect();
        let stopped = Worker::join(file, &server);
        // Without heartbeats, only the timeout of the task shows that a worker is gone.
        let task = json!({"function": function, "args": args(300), "timeout": "2s"});
        let id = send(&mut client, &task);
        wait_until("it runs", || server.ledger()["running"] == 1);
        stopped.signal(Signal::STOP);
        let _other = Worker::join(file, &server);
        assert_eq!((&client.json()["status"], &show(&server, id)["attempts"]), (&json!("done"), &json!(2)));
        stopped.signal(Signal::CONT);
        wait_until("the stopped worker is back", || {
            let workers = server.connect().send("{\"command\":\"workers\"}\n").json()["result"].take();
            let workers = workers.as_array().unwrap();
            workers.len() == 2 && workers.iter().all(|worker| worker["running"] == 0)
        });
        assert_eq!((&server.ledger()["done"], &show(&server, id)["attempts"]), (&json!(1), &json!(2)));
    }
}

#[test]
fn terminated_worker_ends_its_task_and_gets_no_other() {
    for (file, function, args) in SLOW {
        let server = Server::start();
        let mut client = server.connect();
        let worker = Worker::join(file, &server);
        send(&mut client, &json!({"function": function, "args": args(300)}));
        wait_until("it runs", || server.ledger()["running"] == 1);
        worker.end();
        assert_eq!(client.json()["status"], "done", "{file}");
        send(&mut client, &json!({"function": function, "args": args(1)}));
        assert_eq!((&server.ledger()["waiting"], &server.ledger()["running"]), (&json!(1), &json!(0)));
    }
}

#[test]
fn terminated_worker_that_has_nothing_to_do_ends() {
    let server = Server::start();
    let workers = SLOW.map(|(file, ..)| Worker::join(file, &server));
    workers.into_iter().for_each(Worker::end);
}

#[test]
fn worker_goes_on_after_a_reload_and_after_a_kill_of_the_server() {
    let mut daemon = Daemon::start(project_with(""), "");
    let _workers = SLOW.map(|(file, ..)| Worker::start(file, &daemon.address));
    let run_all = |daemon: &Daemon| {
        wait_until("all workers are there", || {
            daemon.client().send("{\"command\":\"workers\"}\n").json()["result"].as_array().unwrap().len()
                == 3
        });
        let mut client = daemon.client();
        for (_, function, args) in SLOW {
            send(&mut client, &json!({"function": function, "args": args(1)}));
            assert_eq!(client.json()["status"], "done");
        }
    };
    run_all(&daemon);
    daemon.think("task:reload").exits(0);
    daemon.follow_reload();
    run_all(&daemon);
    let project = daemon.into_project();
    let daemon = Daemon::start(project, "");
    run_all(&daemon);
}

//! Workers of several languages and programs under load, while they are killed and stopped, their connections
//! are cut, and the server is reloaded, restarted and killed.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Signal, kill_process, test_kill_process};
use serde_json::{Value, json};

use super::languages::Worker;
use super::rust::RustWorker;
use crate::harness::client::{Client, bounded_tcp};
use crate::harness::daemon::{Daemon, project_with};
use crate::harness::eventually::{eventually, wait_until};
use crate::harness::metrics::{assert_balanced, is_idle};
use crate::harness::proxy::Proxy;
use crate::tasks::isolated::children;

const SETTINGS: &str = "task_worker_num = 0\nisolated = [\"noop\"]\nisolated_worker_num = 20\nworker_lease_time = \"3s\"\nworker_resume_time = \"1s\"\n\
                        worker_cancel_time = \"500ms\"\nmax_wait_time = \"3s\"\n";
/// The tasks of one message of the load, and of one round of all functions.
const ROUND: u64 = 8;
/// The time between two blows.
const PAUSE: Duration = Duration::from_millis(600);

/// The request with this number, and its result.
fn request(number: u64) -> (Value, Value) {
    let (function, args, result) = match number % 5 {
        0 => ("resize", json!({ "width": number }), json!({ "width": 2 * number })),
        1 => ("thumbnail", json!({ "height": 2 * number }), json!({ "height": number })),
        2 => ("greet", json!({ "name": number.to_string() }), json!(format!("Hello, {number}!"))),
        3 => ("noop", json!(number), json!(null)),
        _ => ("echo", json!(number.to_string()), json!(format!("{number} -> OK"))),
    };
    // A worker without heartbeats that is stopped loses its task by the timeout.
    let key = format!("load-{number}");
    (json!({"function": function, "args": args, "key": key, "timeout": "2s", "attempts": 99}), result)
}

/// Sends tasks until it is told to end, each until it is acknowledged; their ids by their numbers.
fn load(address: String, is_over: Arc<AtomicBool>) -> JoinHandle<BTreeMap<u64, u64>> {
    thread::spawn(move || {
        let mut accepted = BTreeMap::new();
        let mut next = 0;
        while !is_over.load(Ordering::Relaxed) {
            // The server is away at times.
            let Ok(stream) = TcpStream::connect(&address) else { continue };
            let mut client = Client::of(bounded_tcp(stream));
            while !is_over.load(Ordering::Relaxed) && send_round(&mut client, next, &mut accepted) {
                next += ROUND;
                thread::sleep(Duration::from_millis(30));
            }
        }
        accepted
    })
}

/// Sends one round; `false` if not all of it was acknowledged, so that it is to be sent again.
fn send_round(client: &mut Client, first: u64, accepted: &mut BTreeMap<u64, u64>) -> bool {
    let numbers = first..first + ROUND;
    let lines: String = numbers.clone().map(|number| format!("{}\n", request(number).0)).collect();
    if client.stream().write_all(lines.as_bytes()).is_err() {
        return false;
    }
    for number in numbers {
        let mut line = String::new();
        if !client.try_line(&mut line) {
            return false;
        }
        let reply: Value = serde_json::from_str(&line).unwrap();
        let Some(id) = reply["task_id"].as_u64() else {
            // It stops, or another one has begun and does not know the function yet.
            assert_eq!(reply["status"], "error", "{reply}");
            return false;
        };
        let known = accepted.entry(number).or_insert(id);
        assert_eq!(*known, id, "a key has two tasks");
    }
    true
}

/// The workers, some of them behind a proxy.
struct Fleet {
    proxy: Proxy,
    php: Worker,
    python: Worker,
    node: Worker,
    rust: Vec<RustWorker>,
}

impl Fleet {
    fn start(address: &str) -> Self {
        let proxy = Proxy::to(address);
        let php = Worker::start("worker.php", address);
        let python = Worker::start("worker.py", &proxy.address);
        let node = Worker::start("worker.mjs", &proxy.address);
        let rust = [address, &proxy.address].map(|address| RustWorker::join(address, "--function echo"));
        Self { proxy, php, python, node, rust: rust.into() }
    }

    /// Strikes in the middle of the load, in every way once.
    fn strike(&mut self, mut daemon: Daemon) -> Daemon {
        let address = daemon.address.clone();
        let pause = || thread::sleep(PAUSE);
        self.replace_php(&address);
        kill_children(&daemon);
        pause();
        self.proxy.cut();
        pause();
        self.python.signal(Signal::STOP);
        daemon.think("task:reload").exits(0);
        daemon.follow_reload();
        pause();
        self.rust.swap_remove(0).kill();
        self.rust.push(RustWorker::join(&address, "--function echo"));
        self.python.signal(Signal::CONT);
        pause();
        self.rust[0].signal(Signal::STOP);
        self.proxy.block();
        pause();
        self.proxy.unblock();
        self.rust[0].signal(Signal::CONT);
        pause();
        let daemon = daemon.restart_by("task:restart");
        pause();
        kill_children(&daemon);
        std::mem::replace(&mut self.node, Worker::start("worker.mjs", &self.proxy.address)).kill();
        self.proxy.cut();
        pause();
        let project = daemon.into_project();
        let daemon = Daemon::start(project, "");
        self.replace_php(&address);
        pause();
        self.proxy.cut();
        daemon
    }

    fn replace_php(&mut self, address: &str) {
        std::mem::replace(&mut self.php, Worker::start("worker.php", address)).kill();
    }

    /// Asks all workers to go, and waits for their ends.
    fn end(self) {
        for worker in [self.php, self.python, self.node] {
            worker.end();
        }
        for worker in self.rust {
            worker.signal(Signal::TERM);
            assert_eq!(worker.exit_code(), Some(0));
        }
    }
}

/// Kills half of the server's own processes.
fn kill_children(daemon: &Daemon) {
    for child in children(&mut daemon.client()).into_iter().step_by(2) {
        let _ = kill_process(child, Signal::KILL);
    }
}

/// The workers that the server has not started itself.
fn others(daemon: &Daemon) -> usize {
    let workers = daemon.client().send("{\"command\":\"workers\"}\n").json();
    let workers = workers["result"].as_array().unwrap();
    workers.iter().filter(|worker| !worker["peer"].as_str().unwrap().starts_with("child")).count()
}

/// Whether a task ended with its result; otherwise it must have lost two workers, and nothing else may have
/// happened to it.
fn check_end(client: &mut Client, number: u64, id: u64) -> bool {
    let task = client.send(format!("{}\n", json!({"command": "show", "task": id}))).json()["result"].take();
    let state = task["state"].as_str().unwrap_or_else(|| panic!("task {id} is not there: {task}"));
    if state == "done" {
        assert_eq!(task["result"], request(number).1, "{task}");
        return true;
    }
    let error = task["error"].as_str().unwrap_or_default();
    assert!(state == "failed" && error.contains("set aside"), "{task}");
    false
}

#[test]
fn every_task_of_a_mixed_fleet_ends_once_while_workers_connections_and_servers_fail() {
    let daemon = Daemon::start(project_with(SETTINGS), "");
    let address = daemon.address.clone();
    let mut fleet = Fleet::start(&address);
    wait_until("all workers are there", || {
        others(&daemon) == 5 && children(&mut daemon.client()).len() == 20
    });
    let is_over = Arc::new(AtomicBool::new(false));
    let load = load(address, is_over.clone());
    let daemon = fleet.strike(daemon);
    is_over.store(true, Ordering::Relaxed);
    let accepted = load.join().unwrap();
    let ledger = eventually("no task waits or runs", || {
        let ledger = daemon.client().status()["ledger"].take();
        is_idle(&ledger).then_some(ledger)
    });
    assert_balanced(&ledger);
    let mut client = daemon.client();
    let done = accepted.iter().filter(|(number, id)| check_end(&mut client, **number, **id)).count() as u64;
    let total = accepted.len() as u64;
    assert!(total >= 20 * ROUND && done * 100 >= total * 95, "{done} of {total} are done");
    // Those that the load has not seen acknowledged are there as well, and no other.
    let all = ledger["accepted"].as_u64().unwrap();
    assert!((total..=total + ROUND).contains(&all), "{total} acknowledged, {ledger}");
    fleet.end();
    wait_until("the workers have gone", || others(&daemon) == 0);
    let processes = children(&mut daemon.client());
    daemon.think("task:stop").exits(0);
    daemon.wait();
    assert!(!processes.iter().any(|process| test_kill_process(*process).is_ok()), "a process is left");
}

//! Kills the real program with -9 under load, again and again, and checks every promise.
//!
//! More often by hand: `cargo test --test main store::kill::acknowledged_tasks_survive_kills -- --ignored`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use fastrand::Rng;
use rusqlite::{Connection, OpenFlags};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::Project;
use crate::harness::client::bounded_tcp;
use crate::harness::eventually::{PATIENCE, wait_until};
use crate::harness::metrics::{assert_balanced, is_idle};
use crate::harness::server::Server;
use crate::harness::watchdog;

const CONNECTIONS: usize = 3;
/// Requests of a connection that have not been acknowledged yet.
const AHEAD: usize = 40;
/// The number of idempotency keys, of which each is sent again and again.
const KEYS: u32 = 200;

/// What the clients of all processes know of their tasks.
#[derive(Default)]
struct Record {
    acknowledged: BTreeSet<u64>,
    done: BTreeSet<u64>,
    /// Tasks that were reported as done before another one was sent that was acknowledged, and the life of
    /// the server in which that was: ends are written in their order, so that these are on the disk.
    settled: BTreeMap<u64, usize>,
    /// The tasks of idempotency keys.
    keys: BTreeMap<String, u64>,
}

/// One process of the server.
struct Life {
    /// The tasks whose handlers it called.
    dispatched: Vec<u64>,
}

#[test]
fn acknowledged_tasks_survive_50_kills() {
    kill(50, 1);
}

#[test]
#[ignore = "kills until it is stopped: cargo test --test main store::kill::acknowledged_tasks_survive_kills -- --ignored"]
fn acknowledged_tasks_survive_kills_until_stopped() {
    for seed in 0.. {
        watchdog::allow(Duration::MAX);
        kill(200, seed);
    }
}

fn kill(times: usize, seed: u64) {
    watchdog::allow(Duration::from_secs(20 * 60));
    let mut random = Rng::with_seed(seed);
    let project = Project::with_settings("retention_count = 10000000\nqueue_file = \"runtime/queue.db\"\n");
    let record = Mutex::new(Record::default());
    let mut lives = Vec::new();
    let mut server = Server::with(project, "");
    for life in 0..times {
        // Most kills come early, and some when there is a lot behind.
        let most = [10, 300, 3_000][random.usize(..3)];
        let enough = random.usize(1..most);
        work_and_kill(&server, &record, life, enough, random.fork());
        lives.push(Life { dispatched: dispatched(&mut server) });
        server = server.again("");
    }
    wait_until_idle(&server);
    let ledger = server.ledger();
    assert_balanced(&ledger);
    server.signal(Signal::INT);
    assert_eq!(server.exit_code(), Some(0));
    lives.push(Life { dispatched: dispatched(&mut server) });

    let record = record.into_inner().unwrap();
    assert!(record.acknowledged.len() > times && record.keys.len() > 50, "there was a load");
    assert!(ledger["accepted"].as_u64().unwrap() >= record.acknowledged.len() as u64, "{ledger}");
    check_all_have_run(&record, &server.project.path("runtime/queue.db"));
    check_none_has_run_again(&record, &lives);
}

/// Sends tasks over some connections until so many were acknowledged, and kills the server then.
fn work_and_kill(server: &Server, record: &Mutex<Record>, life: usize, enough: usize, mut random: Rng) {
    let (sender, acknowledgements) = channel();
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            let (sender, random, address) = (sender.clone(), random.fork(), server.address.as_str());
            scope.spawn(move || send_until_killed(address, record, life, &sender, random));
        }
        drop(sender);
        wait_for(&acknowledgements, enough);
        server.signal(Signal::KILL);
    });
}

fn wait_for(acknowledgements: &Receiver<()>, count: usize) {
    for _ in 0..count {
        acknowledgements.recv_timeout(PATIENCE).expect("tasks are acknowledged");
    }
}

/// One client: it sends a little ahead of the replies, until the server is killed.
fn send_until_killed(
    address: &str,
    record: &Mutex<Record>,
    life: usize,
    acknowledgements: &Sender<()>,
    mut random: Rng,
) {
    let Ok(stream) = TcpStream::connect(address) else { return };
    let mut stream = bounded_tcp(stream);
    let mut replies = BufReader::new(stream.try_clone().unwrap()).lines();
    let mut requests = |count: usize| {
        let request = || match random.u8(..8) {
            // Waits when the server is killed, with some luck.
            0 => "{\"function\":\"echo\",\"args\":\"later\",\"reply\":\"both\",\"delay\":\"200ms\"}\n"
                .to_owned(),
            1 => {
                let key = random.u32(..KEYS);
                let keyed = json!({"function": "echo", "args": "keyed", "reply": "ack", "key": key.to_string(), "id": key});
                format!("{keyed}\n")
            }
            _ => "{\"function\":\"echo\",\"args\":\"now\",\"reply\":\"both\"}\n".to_owned(),
        };
        let batch: Vec<_> = std::iter::repeat_with(request).take(count).collect();
        stream.write_all(batch.concat().as_bytes()).is_ok()
    };
    if !requests(AHEAD) {
        return;
    }
    let (mut sent, mut acknowledged) = (AHEAD, 0);
    // The tasks that are done, each with the number of those that had been sent by then.
    let mut done = VecDeque::new();
    while let Some(Ok(line)) = replies.next() {
        // The last line may have been cut off.
        let Ok(reply) = serde_json::from_str::<Value>(&line) else { return };
        let id = reply["task_id"].as_u64().unwrap_or_else(|| panic!("no task: {line}"));
        let mut record = record.lock().unwrap();
        match reply["status"].as_str() {
            Some("queued") => {
                record.acknowledged.insert(id);
                if !reply["id"].is_null() {
                    let known = *record.keys.entry(reply["id"].to_string()).or_insert(id);
                    assert_eq!(known, id, "the key {} has two tasks", reply["id"]);
                }
                acknowledged += 1;
                while done.front().is_some_and(|(_, sent)| *sent < acknowledged) {
                    record.settled.extend(done.pop_front().map(|(id, _)| (id, life)));
                }
                drop(record);
                // The receiver may have counted enough.
                let _ = acknowledgements.send(());
                if !requests(1) {
                    // The replies that were sent before are still to be read.
                    continue;
                }
                sent += 1;
            }
            Some("done") => {
                record.done.insert(id);
                done.push_back((id, sent));
            }
            _ => panic!("no task is refused or fails: {line}"),
        }
    }
}

fn dispatched(server: &mut Server) -> Vec<u64> {
    let said = server.rest();
    let ids =
        said.iter().filter_map(|line| line.split_once("Dispatch AsyncTask: id=")?.1.trim().parse().ok());
    ids.collect()
}

/// Waits until no task waits or runs.
fn wait_until_idle(server: &Server) {
    let mut client = server.connect();
    wait_until("no task waits or runs", || is_idle(&client.status()["ledger"]));
}

/// Checks that each acknowledged task is done, or was set aside after two kills.
fn check_all_have_run(record: &Record, file: &Path) {
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut statement = connection.prepare("SELECT task, state, error FROM ends").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?)))).unwrap();
    let ends: BTreeMap<i64, (String, Option<String>)> = rows.map(Result::unwrap).collect();
    for id in &record.acknowledged {
        let (state, error) =
            ends.get(&(*id as i64)).unwrap_or_else(|| panic!("task {id} was acknowledged and is gone"));
        let was_set_aside =
            state == "failed" && error.as_ref().is_some_and(|error| error.contains("set aside"));
        assert!(state == "done" || was_set_aside, "task {id} is {state}: {error:?}");
    }
    // An end that was lost with the process has the task run again, which two more kills may set aside.
    for id in record.settled.keys() {
        assert_eq!(ends[&(*id as i64)].0, "done", "task {id} was reported as done");
    }
}

/// Checks that no later process runs a task whose end was certainly on the disk.
fn check_none_has_run_again(record: &Record, lives: &[Life]) {
    assert!(!record.settled.is_empty(), "some ends are on the disk for sure");
    for (number, life) in lives.iter().enumerate() {
        let again =
            life.dispatched.iter().find(|id| record.settled.get(id).is_some_and(|in_life| *in_life < number));
        assert_eq!(again, None, "it was done in an earlier life than {number}");
    }
    let dispatched: usize = lives.iter().map(|life| life.dispatched.len()).sum();
    assert!(dispatched >= record.done.len(), "the log has every run");
}

//! Reloads while tasks come in as fast as they can.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::{reload, started};
use crate::harness::client::bounded_tcp;
use crate::harness::eventually::{bounded, eventually, wait_until};
use crate::harness::watchdog;

const TASKS: u64 = 100_000;
const CLIENTS: u64 = 4;
/// The tasks of a client that are in flight at once.
const AHEAD: usize = 64;
const RELOADS: u64 = 5;

/// The counts of all clients.
#[derive(Default)]
struct Counts {
    acknowledged: AtomicU64,
    connections: AtomicU64,
    refused: AtomicU64,
    is_over: AtomicBool,
}

impl Counts {
    fn connect(&self, address: &str) -> BufReader<TcpStream> {
        eventually("a connection is accepted", || {
            self.connections.fetch_add(1, Ordering::Relaxed);
            let stream = TcpStream::connect(address);
            if stream.is_err() {
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
            stream.ok().map(|stream| BufReader::new(bounded_tcp(stream)))
        })
    }
}

/// Sends its tasks; those that were not answered when a connection ends are sent again, under their keys.
fn send(address: &str, client: u64, counts: &Counts) {
    let mut open: VecDeque<u64> = VecDeque::new();
    let mut next = 0;
    let mut connection = counts.connect(address);
    loop {
        let mut lines = String::new();
        while open.len() < AHEAD && next < TASKS / CLIENTS {
            lines.push_str(&task(client, next));
            open.push_back(next);
            next += 1;
        }
        if open.is_empty() {
            return;
        }
        let mut answer = String::new();
        let sent = connection.get_mut().write_all(lines.as_bytes());
        match sent.and_then(|()| connection.read_line(&mut answer)) {
            Ok(_) if answer.contains("\"status\":\"queued\"") => {
                open.pop_front();
                counts.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Ok(_) if answer.is_empty() || answer.contains("shutting_down") => {
                connection = send_again(address, client, &open, counts);
            }
            Ok(_) => panic!("{answer}"),
            Err(_) => connection = send_again(address, client, &open, counts),
        }
    }
}

fn send_again(address: &str, client: u64, open: &VecDeque<u64>, counts: &Counts) -> BufReader<TcpStream> {
    let mut connection = counts.connect(address);
    let lines: String = open.iter().map(|number| task(client, *number)).collect();
    // A failure of this one is noticed when its answer is read.
    let _ = connection.get_mut().write_all(lines.as_bytes());
    connection
}

fn task(client: u64, number: u64) -> String {
    format!("{{\"function\":\"echo\",\"args\":\"{number}\",\"key\":\"{client}-{number}\"}}\n")
}

/// Connects again and again, as the workers of a web server do, and sends a command each time.
fn reconnect(address: &str, counts: &Counts) {
    while !counts.is_over.load(Ordering::Relaxed) {
        let mut connection = counts.connect(address);
        let mut answer = String::new();
        // A connection may be closed without a reply, but never refused.
        let _ = connection.get_mut().write_all(b"{\"command\":\"queues\"}\n");
        let _ = connection.read_line(&mut answer);
    }
}

#[test]
fn reloads_under_load_run_each_task_once() {
    watchdog::allow(Duration::from_secs(15 * 60));
    let mut daemon = started("max_log_buffer = \"512MB\"\nlog_rotation = \"none\"\n");
    let address = daemon.status()["addresses"][0]["address"].as_str().unwrap().to_owned();
    let counts = Arc::new(Counts::default());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (address, counts) = (address.clone(), counts.clone());
            thread::spawn(move || send(&address, client, &counts))
        })
        .collect();
    let reconnecting = {
        let (address, counts) = (address.clone(), counts.clone());
        thread::spawn(move || reconnect(&address, &counts))
    };
    for number in 1..=RELOADS {
        let share = number * TASKS / (RELOADS + 1);
        wait_until("the clients go on", || counts.acknowledged.load(Ordering::Relaxed) >= share);
        reload(&mut daemon);
    }
    wait_until("all tasks are acknowledged", || counts.acknowledged.load(Ordering::Relaxed) >= TASKS);
    clients.into_iter().for_each(|client| client.join().unwrap());
    counts.is_over.store(true, Ordering::Relaxed);
    bounded("the reconnecting client ends", move || reconnecting.join().unwrap());
    let ledger = daemon.idle_ledger();
    daemon.think("task:stop").exits(0);
    daemon.wait();

    let log = daemon.project.read("runtime/server.log");
    let run = |line: &str| -> Option<u64> {
        let (_, id) = line.split_once("Dispatch AsyncTask: id=")?;
        id.split(' ').next()?.parse().ok()
    };
    let mut runs: Vec<_> = log.lines().filter_map(run).collect();
    let begun = runs.len() as u64;
    runs.sort_unstable();
    runs.dedup();
    let (lost, twice) = (TASKS - runs.len() as u64, begun - runs.len() as u64);
    let refused = counts.refused.load(Ordering::Relaxed);
    let connections = counts.connections.load(Ordering::Relaxed);
    let figures = format!(
        "{TASKS} tasks and {connections} connections through {RELOADS} reloads: lost {lost}, run twice {twice}, refused \
         connections {refused}\n"
    );
    std::io::stdout().write_all(figures.as_bytes()).unwrap();
    assert_eq!((lost, twice, refused), (0, 0, 0), "{figures}");
    assert_eq!((&ledger["accepted"], &ledger["done"]), (&TASKS.into(), &TASKS.into()), "{ledger}");
}

//! Reloads while tasks come in as fast as they can.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::{reload, started};

const TASKS: u64 = 100_000;
const CLIENTS: u64 = 4;
/// How many tasks of a client are on their way at once.
const AHEAD: usize = 64;
const RELOADS: u64 = 5;

/// What the clients have seen.
#[derive(Default)]
struct Seen {
    acknowledged: AtomicU64,
    connections: AtomicU64,
    refused: AtomicU64,
    is_over: AtomicBool,
}

impl Seen {
    fn connect(&self, address: &str) -> BufReader<TcpStream> {
        loop {
            self.connections.fetch_add(1, Ordering::Relaxed);
            match TcpStream::connect(address) {
                Ok(stream) => return BufReader::new(stream),
                Err(_) => self.refused.fetch_add(1, Ordering::Relaxed),
            };
        }
    }
}

/// Sends its tasks; those that were not answered when a connection ends are sent again, under their keys.
fn send(address: &str, client: u64, seen: &Seen) {
    let mut open: VecDeque<u64> = VecDeque::new();
    let mut next = 0;
    let mut connection = seen.connect(address);
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
                seen.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Ok(_) if answer.is_empty() || answer.contains("shutting_down") => {
                connection = again(address, client, &open, seen);
            }
            Ok(_) => panic!("{answer}"),
            Err(_) => connection = again(address, client, &open, seen),
        }
    }
}

fn again(address: &str, client: u64, open: &VecDeque<u64>, seen: &Seen) -> BufReader<TcpStream> {
    let mut connection = seen.connect(address);
    let lines: String = open.iter().map(|number| task(client, *number)).collect();
    // One that fails, too, is noticed when its answer is read.
    drop(connection.get_mut().write_all(lines.as_bytes()));
    connection
}

fn task(client: u64, number: u64) -> String {
    format!("{{\"function\":\"echo\",\"args\":\"{number}\",\"key\":\"{client}-{number}\"}}\n")
}

/// Connects again and again, as a web server's workers do, and asks for something each time.
fn knock(address: &str, seen: &Seen) {
    while !seen.is_over.load(Ordering::Relaxed) {
        let mut connection = seen.connect(address);
        let mut answer = String::new();
        // A connection may be closed unheard, but never refused.
        drop(connection.get_mut().write_all(b"{\"command\":\"queues\"}\n"));
        drop(connection.read_line(&mut answer));
    }
}

#[test]
fn a_hundred_thousand_tasks_run_once_each_through_reloads_at_full_load() {
    let mut daemon = started("max_log_buffer = \"512MB\"\nlog_rotation = \"none\"\n");
    let address = daemon.status()["addresses"][0]["address"].as_str().unwrap().to_owned();
    let seen = Arc::new(Seen::default());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (address, seen) = (address.clone(), seen.clone());
            thread::spawn(move || send(&address, client, &seen))
        })
        .collect();
    let knocking = {
        let (address, seen) = (address.clone(), seen.clone());
        thread::spawn(move || knock(&address, &seen))
    };
    for number in 1..=RELOADS {
        while seen.acknowledged.load(Ordering::Relaxed) < number * TASKS / (RELOADS + 1) {
            thread::yield_now();
        }
        reload(&mut daemon);
    }
    clients.into_iter().for_each(|client| client.join().unwrap());
    seen.is_over.store(true, Ordering::Relaxed);
    knocking.join().unwrap();
    let ledger = daemon.settled();
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
    let refused = seen.refused.load(Ordering::Relaxed);
    let connections = seen.connections.load(Ordering::Relaxed);
    let figures = format!(
        "{TASKS} tasks and {connections} connections through {RELOADS} reloads: lost {lost}, run twice {twice}, refused \
         connections {refused}\n"
    );
    std::io::stdout().write_all(figures.as_bytes()).unwrap();
    assert_eq!((lost, twice, refused), (0, 0, 0), "{figures}");
    assert_eq!((&ledger["accepted"], &ledger["done"]), (&TASKS.into(), &TASKS.into()), "{ledger}");
}

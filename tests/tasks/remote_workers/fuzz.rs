//! Messages of workers that are wrong in every way: the server answers, goes on, and its ledger balances.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::client::Client;
use crate::harness::eventually::{PATIENCE, wait_until};
use crate::harness::metrics::{assert_balanced, is_idle};
use crate::harness::server::Server;

/// The time for which messages are sent; longer on a busy machine, until enough has come of them.
const TIME: Duration = Duration::from_secs(8);
const SETTINGS: &str = "worker_lease_time = \"1s\"\nworker_resume_time = \"300ms\"\nworker_cancel_time = \"100ms\"\n\
                        min_retry_pause = \"1ms\"\nmax_backoff = \"1ms\"\nmax_registered_functions = 20\n";
/// Values that are wrong somewhere, as they stand in a message.
const VALUES: [&str; 24] = [
    "null",
    "true",
    "false",
    "0",
    "1",
    "-1",
    "3",
    "4096",
    "4294967296",
    "18446744073709551616",
    "1e308",
    "1e999",
    "-0.0",
    "\"\"",
    "\"91.7\"",
    "\"a b\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "[]",
    "[[]]",
    "{}",
    "{\"lease\":\"1.1\"}",
    "\"0123456789abcdef\"",
    "\"soon\"",
];

/// One connection that behaves badly.
struct Fuzzer {
    rng: Rng,
    client: Client,
    /// The leases that it has been given.
    leases: Vec<String>,
    /// What has come of the next line.
    line: String,
}

/// What all connections have been told.
#[derive(Debug, Default)]
struct Totals {
    errors: AtomicU64,
    tasks: AtomicU64,
    stale: AtomicU64,
}

impl Totals {
    fn are_enough(&self) -> bool {
        let is_more = |total: &AtomicU64, least| total.load(Ordering::Relaxed) > least;
        is_more(&self.errors, 100) && is_more(&self.stale, 10) && is_more(&self.tasks, 10)
    }

    /// Whether messages that were begun at that time are still to be sent.
    fn go_on(&self, begin: Instant) -> bool {
        begin.elapsed() < if self.are_enough() { TIME } else { PATIENCE }
    }
}

impl Fuzzer {
    fn value(&mut self) -> String {
        match self.rng.u8(..10) {
            0 => "[".repeat(self.rng.usize(1..300)),
            1 => format!("\"{}\"", "x".repeat(self.rng.usize(..3_000))),
            2 | 3 if !self.leases.is_empty() => {
                let lease = self.rng.usize(..self.leases.len());
                format!("\"{}\"", self.leases[lease])
            }
            4 => self.rng.u64(..).to_string(),
            _ => VALUES[self.rng.usize(..VALUES.len())].to_owned(),
        }
    }

    /// A right value, or sometimes another one.
    fn or_wrong(&mut self, right: &str) -> String {
        if self.rng.u8(..12) == 0 { self.value() } else { right.to_owned() }
    }

    fn lease(&mut self) -> String {
        match self.rng.u8(..4) {
            0 => self.value(),
            // One that somebody else may hold.
            1 => format!("\"{:x}.{:x}\"", self.rng.u64(..), self.rng.u64(..50)),
            _ => match self.leases.last() {
                // Given up now, or named again later.
                Some(lease) if self.rng.bool() => format!("\"{lease}\""),
                Some(_) => format!("\"{}\"", self.leases.swap_remove(self.rng.usize(..self.leases.len()))),
                None => "\"91.7\"".to_owned(),
            },
        }
    }

    fn work(&mut self) -> String {
        let name = ["job", "job", "echo", "other", "a b"][self.rng.usize(..5)];
        let functions = self.or_wrong(&format!("[{{\"name\":\"{name}\"}}]"));
        let (credit, heartbeats) = (self.or_wrong("3"), self.or_wrong("true"));
        let session = self.or_wrong("\"0123456789abcdef\"");
        let resumes = self.lease();
        let mut fields = format!(
            "\"command\":\"work\",\"worker\":\"fuzz\",\"functions\":{functions},\"credit\":{credit},\
             \"heartbeats\":{heartbeats}"
        );
        if self.rng.bool() {
            fields.push_str(&format!(",\"session\":{session},\"resumes\":[{resumes}]"));
        }
        format!("{{{fields}}}")
    }

    fn end(&mut self) -> String {
        let lease = self.lease();
        let value = self.value();
        match self.rng.u8(..8) {
            0 => format!("{{\"lease\":{lease},\"returned\":true}}"),
            1 => format!("{{\"lease\":{lease},\"cancelled\":true}}"),
            2 => {
                let retry = ["null", "true", "false", "-1", "[]", "\"soon\"", "\"1ms\""][self.rng.usize(..7)];
                format!("{{\"lease\":{lease},\"error\":\"bad\",\"retry\":{retry}}}")
            }
            3 => format!("{{\"lease\":{lease},\"error\":\"bad\"}}"),
            4 => format!(
                "{{\"lease\":{lease},\"result\":1,\"push\":[{{\"function\":\"echo\",\"args\":{value}}}]}}"
            ),
            5 => value,
            _ => format!("{{\"lease\":{lease},\"result\":{value}}}"),
        }
    }

    fn message(&mut self) -> String {
        let (lease, value) = (self.lease(), self.value());
        match self.rng.u8(..10) {
            0 => self.work(),
            1..=3 => {
                let ends: Vec<_> = (0..self.rng.usize(..4)).map(|_| self.end()).collect();
                format!(
                    "{{\"command\":\"settle\",\"ends\":[{}],\"credit\":{}}}",
                    ends.join(","),
                    self.or_wrong("2")
                )
            }
            4 => format!("{{\"command\":\"credit\",\"credit\":{}}}", self.or_wrong("1")),
            5 => "{\"command\":\"heartbeat\"}".to_owned(),
            6 => format!(
                "{{\"command\":\"progress\",\"lease\":{lease},\"percent\":{value},\"text\":\"half\"}}"
            ),
            7 => format!("{{\"command\":\"log\",\"lease\":{lease},\"text\":{value}}}"),
            8 => format!(
                "{{\"command\":\"{}\",\"lease\":{value}}}",
                ["leave", "settle", "work"][self.rng.usize(..3)]
            ),
            _ => format!("{{\"command\":\"workers\",\"{}\":{value}}}", self.rng.alphabetic()),
        }
    }

    /// Sends messages, some of them twice, out of their order, or cut off.
    fn send(&mut self) -> std::io::Result<()> {
        let mut messages: Vec<_> = (0..self.rng.usize(1..6)).map(|_| self.message()).collect();
        let first = messages[0].clone();
        match self.rng.u8(..6) {
            0 => messages.push(first),
            1 => self.rng.shuffle(&mut messages),
            2 => {
                let last = messages.last_mut().unwrap();
                let end = (0..=self.rng.usize(..=last.len())).rev().find(|end| last.is_char_boundary(*end));
                last.truncate(end.unwrap());
            }
            _ => {}
        }
        let text = messages.iter().map(|message| format!("{message}\n")).collect::<String>();
        std::io::Write::write_all(self.client.stream(), text.as_bytes())
    }

    /// Reads what has come: every line is a reply.
    fn receive(&mut self, totals: &Totals) {
        self.client.stream().set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        while self.client.try_line(&mut self.line) {
            let line = std::mem::take(&mut self.line);
            let reply: Value =
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
            match reply["status"].as_str().unwrap_or_else(|| panic!("no status in {reply}")) {
                "error" => totals.errors.fetch_add(1, Ordering::Relaxed),
                "stale" => totals.stale.fetch_add(1, Ordering::Relaxed),
                "settled" => {
                    totals.stale.fetch_add(reply["stale"].as_array().unwrap().len() as u64, Ordering::Relaxed)
                }
                "task" => {
                    self.leases.push(reply["lease"].as_str().unwrap().to_owned());
                    totals.tasks.fetch_add(1, Ordering::Relaxed)
                }
                _ => 0,
            };
        }
    }
}

/// Behaves badly over one connection after the other.
fn fuzz(address: &str, seed: u64, totals: &Totals) {
    let mut rng = Rng::with_seed(seed);
    let begin = Instant::now();
    while totals.go_on(begin) {
        let (client, leases, line) = (Client::connect(address), Vec::new(), String::new());
        let mut fuzzer = Fuzzer { rng: Rng::with_seed(rng.u64(..)), client, leases, line };
        for _ in 0..rng.usize(1..20) {
            // The server may close after what is no message at all.
            if fuzzer.send().is_err() || !totals.go_on(begin) {
                break;
            }
            fuzzer.receive(totals);
        }
    }
}

/// Runs every task that it is given, as long as it is not stopped.
fn run_honestly(address: &str, is_over: &AtomicBool) {
    let mut client = Client::connect(address);
    client.send(
        "{\"command\":\"work\",\"worker\":\"honest\",\"credit\":50,\"functions\":[{\"name\":\"job\"}]}\n",
    );
    client.stream().set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut line = String::new();
    while !is_over.load(Ordering::Relaxed) {
        if !client.try_line(&mut line) {
            client.send("{\"command\":\"heartbeat\"}\n");
            continue;
        }
        let message: Value = serde_json::from_str(&line).unwrap();
        if message["status"] == "task" {
            let end = json!({"lease": message["lease"], "result": "honest"});
            client.send(format!("{}\n", json!({"command": "settle", "ends": [end], "credit": 1})));
        }
        line.clear();
    }
}

#[test]
fn server_outlives_messages_of_workers_that_are_wrong_in_every_way() {
    let mut server = Server::with_settings(SETTINGS);
    let seed = fastrand::u64(..);
    let (totals, is_over) = (Arc::new(Totals::default()), Arc::new(AtomicBool::new(false)));
    let honest = {
        let (address, is_over) = (server.address.clone(), is_over.clone());
        thread::spawn(move || run_honestly(&address, &is_over))
    };
    wait_until("the honest worker is there", || server.status()["unserved"] == json!([]));
    let fuzzers: Vec<_> = (0..4)
        .map(|number| {
            let (address, totals) = (server.address.clone(), totals.clone());
            thread::spawn(move || fuzz(&address, seed.wrapping_add(number), &totals))
        })
        .collect();
    let mut client = server.connect();
    let mut sent = 0_u64;
    let begin = Instant::now();
    while totals.go_on(begin) {
        let reply = client.send("{\"function\":\"job\",\"attempts\":3}\n").json();
        // The function may have another schema by now, which a worker has registered.
        sent += u64::from(reply["status"] == "queued");
        thread::sleep(Duration::from_millis(5));
    }
    for fuzzer in fuzzers {
        fuzzer.join().unwrap_or_else(|_| panic!("seed {seed}"));
    }
    wait_until(&format!("no task waits or runs (seed {seed})"), || is_idle(&server.ledger()));
    is_over.store(true, Ordering::Relaxed);
    honest.join().unwrap();
    let ledger = server.ledger();
    assert_balanced(&ledger);
    assert!(sent > 0 && ledger["accepted"].as_u64().unwrap() >= sent, "{sent} sent, {ledger}, seed {seed}");
    assert!(totals.are_enough(), "{totals:?}, seed {seed}");
    server.signal(Signal::TERM);
    let printed = server.rest().join("\n");
    assert_eq!(server.exit_code(), Some(0), "seed {seed}: {printed}");
    assert!(!printed.contains("panicked"), "seed {seed}: {printed}");
}

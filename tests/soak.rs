//! The server in the background under a mixed load for as long as one likes, while it is stopped, killed and replaced.
//!
//! By hand: `SOAK_MINUTES=20 cargo test --release --test main soak:: -- --ignored --nocapture`; without the variable it
//! takes one minute. Each quarter of the time has a quiet half, in which one process lives, and a stormy one.

mod figures;
mod lookout;
mod rounds;
mod tally;
mod weather;
mod web;
mod wire;

use std::io::{self, Write};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::Result;
use fastrand::Rng;
use serde_json::{Value, json};

use self::figures::Figures;
use self::tally::Tally;
use self::weather::Weather;
use crate::daemon::guard::{Daemon, project_with};

/// Small where it matters: what is kept, how large a log gets, and how long a stop waits.
const SETTINGS: &str = "app_log = false\nkeep_count = 100000\nkey_window = \"1m\"\nmax_wait_time = \"5s\"\n\
                        log_rotation = \"1MB\"\nlog_keep = 3\n";
/// Who comes again and again, and how many of them at a time.
const CLIENTS: [(&str, usize, Client); 6] = [
    ("pipeline", 1, rounds::pipeline),
    ("mixed", 4, rounds::mixed),
    ("web", 3, web::visit),
    ("rude", 1, rounds::rude),
    ("burst", 1, rounds::burst),
    ("lookout", 1, lookout::look),
];
/// In KiB; far more than what is kept needs.
const QUEUE_MOST: u64 = 512 << 10;
/// In KiB: the log and three that were put aside, with a page more each.
const LOGS_MOST: u64 = 5 << 10;
/// In KiB: what a process may hold at the end of a quiet time beyond half as much again as in the middle of it, and as
/// one did at the end of the first.
const GROWTH_MOST: u64 = 64 << 10;
const QUARTERS: u32 = 4;

type Client = fn(&Tally, &mut Rng) -> Result<()>;

#[test]
#[ignore = "takes as many minutes as SOAK_MINUTES says, or one: cargo test --release --test main soak:: -- --ignored --nocapture"]
fn a_server_lives_through_a_mixed_load_with_restarts_and_kills() {
    let project = project_with(SETTINGS);
    // Where the folder of the mails should be: they all fail.
    project.write("mail", "");
    project.write("config/mail.toml", "folder = \"mail\"\n");
    let daemon = Daemon::start(project, "");
    let start = Figures::of(&daemon);
    say(&format!("at the start: {start}"));
    let tally = Tally::new(daemon.address.clone());
    let (daemon, weather) = thread::scope(|scope| {
        let _end = End(&tally);
        for (name, count, client) in CLIENTS {
            for _ in 0..count {
                let tally = &tally;
                scope.spawn(move || come_again(tally, name, client));
            }
        }
        Soak::new(daemon, &tally).run(minutes())
    });
    let ledger = drained(&daemon);
    tally.look_at_recent();
    lookout::look_at_all(&tally).unwrap();
    let end = at_rest(&daemon, start.descriptors);
    say(&format!("at the end: {end}; {weather}"));
    say(&told(&tally, &ledger));

    let wrong = tally.all_wrong();
    assert!(wrong.is_empty(), "{wrong:#?}");
    rounds::balance(&ledger).unwrap();
    let accepted = ledger["accepted"].as_u64().unwrap();
    assert!(tally.count() > 0 && accepted >= tally.count(), "{} were acknowledged: {ledger}", tally.count());
    assert!(
        end.descriptors <= start.descriptors,
        "{} descriptors, {} before",
        end.descriptors,
        start.descriptors
    );
    daemon.think("task:stop").exits(0);
}

/// From the environment, where it is the one thing that may be said to this test.
fn minutes() -> Duration {
    let environment = String::from_utf8_lossy(&fs::read("/proc/self/environ").unwrap()).into_owned();
    let minutes = environment.split('\0').find_map(|variable| variable.strip_prefix("SOAK_MINUTES="));
    Duration::from_secs_f64(60.0 * minutes.map_or(1.0, |minutes| minutes.parse::<f64>().unwrap()))
}

/// A client that comes again however it parted.
fn come_again(tally: &Tally, name: &str, client: Client) {
    let mut random = Rng::new();
    while tally.goes_on() {
        let moment = tally.now();
        if let Err(error) = client(tally, &mut random) {
            tally.failed(name, moment, &error);
            rounds::pause(tally, Duration::from_millis(random.u64(10..100)));
        }
    }
}

/// Sends the clients home, also when nobody looks any more because something has failed.
struct End<'a>(&'a Tally);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

/// The whole of it, in the thread that holds the server.
struct Soak<'a> {
    weather: Weather<'a>,
    tally: &'a Tally,
    begun: Instant,
    told: Instant,
    /// At the end of the first quiet time.
    first: Option<Figures>,
}

impl<'a> Soak<'a> {
    fn new(daemon: Daemon, tally: &'a Tally) -> Self {
        let now = Instant::now();
        Self { weather: Weather::new(daemon, tally), tally, begun: now, told: now, first: None }
    }

    /// The server at its end, and what has happened to it and its predecessors.
    fn run(mut self, time: Duration) -> (Daemon, String) {
        let half = time / QUARTERS / 2;
        for _ in 0..QUARTERS {
            self.be_quiet(half);
            self.be_stormy(half);
        }
        let told = self.weather.to_string();
        (self.weather.into_daemon(), told)
    }

    /// One process, whose log is opened anew now and then: what it holds does not grow once it is warm.
    fn be_quiet(&mut self, time: Duration) {
        self.pass(time / 2, Weather::hang_up);
        let warm = Figures::of(self.weather.daemon());
        self.pass(time / 2, Weather::hang_up);
        let later = Figures::of(self.weather.daemon());
        for before in [warm, *self.first.get_or_insert(later)] {
            if later.memory > before.memory * 3 / 2 + GROWTH_MOST {
                self.tally.wrong(format!("memory of a quiet time: {before}, and then {later}"));
            }
        }
        if later.queue > QUEUE_MOST || later.logs > LOGS_MOST {
            self.tally.wrong(format!("files that grow: {later}"));
        }
    }

    fn be_stormy(&mut self, time: Duration) {
        self.pass(time, Weather::strike);
    }

    /// Lets the time pass, with something happening every few seconds.
    fn pass(&mut self, time: Duration, happen: fn(&mut Weather<'a>)) {
        let begun = Instant::now();
        while begun.elapsed() < time {
            let pause = Duration::from_millis(fastrand::u64(500..4_000));
            thread::sleep(pause.min(time.saturating_sub(begun.elapsed())));
            if begun.elapsed() < time {
                happen(&mut self.weather);
            }
            self.tell();
        }
    }

    /// Once a minute.
    fn tell(&mut self) {
        const MINUTE: Duration = Duration::from_secs(60);
        if self.told.elapsed() >= MINUTE {
            self.told = Instant::now();
            let daemon = self.weather.daemon();
            let ledger = daemon.status()["ledger"].take();
            let minutes = self.begun.elapsed().as_secs() / 60;
            let (figures, weather) = (Figures::of(daemon), &self.weather);
            say(&format!("{minutes} min: {figures}; {weather}\n  {}", told(self.tally, &ledger)));
        }
    }
}

/// What there was to do, and what has become of it.
fn told(tally: &Tally, ledger: &Value) -> String {
    let load = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    let wrong: u64 = tally.all_wrong().values().sum();
    let (acknowledged, checked, late) = (tally.count(), load(&tally.checked), load(&tally.too_late));
    format!(
        "{ledger}; {acknowledged} acknowledged, {checked} of them looked at to their end ({late} too late); \
         {} connections broke for a reason; {wrong} errors",
        load(&tally.explained)
    )
}

/// Gives up the batches whose client was cut off before it could seal them: their tasks would wait for ever.
fn give_up_batches(client: &mut crate::harness::server::Client) {
    let mut ask = |command: Value| client.send(format!("{command}\n")).json()["result"].take();
    let waiting = ask(json!({ "command": "list", "state": "waiting", "limit": 1_000 }));
    for task in waiting.as_array().unwrap() {
        let batch = ask(json!({ "command": "show", "task": task["id"] }))["batch"].take();
        if batch.is_u64() {
            ask(json!({ "command": "cancel", "batch": batch }));
        }
    }
}

/// The ledger, once nothing waits or runs any more.
fn drained(daemon: &Daemon) -> Value {
    let mut client = daemon.client();
    loop {
        give_up_batches(&mut client);
        let ledger = client.send("{\"command\":\"status\"}\n").json()["result"]["ledger"].take();
        if ledger["waiting"] == 0 && ledger["running"] == 0 {
            return ledger;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// The figures once all connections are closed, or after a while.
fn at_rest(daemon: &Daemon, descriptors: usize) -> Figures {
    let figures = || (daemon.status(), Figures::of(daemon)).1;
    (0..100).map(|_| figures()).find(|now| now.descriptors <= descriptors).unwrap_or_else(figures)
}

/// Figures are of use where they are seen.
fn say(figures: &str) {
    io::stdout().write_all(format!("{figures}\n").as_bytes()).unwrap();
}

//! The server in the background under a mixed load, while it is stopped, killed and replaced.
//!
//! By hand: `SOAK_MINUTES=20 cargo test --release --test main load::soak:: -- --ignored --nocapture`; without
//! the variable it takes one minute. Each quarter of the time has a quiet half, in which one process lives,
//! and a stormy one.

mod figures;

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use self::figures::Figures;
use super::faults::Faults;
use super::recorder::{End, Recorder};
use super::scenarios::{self, Scenario, repeat};
use super::{checker, print, promises, web};
use crate::harness::daemon::{Daemon, project_with};
use crate::harness::eventually::eventually;
use crate::harness::metrics::assert_balanced;
use crate::harness::{variable, watchdog};

/// Small limits: for retention, the size of a log, and how long a stop waits.
const SETTINGS: &str = "app_log = false\nretention_count = 100000\nidempotency_window = \"1m\"\nmax_wait_time = \"5s\"\n\
                        log_rotation = \"1MB\"\nmax_log_files = 3\n";
/// The clients, each with the number of those that run at a time.
const CLIENTS: [(&str, usize, Scenario); 6] = [
    ("pipeline", 1, scenarios::pipeline),
    ("mixed", 4, scenarios::mixed),
    ("web", 3, web::visit),
    ("rude", 1, scenarios::rude),
    ("burst", 1, scenarios::burst),
    ("checker", 1, checker::check),
];
/// The bound on the queue file in KiB, far more than the retained tasks need.
const QUEUE_MOST: u64 = 512 << 10;
/// The bound on the logs in KiB: the log and three rotated ones, with a page more each.
const LOGS_MOST: u64 = 5 << 10;
/// The bound on memory in KiB: what a process may hold at the end of a quiet time beyond one and a half times
/// what it held in the middle, and what one held at the end of the first.
const GROWTH_MOST: u64 = 64 << 10;
const QUARTERS: u32 = 4;

#[test]
#[ignore = "takes as many minutes as SOAK_MINUTES says, or one: cargo test --release --test main load::soak:: -- --ignored --nocapture"]
fn server_survives_a_mixed_load_with_restarts_and_kills() {
    let time = minutes();
    watchdog::allow(2 * time + Duration::from_secs(15 * 60));
    let project = project_with(SETTINGS);
    // The folder of the mails is a file: all mails fail.
    project.write("mail", "");
    project.write("config/mail.toml", "folder = \"mail\"\n");
    let daemon = Daemon::start(project, "");
    let start = Figures::of(&daemon);
    print(&format!("at the start: {start}"));
    let recorder = Recorder::new(daemon.address.clone());
    let (daemon, faults) = thread::scope(|scope| {
        let _end = End(&recorder);
        for (name, count, client) in CLIENTS {
            for _ in 0..count {
                let recorder = &recorder;
                scope.spawn(move || repeat(recorder, name, client));
            }
        }
        Soak::new(daemon, &recorder).run(time)
    });
    let ledger = drained(&daemon, &recorder);
    recorder.recheck_recent();
    checker::check_all(&recorder).unwrap();
    print(&summary(&recorder, &ledger));

    let wrong = recorder.all_wrong();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_balanced(&ledger);
    let accepted = ledger["accepted"].as_u64().unwrap();
    assert!(
        recorder.count() > 0 && accepted >= recorder.count(),
        "{} were acknowledged: {ledger}",
        recorder.count()
    );
    let end = at_rest(&daemon, start.descriptors);
    print(&format!("at the end: {end}; {faults}"));
    daemon.think("task:stop").exits(0);
}

/// The duration of the load.
fn minutes() -> Duration {
    let minutes = variable("SOAK_MINUTES").map_or(1.0, |minutes| minutes.parse().unwrap());
    Duration::from_secs_f64(60.0 * minutes)
}

/// The course of the test, in the thread that owns the server.
struct Soak<'a> {
    faults: Faults<'a>,
    recorder: &'a Recorder,
    begun: Instant,
    reported: Instant,
    /// The figures at the end of the first quiet time.
    first: Option<Figures>,
}

impl<'a> Soak<'a> {
    fn new(daemon: Daemon, recorder: &'a Recorder) -> Self {
        let now = Instant::now();
        Self { faults: Faults::new(daemon, recorder), recorder, begun: now, reported: now, first: None }
    }

    /// Returns the server at the end, and the faults of it and its predecessors.
    fn run(mut self, time: Duration) -> (Daemon, String) {
        let half = time / QUARTERS / 2;
        for _ in 0..QUARTERS {
            self.be_quiet(half);
            self.be_stormy(half);
        }
        let faults = self.faults.to_string();
        (self.faults.into_daemon(), faults)
    }

    /// One process, whose log is reopened now and then: its memory does not grow once it is warm.
    fn be_quiet(&mut self, time: Duration) {
        self.pass(time / 2, Faults::hang_up);
        let warm = Figures::of(self.faults.daemon());
        self.pass(time / 2, Faults::hang_up);
        let later = Figures::of(self.faults.daemon());
        for before in [warm, *self.first.get_or_insert(later)] {
            if later.memory > before.memory * 3 / 2 + GROWTH_MOST {
                self.recorder.wrong(format!("memory of a quiet time: {before}, and then {later}"));
            }
        }
        if later.queue > QUEUE_MOST || later.logs > LOGS_MOST {
            self.recorder.wrong(format!("files that grow: {later}"));
        }
    }

    fn be_stormy(&mut self, time: Duration) {
        self.pass(time, Faults::any);
    }

    /// Waits for this time, with a fault every few seconds.
    fn pass(&mut self, time: Duration, happen: fn(&mut Faults<'a>)) {
        let begun = Instant::now();
        while begun.elapsed() < time {
            let pause = Duration::from_millis(fastrand::u64(500..4_000));
            thread::sleep(pause.min(time.saturating_sub(begun.elapsed())));
            if begun.elapsed() < time {
                happen(&mut self.faults);
            }
            self.report();
        }
    }

    /// Prints the figures once a minute.
    fn report(&mut self) {
        const MINUTE: Duration = Duration::from_secs(60);
        if self.reported.elapsed() >= MINUTE {
            self.reported = Instant::now();
            let daemon = self.faults.daemon();
            let ledger = daemon.status()["ledger"].take();
            let minutes = self.begun.elapsed().as_secs() / 60;
            let (figures, faults) = (Figures::of(daemon), &self.faults);
            print(&format!("{minutes} min: {figures}; {faults}\n  {}", summary(self.recorder, &ledger)));
        }
    }
}

/// A summary of the load and its results.
fn summary(recorder: &Recorder, ledger: &Value) -> String {
    let load = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    let wrong: u64 = recorder.all_wrong().values().sum();
    let (acknowledged, checked, late) = (recorder.count(), load(&recorder.checked), load(&recorder.too_late));
    format!(
        "{ledger}; {acknowledged} acknowledged, {checked} of them looked at to their end ({late} too late); \
         {} connections broke for a reason; {wrong} errors",
        load(&recorder.explained)
    )
}

/// The ledger, once nothing waits or runs any more.
fn drained(daemon: &Daemon, recorder: &Recorder) -> Value {
    promises::end_unsealed(recorder, &recorder.take_promises()).unwrap();
    daemon.idle_ledger()
}

/// The figures once the descriptors of all connections are closed.
fn at_rest(daemon: &Daemon, descriptors: usize) -> Figures {
    eventually(&format!("no more than {descriptors} descriptors are open"), || {
        Some(Figures::of(daemon)).filter(|now| now.descriptors <= descriptors)
    })
}

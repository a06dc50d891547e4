//! The speed of changes of many tasks among millions, and what pushes notice of them. Figures are printed and
//! none is asserted; the ledger has to be true at each moment.
//!
//! By hand: `cargo test --release --test main load::bulk_changes:: -- --ignored --nocapture`. The variable
//! `BULK_TASKS` sets how many tasks each change has, and six times as many wait besides.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::print;
use crate::harness::client::Client;
use crate::harness::eventually::wait_until;
use crate::harness::metrics::assert_balanced;
use crate::harness::server::Server;
use crate::harness::{Project, variable, watchdog};

/// All tasks that have ended are kept.
const SETTINGS: &str = "app_log = false\nretention_count = 2000000\nfailed_retention_count = 2000000\n";
/// The pause of the client between two pushes.
const PAUSE: Duration = Duration::from_millis(1);
/// The time for which pushes are measured without a change.
const QUIET: Duration = Duration::from_secs(5);
/// The tasks of which the acceptance is awaited before more are sent.
const FILL: u64 = 100_000;

#[test]
#[ignore = "takes minutes: cargo test --release --test main load::bulk_changes:: -- --ignored --nocapture"]
fn bulk_changes_print_their_speed_and_the_latency_of_pushes_beside_them() {
    watchdog::allow(Duration::from_secs(60 * 60));
    let count = variable("BULK_TASKS").map_or(500_000, |count| count.parse().unwrap());
    let project = Project::with_settings(SETTINGS);
    // The folder of the mails is a file: all mails fail.
    project.write("mail", "");
    project.write("config/mail.toml", "folder = \"mail\"\n");
    let queues = Queues { server: Server::with(project, ""), count };
    queues.fill();
    let quiet = queues.beside_pushes(|_| thread::sleep(QUIET)).1;
    print(&format!("without a change: {quiet}"));
    for (name, command) in [
        ("seal", "\"seal_batch\",\"batch\":1"),
        ("cancel", "\"cancel\",\"batch\":1"),
        ("flush", "\"flush\",\"queue\":\"mail\""),
        ("retry", "\"retry\",\"failed\":true,\"queue\":\"mail\""),
        ("forget", "\"forget\",\"batch\":1"),
    ] {
        let (took, beside) = queues.beside_pushes(|client| {
            let reply = client.send(format!("{{\"command\":{command}}}\n")).line();
            assert!(reply.contains("result"), "{reply}");
        });
        let rate = count as f64 / took.as_secs_f64();
        let ratio = beside.at(0.999).as_secs_f64() / quiet.at(0.999).as_secs_f64();
        print(&format!("{name}: {rate:.0} tasks/s; {beside}, {ratio:.1} times that without a change"));
    }
}

/// A server with queues full of tasks.
struct Queues {
    server: Server,
    /// The number of tasks of each change.
    count: u64,
}

impl Queues {
    /// Lets tasks end and fail, and others wait.
    fn fill(&self) {
        let mail = r#""send_mail","args":{"to":"ada@example.com","content":"x"},"attempts":1"#;
        self.push(self.count, "\"noop\"");
        self.push(self.count, mail);
        let mut client = self.server.connect();
        // One wait has a bound, which this many failures may exceed.
        for part in 1..=20 {
            let failed = Some(self.count * part / 20);
            wait_until("they fail", || client.status()["ledger"]["failed"].as_u64() >= failed);
        }
        for queue in ["default", "mail"] {
            self.server.think(&["queue:pause", queue]).exits(0);
        }
        let begun = Instant::now();
        self.push(6 * self.count, "\"noop\"");
        self.push(self.count, mail);
        client.send("{\"command\":\"open_batch\",\"name\":\"many\",\"function\":\"noop\"}\n").line();
        self.push(self.count, "\"noop\",\"batch\":1");
        let rate = 8.0 * self.count as f64 / begun.elapsed().as_secs_f64();
        print(&format!("{rate:.0} pushes/s; {}", client.status()["ledger"]));
    }

    /// Pushes tasks; returns when all are accepted.
    fn push(&self, count: u64, task: &str) {
        let mut client = self.server.connect();
        let line = format!("{{\"function\":{task},\"reply\":\"none\"}}\n");
        let mut accepted = client.status()["ledger"]["accepted"].as_u64().unwrap();
        let mut left = count;
        while left > 0 {
            let some = left.min(FILL);
            client.send(line.repeat(some as usize));
            accepted += some;
            wait_until("they are accepted", || client.status()["ledger"]["accepted"] == accepted);
            left -= some;
        }
    }

    /// Does something while one client pushes, and another one looks at the ledger; returns how long it took.
    fn beside_pushes(&self, act: impl FnOnce(&mut Client)) -> (Duration, Latencies) {
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let [pushing, looking, mut asking] = [(); 3].map(|()| self.server.connect());
            let pushes = scope.spawn(|| push_until(&is_over, pushing));
            let ledgers = scope.spawn(|| balance_until(&is_over, looking));
            let begun = Instant::now();
            act(&mut asking);
            let took = begun.elapsed();
            is_over.store(true, Ordering::Relaxed);
            ledgers.join().unwrap();
            (took, pushes.join().unwrap())
        })
    }
}

/// Pushes one task after the other.
fn push_until(is_over: &AtomicBool, mut client: Client) -> Latencies {
    let mut latencies = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let reply = client.send("{\"function\":\"noop\",\"args\":1}\n").line();
        latencies.push(begun.elapsed());
        assert!(reply.contains("queued"), "{reply}");
        thread::sleep(PAUSE);
    }
    latencies.sort_unstable();
    Latencies(latencies)
}

/// Looks at the ledger again and again.
fn balance_until(is_over: &AtomicBool, mut client: Client) {
    while !is_over.load(Ordering::Relaxed) {
        assert_balanced(&client.status()["ledger"]);
        thread::sleep(20 * PAUSE);
    }
}

/// The latencies of pushes, the shortest first.
struct Latencies(Vec<Duration>);

impl Latencies {
    fn at(&self, share: f64) -> Duration {
        let last = self.0.len() - 1;
        self.0[(last as f64 * share).ceil() as usize]
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, p999, max] =
            [0.5, 0.99, 0.999, 1.0].map(|share| self.at(share).as_secs_f64() * 1000.0);
        let count = self.0.len();
        write!(
            formatter,
            "{count} pushes of p50 {p50:.1}, p99 {p99:.1}, p99.9 {p999:.1}, at most {max:.1} ms"
        )
    }
}

//! How the server is doing: what the rooms count, and the report made of it.

mod files;
mod limits;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

pub use self::files::OpenFiles;
pub(super) use self::files::raise_limit;
pub(super) use self::limits::{Limit, Limits};
use super::connections::ConnectionRegistry;
use super::settings::{Auth, Protocol};
use crate::protocol::Durability;
use crate::store::{Ledger, QueueDepth, Store, StoreStats};

/// The report of `{"command":"status"}`, and of `task:status --json`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    pub version: String,
    pub pid: u32,
    pub uptime_ms: u64,
    /// Where the server listens.
    pub addresses: Vec<Address>,
    /// `memory`, ..
    pub store: String,
    /// What an accepted task survives.
    pub durability: Durability,
    /// Why nothing is accepted at the moment; `null` when all is well.
    pub storage_error: Option<String>,
    pub threads: Threads,
    /// Of all lines together.
    pub workers: Workers,
    /// Of each line, by the name of its queue; `*` is the line of all queues without one of their own.
    pub lines: BTreeMap<String, Workers>,
    pub connections: Connections,
    #[serde(default)]
    pub open_files: OpenFiles,
    /// How often each bound on what clients may do was reached, by the name of its setting.
    #[serde(default)]
    pub limits: BTreeMap<String, u64>,
    pub queues: BTreeMap<String, QueueDepth>,
    /// How long the longest waiting of the due tasks has waited; `null` when none is due.
    pub oldest_waiting_ms: Option<u64>,
    pub rates: Rates,
    /// How long tasks waited from when they were due to their first attempt; over the last one to two minutes.
    pub waiting_ms: Percentiles,
    /// How long attempts took; over the last one to two minutes.
    pub running_ms: Percentiles,
    pub ledger: Ledger,
}

/// Where the server listens, and what it speaks there. Displays as the address alone, for clients to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Address {
    /// `127.0.0.1:9501`, or `unix:` and a path relative to the project's root.
    pub address: String,
    pub protocols: Vec<Protocol>,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Whether nothing but TLS is.
    pub tls_only: bool,
    /// How a client shows who it is.
    pub auth: Auth,
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.address)
    }
}

/// The threads of the two runtimes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub struct Threads {
    pub io: usize,
    pub task: usize,
}

/// The task workers: how many tasks may run at once.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
pub struct Workers {
    pub total: usize,
    pub busy: usize,
    pub idle: usize,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub struct Connections {
    pub current: usize,
    /// Since the start, the refused ones not counted.
    pub total: u64,
    /// Turned away because a limit was reached.
    pub refused: u64,
}

/// Tasks a second over the last ten seconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
pub struct Rates {
    pub accepted_per_second: f64,
    pub finished_per_second: f64,
}

/// `null` when there was nothing to measure.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
pub struct Percentiles {
    pub p50: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
}

/// What the rooms count.
pub(super) struct Metrics {
    started: Instant,
    store: Arc<dyn Store>,
    pub(super) groups: Vec<WorkerGroupStats>,
    threads: Threads,
    pub(super) connections: Arc<ConnectionCounts>,
    pub(super) registry: Arc<ConnectionRegistry>,
    pub(super) limits: Arc<Limits>,
    latencies: Mutex<Latencies>,
    samples: Mutex<VecDeque<RateSample>>,
}

/// The workers of one line.
#[derive(Clone)]
pub(super) struct WorkerGroupStats {
    /// As the status names it.
    pub(super) name: String,
    pub(super) count: usize,
    /// A worker that is free.
    pub(super) free: Arc<Semaphore>,
}

/// The listener's counters.
#[derive(Debug, Default)]
pub(super) struct ConnectionCounts {
    pub(super) current: AtomicUsize,
    pub(super) total: AtomicU64,
    pub(super) refused: AtomicU64,
}

struct RateSample {
    at: Instant,
    accepted: u64,
    ended: u64,
}

const RATE_WINDOW: usize = 10;

impl Metrics {
    pub(super) fn new(store: Arc<dyn Store>, groups: Vec<WorkerGroupStats>, threads: Threads) -> Self {
        Self {
            started: Instant::now(),
            store,
            groups,
            threads,
            connections: Arc::default(),
            registry: Arc::default(),
            limits: Arc::default(),
            latencies: Mutex::new(Latencies::new()),
            samples: Mutex::default(),
        }
    }

    /// Notes how long attempts waited (the first of a task only) and ran.
    pub(super) fn record(&self, attempts: impl Iterator<Item = (Option<Duration>, Duration)>) {
        let mut latencies = self.latencies.lock().expect("no one panics while holding the histograms");
        latencies.rotate(Instant::now());
        for (waited, ran) in attempts {
            if let Some(waited) = waited {
                latencies.waiting.record(waited);
            }
            latencies.running.record(ran);
        }
    }

    /// Looks at the books once a second, for the rates.
    pub(super) async fn sample(self: Arc<Self>) {
        let mut clock = tokio::time::interval(Duration::from_secs(1));
        loop {
            clock.tick().await;
            let ledger = self.store.counts().await.ledger;
            let sample = RateSample { at: Instant::now(), accepted: ledger.accepted, ended: ledger.ended() };
            let mut samples = self.samples.lock().expect("no one panics while holding the samples");
            samples.push_back(sample);
            if samples.len() > RATE_WINDOW + 1 {
                samples.pop_front();
            }
        }
    }

    /// When a full queue will probably have room: the time in which a thousand tasks end, within 0.1 to 10 s.
    pub(super) fn retry_after_ms(&self) -> u64 {
        let samples = self.samples.lock().expect("no one panics while holding the samples");
        let rate = match (samples.front(), samples.back()) {
            (Some(first), Some(last)) => per_second(last.ended - first.ended, last.at - first.at),
            _ => 0.0,
        };
        (1_000_000.0 / rate).clamp(100.0, 10_000.0) as u64
    }

    pub(super) async fn report(&self, addresses: &[Address]) -> Status {
        let StoreStats { ledger, queues, oldest_waiting_ms, storage_error } = self.store.counts().await;
        let lines: BTreeMap<_, _> =
            self.groups.iter().map(|group| (group.name.clone(), group.workers())).collect();
        let (waiting_ms, running_ms) = {
            let latencies = self.latencies.lock().expect("no one panics while holding the histograms");
            (latencies.waiting.percentiles(), latencies.running.percentiles())
        };
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_ms: self.started.elapsed().as_millis() as u64,
            addresses: addresses.to_vec(),
            store: self.store.name().to_owned(),
            durability: self.store.durability(),
            storage_error,
            threads: self.threads,
            workers: lines.values().copied().fold(Workers::default(), Workers::plus),
            lines,
            connections: Connections {
                current: self.connections.current.load(Ordering::Relaxed),
                total: self.connections.total.load(Ordering::Relaxed),
                refused: self.connections.refused.load(Ordering::Relaxed),
            },
            open_files: OpenFiles::now(),
            limits: self.limits.report(),
            queues,
            oldest_waiting_ms,
            rates: self.rates(&ledger),
            waiting_ms,
            running_ms,
            ledger,
        }
    }

    /// Why nothing is accepted at the moment, if that is so.
    pub(super) async fn storage_error(&self) -> Option<String> {
        self.store.counts().await.storage_error
    }

    fn rates(&self, now: &Ledger) -> Rates {
        let samples = self.samples.lock().expect("no one panics while holding the samples");
        let Some(first) = samples.front() else { return Rates::default() };
        let time = first.at.elapsed();
        Rates {
            accepted_per_second: per_second(now.accepted - first.accepted, time),
            finished_per_second: per_second(now.ended() - first.ended, time),
        }
    }
}

fn per_second(count: u64, time: Duration) -> f64 {
    // Below a tenth of a second the quotient says more about chance than about the rate.
    match time.as_secs_f64() {
        seconds if seconds < 0.1 => 0.0,
        seconds => (count as f64 / seconds * 10.0).round() / 10.0,
    }
}

impl WorkerGroupStats {
    pub(super) fn new(name: impl Into<String>, count: usize) -> Self {
        Self { name: name.into(), count, free: Arc::new(Semaphore::new(count)) }
    }

    fn workers(&self) -> Workers {
        let idle = self.free.available_permits();
        Workers { total: self.count, busy: self.count.saturating_sub(idle), idle }
    }
}

impl Workers {
    fn plus(self, other: Self) -> Self {
        Self { total: self.total + other.total, busy: self.busy + other.busy, idle: self.idle + other.idle }
    }
}

struct Latencies {
    since: Instant,
    waiting: Recent,
    running: Recent,
}

/// The last one to two minutes of a duration.
struct Recent {
    current: Histogram<u64>,
    previous: Histogram<u64>,
}

impl Latencies {
    const PERIOD: Duration = Duration::from_secs(60);

    fn new() -> Self {
        Self { since: Instant::now(), waiting: Recent::new(), running: Recent::new() }
    }

    fn rotate(&mut self, now: Instant) {
        if now.duration_since(self.since) > Self::PERIOD {
            self.since = now;
            self.waiting.rotate();
            self.running.rotate();
        }
    }
}

impl Recent {
    /// From a microsecond to a day, with two significant digits.
    fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, 86_400_000_000, 2)
            .expect("these bounds are constants and in order");
        Self { current: histogram.clone(), previous: histogram }
    }

    fn record(&mut self, duration: Duration) {
        self.current.saturating_record(duration.as_micros() as u64);
    }

    fn rotate(&mut self) {
        std::mem::swap(&mut self.current, &mut self.previous);
        self.current.reset();
    }

    fn percentiles(&self) -> Percentiles {
        let mut both = self.current.clone();
        let added = both.add(&self.previous);
        debug_assert!(added.is_ok(), "both have the same bounds");
        let at = |quantile| (!both.is_empty()).then(|| both.value_at_quantile(quantile) as f64 / 1000.0);
        Percentiles { p50: at(0.50), p95: at(0.95), p99: at(0.99) }
    }
}

//! How the server is doing: what the rooms count, and the report made of it.

mod files;
mod limits;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use framework_protocol::views::{
    Connections, Ledger, ListenAddress, Percentiles, Rates, Status, Threads, Workers,
};
use hdrhistogram::Histogram;
use tokio::sync::Semaphore;

pub(super) use self::files::raise_limit;
pub(super) use self::limits::{Limit, Limits};
use super::connections::ConnectionRegistry;
use crate::store::{Store, StoreStats};

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

    pub(super) async fn report(&self, addresses: &[ListenAddress]) -> Status {
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
            workers: lines.values().copied().fold(Workers::default(), |sum, group| Workers {
                total: sum.total + group.total,
                busy: sum.busy + group.busy,
                idle: sum.idle + group.idle,
            }),
            lines,
            connections: Connections {
                current: self.connections.current.load(Ordering::Relaxed),
                total: self.connections.total.load(Ordering::Relaxed),
                refused: self.connections.refused.load(Ordering::Relaxed),
            },
            open_files: files::open_files(),
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

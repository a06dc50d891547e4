//! The numbers that the stages count: latencies, rates, workers, connections and limits that were reached.

mod latency;
mod limit_hits;
mod open_files;
mod process;
mod task_figures;
mod exposition;
mod workers;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use framework_protocol::views::{Ledger, Percentiles, Rates, Threads};

pub(super) use self::exposition::{Exposition, Format};
use self::latency::Latencies;
pub(super) use self::limit_hits::{Limit, Limits};
pub use self::open_files::needed_files;
pub(super) use self::open_files::{open_files, raise_limit};
pub(super) use self::process::ProcessFigures;
pub(super) use self::task_figures::{AttemptFigures, DurationBuckets, TaskFigures};
pub(super) use self::workers::WorkerGroupStats;
use super::connections::ConnectionRegistry;
use crate::store::Store;

/// The number of samples that rates are computed from: one a second.
const RATE_WINDOW: usize = 10;

/// The numbers of one server.
pub(super) struct Metrics {
    pub(super) started: Instant,
    pub(super) store: Arc<dyn Store>,
    pub(super) groups: Vec<WorkerGroupStats>,
    pub(super) threads: Threads,
    pub(super) connections: Arc<ConnectionCounts>,
    pub(super) registry: Arc<ConnectionRegistry>,
    pub(super) limits: Arc<Limits>,
    pub(super) tasks: TaskFigures,
    latencies: Mutex<Latencies>,
    samples: Mutex<VecDeque<RateSample>>,
}

/// The counters of all listeners together.
#[derive(Debug, Default)]
pub(super) struct ConnectionCounts {
    pub(super) current: AtomicUsize,
    /// Accepted since the start, the refused ones not counted.
    pub(super) total: AtomicU64,
    pub(super) refused: AtomicU64,
}

struct RateSample {
    at: Instant,
    accepted: u64,
    ended: u64,
}

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
            tasks: TaskFigures::default(),
            latencies: Mutex::new(Latencies::new()),
            samples: Mutex::default(),
        }
    }

    fn samples(&self) -> MutexGuard<'_, VecDeque<RateSample>> {
        self.samples.lock().expect("no panic while the samples are locked")
    }

    /// Records how long attempts waited (the first of a task only) and ran.
    pub(super) fn record(&self, attempts: impl Iterator<Item = (Option<Duration>, Duration)>) {
        let mut latencies = self.latencies.lock().expect("no panic while the histograms are locked");
        latencies.rotate(Instant::now());
        for (waited, ran) in attempts {
            if let Some(waited) = waited {
                latencies.waiting.record(waited);
            }
            latencies.running.record(ran);
        }
    }

    /// Samples the ledger once a second, for the rates; never ends.
    pub(super) async fn sample(self: Arc<Self>) {
        let mut clock = tokio::time::interval(Duration::from_secs(1));
        loop {
            clock.tick().await;
            let ledger = self.store.counts().await.ledger;
            let sample = RateSample { at: Instant::now(), accepted: ledger.accepted, ended: ledger.ended() };
            let mut samples = self.samples();
            samples.push_back(sample);
            if samples.len() > RATE_WINDOW + 1 {
                samples.pop_front();
            }
        }
    }

    /// The time after which a full queue probably has room: that in which a thousand tasks end, within 0.1 to
    /// 10 s.
    pub(super) fn retry_after_ms(&self) -> u64 {
        let samples = self.samples();
        let rate = match (samples.front(), samples.back()) {
            (Some(first), Some(last)) => {
                per_second(last.ended.saturating_sub(first.ended), last.at - first.at)
            }
            _ => 0.0,
        };
        (1_000_000.0 / rate).clamp(100.0, 10_000.0) as u64
    }

    /// Why nothing is accepted at the moment; `None` when all is well.
    pub(super) async fn storage_error(&self) -> Option<String> {
        self.store.counts().await.storage_error
    }

    /// The percentiles of the waiting and of the running times.
    pub(super) fn latencies(&self) -> (Percentiles, Percentiles) {
        let latencies = self.latencies.lock().expect("no panic while the histograms are locked");
        (latencies.waiting.percentiles(), latencies.running.percentiles())
    }

    /// The rates from the oldest sample up to `now`.
    pub(super) fn rates(&self, now: &Ledger) -> Rates {
        let samples = self.samples();
        let Some(first) = samples.front() else { return Rates::default() };
        let time = first.at.elapsed();
        Rates {
            accepted_per_second: per_second(now.accepted - first.accepted, time),
            // A retry takes back the ends of tasks.
            finished_per_second: per_second(now.ended().saturating_sub(first.ended), time),
        }
    }
}

fn per_second(count: u64, time: Duration) -> f64 {
    // Below a second the quotient says more about chance than about the rate.
    (count as f64 / time.as_secs_f64().max(1.0) * 10.0).round() / 10.0
}

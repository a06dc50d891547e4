//! The waiting times of tasks and running times of attempts over the last one to two minutes.

use std::time::{Duration, Instant};

use framework_protocol::views::Percentiles;
use hdrhistogram::Histogram;

/// The histograms of waiting and running times.
pub(super) struct Latencies {
    since: Instant,
    pub(super) waiting: RecentHistogram,
    pub(super) running: RecentHistogram,
}

/// The last one to two minutes of a duration: the current period and the one before.
pub(super) struct RecentHistogram {
    current: Histogram<u64>,
    previous: Histogram<u64>,
}

impl Latencies {
    const PERIOD: Duration = Duration::from_secs(60);

    pub(super) fn new() -> Self {
        Self { since: Instant::now(), waiting: RecentHistogram::new(), running: RecentHistogram::new() }
    }

    /// Begins a new period when the current one is over.
    pub(super) fn rotate(&mut self, now: Instant) {
        if now.duration_since(self.since) > Self::PERIOD {
            self.since = now;
            self.waiting.rotate();
            self.running.rotate();
        }
    }
}

impl RecentHistogram {
    /// Records from a microsecond to a day, with two significant digits.
    fn new() -> Self {
        let histogram =
            Histogram::new_with_bounds(1, 86_400_000_000, 2).expect("the bounds are constants and in order");
        Self { current: histogram.clone(), previous: histogram }
    }

    pub(super) fn record(&mut self, duration: Duration) {
        self.current.saturating_record(duration.as_micros() as u64);
    }

    fn rotate(&mut self) {
        std::mem::swap(&mut self.current, &mut self.previous);
        self.current.reset();
    }

    /// The percentiles of both periods together, in milliseconds.
    pub(super) fn percentiles(&self) -> Percentiles {
        let mut both = self.current.clone();
        let added = both.add(&self.previous);
        debug_assert!(added.is_ok(), "both have the same bounds");
        let at = |quantile| (!both.is_empty()).then(|| both.value_at_quantile(quantile) as f64 / 1000.0);
        Percentiles { p50: at(0.50), p95: at(0.95), p99: at(0.99) }
    }
}

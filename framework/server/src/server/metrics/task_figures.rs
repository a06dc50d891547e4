//! The ends, retries and times of tasks by function and queue, since the start of the process.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use framework_protocol::views::{State, TIME_BOUNDS};

use crate::series::{Series, SeriesMap};
use crate::server::events::Finished;

/// The figures of tasks by function and queue. The stages add to them batch by batch.
#[derive(Debug, Default)]
pub(crate) struct TaskFigures(Mutex<SeriesMap<SeriesFigures>>);

/// The figures of one function and queue.
#[derive(Debug, Clone, Default)]
pub(crate) struct SeriesFigures {
    pub(crate) done: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
    pub(crate) expired: u64,
    /// The attempts that have failed and are followed by another one.
    pub(crate) retried: u64,
    /// The time from when tasks were due to their first attempt.
    pub(crate) waited: DurationBuckets,
    /// The time that attempts took.
    pub(crate) ran: DurationBuckets,
}

/// A count of durations by their length.
#[derive(Debug, Clone, Default)]
pub(crate) struct DurationBuckets {
    /// Those up to each of [`DurationBuckets::BOUNDS`] and above the one before; the last ones are longer.
    counts: [u64; Self::BOUNDS.len() + 1],
    total: Duration,
}

/// An attempt that has ended.
pub(crate) struct AttemptFigures<'a> {
    pub(crate) function: &'a Arc<str>,
    pub(crate) queue: &'a Arc<str>,
    /// The time that the task waited for it, if it is the first one.
    pub(crate) waited: Option<Duration>,
    pub(crate) ran: Duration,
    /// It has failed, and another one follows.
    pub(crate) is_retried: bool,
}

impl TaskFigures {
    fn lock(&self) -> MutexGuard<'_, SeriesMap<SeriesFigures>> {
        self.0.lock().expect("no panic while the figures are locked")
    }

    /// Counts attempts that have ended.
    pub(crate) fn attempted<'a>(&self, attempts: impl Iterator<Item = AttemptFigures<'a>>) {
        let mut figures = self.lock();
        for AttemptFigures { function, queue, waited, ran, is_retried } in attempts {
            let figures = figures.entry(function, queue);
            figures.ran.record(ran);
            figures.retried += u64::from(is_retried);
            if let Some(waited) = waited {
                figures.waited.record(waited);
            }
        }
    }

    /// Counts tasks that have ended.
    pub(crate) fn ended(&self, finished: &[Finished]) {
        if finished.is_empty() {
            return;
        }
        let mut figures = self.lock();
        for finished in finished {
            let task = &finished.task.new;
            let figures = figures.entry(&task.function, &task.queue);
            match finished.state {
                State::Done => figures.done += 1,
                State::Failed => figures.failed += 1,
                State::Cancelled => figures.cancelled += 1,
                State::Expired => figures.expired += 1,
                State::Waiting | State::Running => {}
            }
        }
    }

    /// All figures as they are now.
    pub(crate) fn snapshot(&self) -> Vec<Series<SeriesFigures>> {
        self.lock().series().to_vec()
    }
}

impl DurationBuckets {
    /// The upper bounds in seconds.
    pub(crate) const BOUNDS: [f64; TIME_BOUNDS.len()] = TIME_BOUNDS;

    pub(crate) fn record(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = Self::BOUNDS.iter().position(|bound| seconds <= *bound);
        self.counts[bucket.unwrap_or(Self::BOUNDS.len())] += 1;
        self.total += duration;
    }

    /// The counts with their upper bounds, the last of which is endless.
    pub(crate) fn buckets(&self) -> Vec<(f64, u64)> {
        Self::BOUNDS.into_iter().chain([f64::INFINITY]).zip(self.counts).collect()
    }

    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of all durations in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        self.total.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_is_counted_below_its_bound() {
        let mut buckets = DurationBuckets::default();
        for ms in [0, 1, 2, 500, 501, 7_200_000, 7_200_001] {
            buckets.record(Duration::from_millis(ms));
        }
        let counts: Vec<_> = buckets.buckets().into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counts, [(0.001, 2), (0.005, 1), (0.5, 1), (1.0, 1), (7_200.0, 1), (f64::INFINITY, 1)]);
        assert_eq!((buckets.count(), buckets.seconds()), (7, 14_401.005));
    }
}

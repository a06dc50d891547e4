//! The history of figures: how many tasks came and ended, and how long that took, by the minute and the hour.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The upper bounds of counted times, in seconds.
pub const TIME_BOUNDS: [f64; 12] =
    [0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1_800.0, 7_200.0];

/// The hours up to which the history is kept by the minute, and by the hour.
pub const HISTORY_MINUTES_HOURS: u64 = 24;
pub const HISTORY_HOURS: u64 = 90 * 24;

/// The figures of one minute or one hour.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HistoryFigures {
    pub accepted: u64,
    pub done: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub expired: u64,
    /// The attempts that have failed and were followed by another one.
    pub retried: u64,
    /// The due tasks that waited at its end.
    pub waiting: u64,
    /// The time from when tasks were due to their first attempt.
    pub waited: TimeCounts,
    /// The time that attempts took.
    pub ran: TimeCounts,
}

/// The number of times up to each of [`TIME_BOUNDS`] and above the one before, and of longer ones; empty when
/// there were none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct TimeCounts(pub Vec<u64>);

/// The figures of a function in a queue; without a function, the tasks that wait in the queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryRow {
    /// The begin of the minute, in milliseconds since 1970.
    pub at_ms: u64,
    pub function: String,
    pub queue: String,
    pub figures: HistoryFigures,
}

/// What is to be seen of the history.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryFilter {
    /// The last hours: by the minute up to [`HISTORY_MINUTES_HOURS`], by the hour beyond.
    pub hours: u64,
    pub function: Option<String>,
    pub queue: Option<String>,
}

/// The figures of all that a filter lets pass, of one minute or one hour in which there was something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryPoint {
    /// The begin of the minute or the hour, in milliseconds since 1970.
    pub at_ms: u64,
    #[serde(flatten)]
    pub figures: HistoryFigures,
}

impl HistoryFilter {
    /// The length of a step, in milliseconds.
    pub fn step_ms(&self) -> u64 {
        if self.hours <= HISTORY_MINUTES_HOURS { 60_000 } else { 3_600_000 }
    }
}

impl HistoryFigures {
    /// Adds what happened beside these; the tasks that wait are those of the other one.
    pub fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.done += other.done;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.expired += other.expired;
        self.retried += other.retried;
        self.waited.add(&other.waited);
        self.ran.add(&other.ran);
    }

    /// What has come to these figures since the earlier ones, which never fall.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            accepted: self.accepted - earlier.accepted,
            done: self.done - earlier.done,
            failed: self.failed - earlier.failed,
            cancelled: self.cancelled - earlier.cancelled,
            expired: self.expired - earlier.expired,
            retried: self.retried - earlier.retried,
            waiting: self.waiting,
            waited: self.waited.since(&earlier.waited),
            ran: self.ran.since(&earlier.ran),
        }
    }
}

impl TimeCounts {
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    fn add(&mut self, other: &Self) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        self.0.iter_mut().zip(&other.0).for_each(|(own, other)| *own += other);
    }

    fn since(&self, earlier: &Self) -> Self {
        let earlier = earlier.0.iter().copied().chain(std::iter::repeat(0));
        let counts: Vec<_> = self.0.iter().zip(earlier).map(|(own, earlier)| own - earlier).collect();
        if counts.iter().all(|count| *count == 0) { Self::default() } else { Self(counts) }
    }

    /// The bound that so large a part of the times does not exceed, in seconds; `None` if there are none.
    /// Times above the last bound count as that.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let wanted = (self.count() as f64 * part).ceil().max(1.0) as u64;
        let mut seen = 0;
        let bucket = self.0.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        Some(TIME_BOUNDS[bucket.min(TIME_BOUNDS.len() - 1)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_added_and_told_apart_again() {
        let times = |counts: &[u64]| TimeCounts(counts.to_vec());
        let one =
            HistoryFigures { accepted: 3, done: 2, waited: times(&[1, 2]), ..HistoryFigures::default() };
        let other =
            HistoryFigures { accepted: 4, failed: 1, waited: times(&[0, 1, 5]), ..HistoryFigures::default() };
        let mut both = one.clone();
        both.add(&other);
        assert_eq!((both.accepted, both.done, both.failed, &both.waited), (7, 2, 1, &times(&[1, 3, 5])));
        assert_eq!(both.since(&one), other);
        assert_eq!(one.since(&one), HistoryFigures::default());
    }

    #[test]
    fn quantile_is_the_bound_of_its_bucket() {
        let mut counts = vec![0; TIME_BOUNDS.len() + 1];
        (counts[0], counts[3], counts[12]) = (90, 9, 1);
        let times = TimeCounts(counts);
        assert_eq!(
            [0.5, 0.95, 1.0].map(|part| times.quantile(part)),
            [Some(0.001), Some(0.1), Some(7_200.0)]
        );
        assert_eq!(TimeCounts::default().quantile(0.5), None);
    }
}

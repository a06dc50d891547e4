//! Writes what happened in each minute into the store, which keeps it as the history of figures.
//!
//! The stages only count; once a minute, the difference to the counts of the minute before is written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use framework_protocol::task::now_ms;
use framework_protocol::views::{HistoryFigures, HistoryRow, TimeCounts};
use tokio::sync::Mutex;

use super::metrics::{DurationBuckets, Metrics};
use crate::series::OTHERS;
use crate::store::{AdminCommand, Store};

const MINUTE_MS: u64 = 60_000;
/// The most pairs of function and queue that are told apart in one minute; the others are added up.
const ROWS_MAX: usize = 100;

/// Figures since the start of the process, by function and queue; by queue alone, the tasks that wait there.
type Totals = BTreeMap<(Arc<str>, Arc<str>), HistoryFigures>;

/// Writes the history of a server.
pub(super) struct HistoryRecorder {
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    /// What was written by now.
    written: Mutex<Totals>,
}

impl HistoryRecorder {
    pub(super) fn new(store: Arc<dyn Store>, metrics: Arc<Metrics>) -> Self {
        Self { store, metrics, written: Mutex::default() }
    }

    /// Writes at the end of each minute; never ends.
    pub(super) async fn run(self: Arc<Self>) {
        loop {
            tokio::time::sleep(Duration::from_millis(MINUTE_MS - now_ms() % MINUTE_MS)).await;
            self.record().await;
        }
    }

    /// Writes what has happened since the last time. What cannot be written is written with the next minute.
    pub(super) async fn record(&self) {
        let mut written = self.written.lock().await;
        let totals = self.totals().await;
        // A minute that has just ended is the one that it happened in.
        let minute = now_ms().saturating_sub(500) / MINUTE_MS;
        let rows = rows(&totals, &written, minute * MINUTE_MS);
        if rows.is_empty() {
            return;
        }
        match self.store.apply(AdminCommand::RecordHistory(rows)).await {
            Ok(_) => *written = totals,
            Err(error) => tracing::debug!("the history is not written now: {}", error.message),
        }
    }

    async fn totals(&self) -> Totals {
        let mut totals = Totals::new();
        for accepted in self.store.figures().await.accepted {
            totals.entry((accepted.function, accepted.queue)).or_default().accepted = accepted.value;
        }
        for series in self.metrics.tasks.snapshot() {
            let figures = totals.entry((series.function, series.queue)).or_default();
            figures.done = series.value.done;
            figures.failed = series.value.failed;
            figures.cancelled = series.value.cancelled;
            figures.expired = series.value.expired;
            figures.retried = series.value.retried;
            figures.waited = counts(&series.value.waited);
            figures.ran = counts(&series.value.ran);
        }
        for (queue, depth) in self.store.counts().await.queues {
            totals.entry(("".into(), queue.into())).or_default().waiting = depth.waiting + depth.parked;
        }
        totals
    }
}

fn counts(times: &DurationBuckets) -> TimeCounts {
    TimeCounts(times.buckets().into_iter().map(|(_, count)| count).collect())
}

/// What has come to the totals since the earlier ones: at most [`ROWS_MAX`] rows, and one for all others.
fn rows(totals: &Totals, earlier: &Totals, at_ms: u64) -> Vec<HistoryRow> {
    let changed = totals.iter().filter_map(|((function, queue), figures)| {
        let figures = match earlier.get(&(function.clone(), queue.clone())) {
            Some(earlier) => figures.since(earlier),
            None => figures.clone(),
        };
        let row = HistoryRow { at_ms, function: function.to_string(), queue: queue.to_string(), figures };
        (row.figures != HistoryFigures::default()).then_some(row)
    });
    let mut rows: Vec<_> = changed.collect();
    if rows.len() > ROWS_MAX {
        let busy = |row: &HistoryRow| row.figures.accepted + row.figures.ran.count() + row.figures.waiting;
        rows.sort_by_key(|row| std::cmp::Reverse(busy(row)));
        let mut others = HistoryFigures::default();
        for row in rows.drain(ROWS_MAX..) {
            others.add(&row.figures);
            others.waiting += row.figures.waiting;
        }
        rows.push(HistoryRow {
            at_ms,
            function: OTHERS.to_owned(),
            queue: OTHERS.to_owned(),
            figures: others,
        });
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_bounded_and_lose_nothing() {
        let name = |number: u64| Arc::<str>::from(number.to_string());
        let figures = |accepted| HistoryFigures { accepted, ..HistoryFigures::default() };
        let totals: Totals = (1..=300).map(|number| ((name(number), name(0)), figures(number))).collect();
        let rows_of = rows(&totals, &Totals::new(), 60_000);
        assert_eq!(rows_of.len(), ROWS_MAX + 1);
        let sum: u64 = rows_of.iter().map(|row| row.figures.accepted).sum();
        assert_eq!((sum, rows_of[ROWS_MAX].function.as_str()), (300 * 301 / 2, OTHERS));
        assert_eq!(rows(&totals, &totals, 60_000), []);
    }
}

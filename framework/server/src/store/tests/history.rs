//! The history of figures: kept by the minute for a day and by the hour for 90 days.

use framework_protocol::views::{HistoryFigures, HistoryFilter, HistoryPoint, HistoryRow, TimeCounts};

use super::*;

const HOUR_MS: u64 = 60 * 60 * 1_000;

fn row(at_ms: u64, function: &str, queue: &str, done: u64) -> HistoryRow {
    let waited = TimeCounts(vec![done]);
    let figures = HistoryFigures { accepted: done, done, waited, ..HistoryFigures::default() };
    HistoryRow { at_ms, function: function.to_owned(), queue: queue.to_owned(), figures }
}

fn waiting(at_ms: u64, waiting: u64) -> HistoryRow {
    let figures = HistoryFigures { waiting, ..HistoryFigures::default() };
    HistoryRow { figures, ..row(at_ms, "", "mail", 0) }
}

async fn history(store: &dyn Store, hours: u64, function: Option<&str>) -> Vec<HistoryPoint> {
    let filter = HistoryFilter { hours, function: function.map(str::to_owned), queue: None };
    match store.query(Query::History(filter)).await.unwrap() {
        QueryResult::History(points) => points,
        other => panic!("{other:?}"),
    }
}

async fn record(store: &dyn Store, rows: Vec<HistoryRow>) {
    store.apply(AdminCommand::RecordHistory(rows)).await.unwrap();
}

fn done(points: &[HistoryPoint]) -> Vec<u64> {
    points.iter().map(|point| point.figures.done).collect()
}

async fn history_is_added_up_and_forgotten(store: &dyn Store) {
    // In the middle of an hour, and of a minute.
    let now = framework_protocol::task::now_ms() / HOUR_MS * HOUR_MS - HOUR_MS;
    record(store, vec![row(now, "echo", "mail", 1), row(now, "echo", "default", 2), waiting(now, 5)]).await;
    record(store, vec![row(now, "echo", "mail", 4), row(now + 60_000, "noop", "mail", 8), waiting(now, 3)])
        .await;
    let minutes = history(store, 24, None).await;
    assert_eq!((done(&minutes), minutes[0].at_ms, minutes[1].at_ms), (vec![7, 8], now, now + 60_000));
    assert_eq!((minutes[0].figures.waiting, minutes[0].figures.waited.count()), (3, 7));
    assert_eq!(done(&history(store, 24, Some("echo")).await), [7]);
    let hours = history(store, 25, None).await;
    assert_eq!((done(&hours), hours[0].at_ms), (vec![15], now));
    // Too old for minutes, and for hours.
    let days = |days: u64| now - days * 24 * HOUR_MS;
    record(store, vec![row(days(2), "echo", "mail", 16), row(days(91), "echo", "mail", 32)]).await;
    assert_eq!(done(&history(store, 24, None).await), [7, 8]);
    assert_eq!(done(&history(store, 2_160, None).await), [16, 15]);
}

#[tokio::test]
async fn memory_keeps_the_history() {
    history_is_added_up_and_forgotten(&memory()).await;
}

#[tokio::test]
async fn durable_store_keeps_the_history_over_a_restart() {
    for place in places("history") {
        let store = place.open();
        history_is_added_up_and_forgotten(&*store).await;
        store.unlock().await;
        drop(store);
        assert_eq!(done(&history(&*place.open(), 2_160, None).await), [16, 15]);
    }
}

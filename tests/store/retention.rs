//! What is kept of ended tasks, and for how long: failed ones apart from the others.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use framework::store::fake_journal::FakePlace;
use framework::store::sqlite::SqliteOptions;
use framework::store::{
    AdminCommand, Clock, Disposition, Lease, Memory, Query, QueryResult, Settlement, Sqlite, Store,
    StoreOptions,
};
use framework::task::{Handlers, NewTask, TaskId};
use framework::views::{TaskDetails, TaskSelector};
use tempfile::TempDir;

use crate::harness::eventually::eventually;
use crate::harness::watchdog;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Every store there is, each with its clock.
fn stores(folder: &TempDir, options: &StoreOptions) -> [(Arc<dyn Store>, Clock); 3] {
    watchdog::watch();
    // The first day of 2026.
    let [first, second, third] = std::array::from_fn(|_| Clock::fake(1_767_225_600_000));
    let handlers = Arc::new(Handlers::default());
    let memory = Memory::new(options.clone(), handlers.clone(), first.clone());
    let sqlite = open(folder, options, second.clone());
    let fake = FakePlace::new(third.clone()).open(options.clone(), handlers).unwrap();
    [(Arc::new(memory), first), (Arc::new(sqlite), second), (Arc::new(fake), third)]
}

/// Opens the store, once the one before it has let the queue go.
fn open(folder: &TempDir, options: &StoreOptions, clock: Clock) -> Sqlite {
    eventually("the queue is free", || {
        let file =
            SqliteOptions { clock: clock.clone(), ..SqliteOptions::at(folder.path().join("queue.db")) };
        Sqlite::open(file, options.clone(), Arc::new(Handlers::default())).ok()
    })
}

async fn push(store: &Arc<dyn Store>, function: &str) -> TaskId {
    let task = NewTask::without_handler(function, Bytes::from_static(b"1"));
    store.push(vec![task]).await.remove(0).unwrap().id
}

/// Ends the attempt of the only task that can be taken.
async fn settle(store: &Arc<dyn Store>, disposition: Disposition) {
    let mut leases = store.take(0, 8).await;
    assert_eq!(leases.len(), 1);
    let Lease { task, token, .. } = leases.remove(0);
    let (started_ms, ran, follow) = (0, Duration::ZERO, Vec::new());
    store
        .settle(vec![Settlement { task: task.id, token, disposition, started_ms, ran, worker: None, follow }])
        .await;
}

async fn run(store: &Arc<dyn Store>, function: &str, disposition: Disposition) -> TaskId {
    let id = push(store, function).await;
    settle(store, disposition).await;
    store.flush().await;
    id
}

fn done() -> Disposition {
    Disposition::Done(Bytes::from_static(b"null"))
}

fn failed() -> Disposition {
    Disposition::Failed("no".into())
}

async fn details(store: &Arc<dyn Store>, id: TaskId) -> Option<TaskDetails> {
    match store.query(Query::Task(id)).await.unwrap() {
        QueryResult::Task(details) => Some(*details),
        _ => None,
    }
}

#[tokio::test]
async fn failed_task_is_kept_while_done_ones_are_removed() {
    let folder = TempDir::new().unwrap();
    let options = StoreOptions { retention_count: 5, ..StoreOptions::default() };
    for (store, clock) in stores(&folder, &options) {
        let lost = run(&store, "any", failed()).await;
        let first = run(&store, "any", done()).await;
        for _ in 0..20 {
            run(&store, "any", done()).await;
        }
        push(&store, "any").await;
        assert!(details(&store, first).await.is_none(), "there are too many newer ones");
        assert!(details(&store, lost).await.is_some(), "it is kept apart");
        settle(&store, done()).await;
        clock.advance(8 * DAY);
        run(&store, "any", done()).await;
        assert!(details(&store, lost).await.is_none(), "its time is over as well");
    }
}

#[tokio::test]
async fn function_has_a_retention_of_its_own() {
    let folder = TempDir::new().unwrap();
    let function_retention = [("kept".to_owned(), 30 * DAY), ("brief".to_owned(), DAY / 24)].into();
    let options = StoreOptions { retention_count: 2, function_retention, ..StoreOptions::default() };
    for (store, clock) in stores(&folder, &options) {
        let kept = run(&store, "kept", done()).await;
        let brief = run(&store, "brief", failed()).await;
        for _ in 0..5 {
            run(&store, "any", done()).await;
        }
        clock.advance(DAY / 12);
        run(&store, "any", done()).await;
        assert!(details(&store, brief).await.is_none(), "failed, and its time is over");
        clock.advance(10 * DAY);
        run(&store, "any", done()).await;
        assert!(details(&store, kept).await.is_some());
    }
}

#[tokio::test]
async fn tasks_that_were_retried_or_forgotten_make_room_for_others() {
    let folder = TempDir::new().unwrap();
    let function_retention = [("own".to_owned(), 7 * DAY)].into();
    let options = StoreOptions { failed_retention_count: 3, function_retention, ..StoreOptions::default() };
    for (store, _) in stores(&folder, &options) {
        for function in ["any", "own"] {
            let mut ids = Vec::new();
            for _ in 0..3 {
                ids.push(run(&store, function, failed()).await);
            }
            store.apply(AdminCommand::Forget(TaskSelector::Task(ids[0]))).await.unwrap();
            store.apply(AdminCommand::Retry(TaskSelector::Task(ids[1]))).await.unwrap();
            settle(&store, failed()).await;
            // The last end of the retried task counts, so that another one is the oldest.
            for kept in [&[false, true, true, true][..], &[false, true, false, true, true]] {
                ids.push(run(&store, function, failed()).await);
                run(&store, "other", done()).await;
                for (id, is_kept) in ids.iter().zip(kept) {
                    assert_eq!(details(&store, *id).await.is_some(), *is_kept, "{id} of {ids:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn end_that_lies_in_the_future_keeps_no_other() {
    let folder = TempDir::new().unwrap();
    for (store, clock) in stores(&folder, &StoreOptions::default()) {
        let now_ms = clock.now().wall_ms;
        clock.set(now_ms + (365 * DAY).as_millis() as u64);
        run(&store, "any", done()).await;
        clock.set(now_ms);
        let id = run(&store, "any", done()).await;
        clock.advance(2 * DAY);
        run(&store, "any", done()).await;
        assert!(details(&store, id).await.is_none());
    }
}

#[tokio::test]
async fn history_keeps_the_first_and_the_last_attempts() {
    let folder = TempDir::new().unwrap();
    for (store, _) in stores(&folder, &StoreOptions::default()) {
        let id = push(&store, "any").await;
        for _ in 0..100 {
            settle(&store, Disposition::Retry { pause: Duration::ZERO, error: "no".into() }).await;
        }
        settle(&store, failed()).await;
        let numbers = |details: Option<TaskDetails>| {
            details.unwrap().history.iter().map(|attempt| attempt.number).collect::<Vec<_>>()
        };
        let kept: Vec<_> = (1..=10).chain(61..=101).collect();
        assert_eq!(numbers(details(&store, id).await), kept);
        store.apply(AdminCommand::Retry(TaskSelector::Task(id))).await.unwrap();
        settle(&store, failed()).await;
        assert_eq!(numbers(details(&store, id).await).last(), Some(&102));
    }
}

#[tokio::test]
async fn task_that_is_cancelled_between_two_attempts_says_so() {
    let folder = TempDir::new().unwrap();
    for (store, _) in stores(&folder, &StoreOptions::default()) {
        let id = push(&store, "any").await;
        settle(&store, Disposition::Retry { pause: DAY, error: "no".into() }).await;
        store.apply(AdminCommand::Cancel(TaskSelector::Task(id))).await.unwrap();
        let error = details(&store, id).await.unwrap().summary.error;
        assert_eq!(error.as_deref(), Some("It was cancelled while it waited for another attempt."));
    }
}

#[tokio::test]
async fn task_whose_process_died_twice_counts_both_crashes() {
    let folder = TempDir::new().unwrap();
    let open = || open(&folder, &StoreOptions::default(), Clock::machine());
    let mut store = Arc::new(open()) as Arc<dyn Store>;
    let id = push(&store, "any").await;
    for _ in 0..2 {
        let lease = store.take(0, 1).await.remove(0);
        lease.begin();
        // The process dies before the attempt ends.
        drop(lease);
        drop(store);
        store = Arc::new(open());
    }
    let details = details(&store, id).await.unwrap();
    assert_eq!((details.summary.state.name(), details.crashes), ("failed", 2));
}

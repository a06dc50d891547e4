//! Sleeping workers are woken when a task can be taken, whatever else happens or does not.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use framework::store::fake_journal::FakePlace;
use framework::store::sqlite::SqliteOptions;
use framework::store::{
    AdminCommand, Clock, Disposition, Lease, Memory, Rate, Settlement, Sqlite, Store, StoreOptions,
};
use framework::task::{Due, Handlers, NewTask};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::harness::eventually::in_time;
use crate::harness::watchdog;

/// Every store there is, with the rate of one start in 200 ms.
fn rated_stores(folder: &TempDir) -> [Arc<dyn Store>; 3] {
    watchdog::watch();
    let rate = Rate { count: 5, per: Duration::from_secs(1) };
    let options = StoreOptions { rates: [("default".to_owned(), rate)].into(), ..StoreOptions::default() };
    let handlers = Arc::new(Handlers::default());
    let file = SqliteOptions::at(folder.path().join("queue.db"));
    let sqlite = Sqlite::open(file, options.clone(), handlers.clone()).unwrap();
    let fake = FakePlace::new(Clock::machine()).open(options.clone(), handlers.clone()).unwrap();
    [Arc::new(Memory::new(options, handlers, Clock::machine())), Arc::new(sqlite), Arc::new(fake)]
}

fn task(due: Due) -> NewTask {
    NewTask { due, ..NewTask::without_handler("any", Bytes::from_static(b"1")) }
}

/// A worker that sleeps until there is something to take.
async fn sleeper(store: &Arc<dyn Store>) -> JoinHandle<bool> {
    let store = store.clone();
    let sleeper = tokio::spawn(async move { store.ready(0).await });
    // On the one thread of the test, the sleeper looks once, and sleeps.
    tokio::task::yield_now().await;
    sleeper
}

/// Takes the only task that is due, and ends it.
async fn run_one(store: &Arc<dyn Store>) {
    let mut leases = store.take(0, 8).await;
    assert_eq!(leases.len(), 1);
    let Lease { task, token, .. } = leases.remove(0);
    let disposition = Disposition::Done(Bytes::from_static(b"null"));
    let (started_ms, ran, follow) = (0, Duration::ZERO, Vec::new());
    store
        .settle(vec![Settlement { task: task.id, token, disposition, started_ms, ran, worker: None, follow }])
        .await;
}

/// Uses up the start that the rate allows at once.
async fn use_up_rate(store: &Arc<dyn Store>) {
    store.push(vec![task(Due::Now)]).await.remove(0).unwrap();
    run_one(store).await;
}

#[tokio::test]
async fn worker_is_woken_when_the_rate_allows_a_task_that_was_pushed_meanwhile() {
    let folder = TempDir::new().unwrap();
    for store in rated_stores(&folder) {
        use_up_rate(&store).await;
        let sleeper = sleeper(&store).await;
        store.push(vec![task(Due::Now)]).await.remove(0).unwrap();
        store.wake_workers();
        assert!(in_time("the rate allows the next start", sleeper).await.unwrap());
    }
}

#[tokio::test]
async fn worker_is_woken_when_the_rate_allows_a_task_of_a_resumed_queue() {
    let folder = TempDir::new().unwrap();
    let pause = |paused| AdminCommand::Pause { queue: "default".into(), paused };
    for store in rated_stores(&folder) {
        use_up_rate(&store).await;
        store.apply(pause(true)).await.unwrap();
        store.push(vec![task(Due::Now)]).await.remove(0).unwrap();
        let sleeper = sleeper(&store).await;
        store.apply(pause(false)).await.unwrap();
        assert!(in_time("the rate allows the next start", sleeper).await.unwrap());
    }
}

#[tokio::test]
async fn worker_that_goes_to_work_leaves_the_next_start_to_another_one() {
    let folder = TempDir::new().unwrap();
    let after = |ms| task(Due::After(Duration::from_millis(ms)));
    for store in rated_stores(&folder) {
        let mut sleepers = vec![sleeper(&store).await, sleeper(&store).await];
        store.push(vec![after(1), after(300)]).await;
        store.wake_workers();
        let (woken, index, _) =
            in_time("one is woken", futures_util::future::select_all(&mut sleepers)).await;
        assert!(woken.unwrap());
        run_one(&store).await;
        // The first worker does not come back.
        assert!(in_time("the other one is woken", sleepers.remove(1 - index)).await.unwrap());
    }
}

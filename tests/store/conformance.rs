//! The promises of every store.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use framework::postgres::{Postgres, PostgresOptions};
use framework::protocol::{Durability, ErrorCode};
use framework::store::AdminCommand;
use framework::store::Clock;
use framework::store::Disposition;
use framework::store::Lease;
use framework::store::Memory;
use framework::store::Query;
use framework::store::QueryResult;
use framework::store::Settlement;
use framework::store::Sqlite;
use framework::store::Store;
use framework::store::StoreOptions;
use framework::store::fake_journal::FakePlace;
use framework::store::sqlite::SqliteOptions;
use framework::task::{Handlers, NewTask, TaskId};
use framework::views::{AdminResult, Cancelled, ScheduleInfo, ScheduleNote, State, TaskSelector};

use crate::harness::eventually::wait_until;
use crate::harness::postgres::Cluster;
use crate::harness::watchdog;

/// Every store there is, empty.
fn stores() -> Vec<Arc<dyn Store>> {
    watchdog::watch();
    let policy = StoreOptions { limit: 1_000, ..StoreOptions::default() };
    let handlers = Arc::new(Handlers::collect().unwrap());
    let folder = tempfile::TempDir::new().unwrap().keep();
    let sqlite =
        Sqlite::open(SqliteOptions::at(folder.join("queue.db")), policy.clone(), handlers.clone()).unwrap();
    let fake = FakePlace::new(Clock::machine()).open(policy.clone(), handlers.clone()).unwrap();
    let cluster = Cluster::shared();
    let mut place = PostgresOptions::parse(&cluster.address(), folder.join("queue")).unwrap();
    place.schema = cluster.schema();
    let postgres = Postgres::start(place, policy.clone(), handlers.clone()).unwrap();
    let memory = Memory::new(policy, handlers, Clock::machine());
    vec![Arc::new(memory), Arc::new(sqlite), Arc::new(fake), Arc::new(postgres)]
}

fn tasks(count: usize) -> Vec<NewTask> {
    let handlers = Handlers::collect().unwrap();
    let task = || NewTask::from_json(&handlers, Some("test_shout"), Bytes::from_static(b"\"x\"")).unwrap();
    (0..count).map(|_| task()).collect()
}

fn settlement(lease: &Lease, disposition: Disposition) -> Settlement {
    Settlement {
        task: lease.task.id,
        token: lease.token,
        disposition,
        started_ms: 0,
        ran: Duration::ZERO,
        worker: None,
        follow: Vec::new(),
    }
}

fn ids(leases: &[Lease]) -> Vec<TaskId> {
    leases.iter().map(|lease| lease.task.id).collect()
}

#[tokio::test]
async fn take_returns_tasks_in_id_order() {
    for store in stores() {
        let accepted: Vec<_> =
            store.push(tasks(3)).await.into_iter().map(|accepted| accepted.unwrap().id).collect();
        assert_eq!(accepted, [0, 1, 2]);
        assert!(store.ready(0).await);
        assert_eq!(ids(&store.take(0, 2).await), [0, 1]);
        assert_eq!(ids(&store.take(0, 2).await), [2]);
        assert!(store.take(0, 2).await.is_empty());
    }
}

#[tokio::test]
async fn task_of_the_lowest_priority_runs_beside_a_stream_of_urgent_ones() {
    let of = |priority| NewTask { priority, ..tasks(1).remove(0) };
    for store in stores() {
        let patient = store.push(vec![of(0)]).await.remove(0).unwrap().id;
        let mut order = Vec::new();
        for _ in 0..2 * StoreOptions::default().oldest_first_every {
            store.push(vec![of(9)]).await;
            order.extend(ids(&store.take(0, 1).await));
        }
        let turn = order.iter().position(|id| *id == patient).expect("it has its turn");
        assert!(turn > 1, "urgent ones come before it: {order:?}");
    }
}

#[tokio::test]
async fn requeued_tasks_come_first_without_counting_the_attempt() {
    for store in stores() {
        store.push(tasks(4)).await;
        let leases = store.take(0, 3).await;
        let returned = leases.iter().map(|lease| settlement(lease, Disposition::Requeue)).collect();
        assert_eq!(store.settle(returned).await, [true; 3]);
        let again = store.take(0, 4).await;
        assert_eq!(ids(&again), [0, 1, 2, 3]);
        assert!(again.iter().all(|lease| lease.attempt == 1));
    }
}

#[tokio::test]
async fn settlement_with_an_old_token_changes_nothing() {
    for store in stores() {
        store.push(tasks(1)).await;
        let old = store.take(0, 1).await.remove(0);
        store
            .settle(vec![settlement(
                &old,
                Disposition::Retry { pause: Duration::ZERO, error: "not yet".into() },
            )])
            .await;
        assert!(store.ready(0).await);
        let new = store.take(0, 1).await.remove(0);
        assert_eq!((old.attempt, new.attempt), (1, 2));
        let late = settlement(&old, Disposition::Failed("late".into()));
        assert_eq!(store.settle(vec![late]).await, [false]);
        assert_eq!(store.settle(vec![settlement(&new, Disposition::Done("1".into()))]).await, [true]);
        assert_eq!(store.settle(vec![settlement(&new, Disposition::Done("1".into()))]).await, [false]);
        let ledger = store.counts().await.ledger;
        assert_eq!((ledger.accepted, ledger.done, ledger.failed), (1, 1, 0));
        assert_eq!(ledger.accepted, ledger.sum());
    }
}

#[tokio::test]
async fn schedule_notes_accumulate() {
    for store in stores() {
        let blank = ScheduleNote::default();
        for note in [
            ScheduleNote { seen_ms: Some(7), ..blank },
            ScheduleNote { seen_ms: Some(9), fired_ms: Some(9), task: Some(3), paused: None },
            ScheduleNote { paused: Some(true), ..blank },
            ScheduleNote { seen_ms: Some(i64::MAX as u64), ..blank },
        ] {
            let change = AdminCommand::Schedule { name: "daily".to_owned(), note };
            assert_eq!(store.apply(change).await, Ok(AdminResult::Done));
        }
        let QueryResult::Schedules(stories) = store.query(Query::Schedules).await.unwrap() else { panic!() };
        let name = "daily".to_owned();
        let (seen_ms, fired_ms, task) = (Some(i64::MAX as u64), Some(9), Some(3));
        assert_eq!(
            stories,
            [ScheduleInfo { name, seen_ms, fired_ms, task, paused: true, ..ScheduleInfo::default() }]
        );
    }
}

#[tokio::test]
async fn closed_store_accepts_nothing_and_reports_the_end() {
    for store in stores() {
        store.push(tasks(1)).await;
        store.close();
        assert!(store.push(tasks(1)).await[0].is_err());
        assert_eq!(store.ready(0).await, store.durability() == Durability::Memory);
        store.take(0, 1).await;
        assert!(!store.ready(0).await);
    }
}

#[tokio::test]
async fn cancelled_task_that_is_requeued_ends_and_is_reported() {
    for store in stores() {
        for disposition in
            [Disposition::Requeue, Disposition::Retry { pause: Duration::ZERO, error: "not yet".into() }]
        {
            store.push(tasks(1)).await;
            let lease = store.take(0, 1).await.remove(0);
            let id = lease.task.id;
            let cancelled = store.apply(AdminCommand::Cancel(TaskSelector::Task(id))).await;
            assert_eq!(cancelled, Ok(AdminResult::Cancelled(Cancelled::Aborted)));
            assert_eq!(store.settle(vec![settlement(&lease, disposition)]).await, [true]);
            let departed = store.next_terminated().await;
            assert_eq!((departed[0].task.id, departed[0].state), (id, State::Cancelled));
            assert!(store.take(0, 1).await.is_empty());
        }
        assert_eq!(store.counts().await.ledger.cancelled, 2);
    }
}

#[tokio::test]
async fn memory_store_rejects_beyond_max_memory() {
    let handlers = Arc::new(Handlers::collect().unwrap());
    let policy = StoreOptions { max_memory: 2_000, ..StoreOptions::default() };
    let store = Memory::new(policy, handlers.clone(), Clock::machine());
    let text = |size: usize| Bytes::from(format!("\"{}\"", "x".repeat(size)));
    let task = |size| NewTask::from_json(&handlers, Some("test_shout"), text(size)).unwrap();
    let accepted = store.push(vec![task(1_000), task(1_000), task(100)]).await;
    let refused = accepted[1].as_ref().unwrap_err();
    assert_eq!(refused.code, ErrorCode::Busy);
    assert!(refused.message.contains("max_memory") && accepted[0].is_ok() && accepted[2].is_ok());
    let lease = store.take(0, 1).await.remove(0);
    let story = |id| store.query(Query::Task(id));
    let done = settlement(&lease, Disposition::Done(text(1_000)));
    assert_eq!(store.settle(vec![done]).await, [true]);
    assert!(
        matches!(story(lease.task.id).await, Ok(QueryResult::Nothing)),
        "a story as long as that is not kept"
    );
    assert!(store.push(vec![task(1_000)]).await[0].is_ok(), "there is room again");
}

#[tokio::test]
async fn cancelled_batch_counts_the_tasks_that_stop_at_once() {
    const WAITING: usize = 5;
    for store in stores() {
        for round in 0..20 {
            let (name, function) = (String::new(), "test_shout".to_owned());
            let open = AdminCommand::OpenBatch { name, function, then: None };
            let Ok(AdminResult::Batch(batch)) = store.apply(open).await else { panic!("no batch") };
            let mut new = tasks(WAITING + 1);
            new.iter_mut().for_each(|task| task.extra_mut().batch = Some(batch));
            store.push(new).await;
            store.apply(AdminCommand::SealBatch(batch)).await.unwrap();
            let lease = store.take(0, 1).await.remove(0);
            let worker = {
                let store = store.clone();
                std::thread::spawn(move || {
                    wait_until("it is cancelled", || lease.task.is_cancel_requested());
                    let settled = store.settle(vec![settlement(&lease, Disposition::Cancelled)]);
                    assert_eq!(futures_util::FutureExt::now_or_never(settled), Some(vec![true]));
                })
            };
            store.apply(AdminCommand::Cancel(TaskSelector::Batch(batch))).await.unwrap();
            worker.join().unwrap();
            let Ok(QueryResult::Batch(info)) = store.query(Query::Batch(batch)).await else { panic!() };
            assert_eq!((info.cancelled, info.total), (6, 6), "{}, round {round}: {info:?}", store.name());
        }
    }
}

//! Tasks that their workers put back, and what waits of some functions.

use std::collections::BTreeMap;

use framework_protocol::task::Due;

use super::*;
use crate::store::{BacklogPlace, QueueBacklog, Release, RemoteScope};

const QUEUE: &str = "tube";

fn options() -> StoreOptions {
    let local_functions = Some(["local".to_owned()].into_iter().collect());
    StoreOptions { local_functions, oldest_first_every: 0, ..StoreOptions::default() }
}

fn scope() -> RemoteScope {
    RemoteScope { functions: ["job".into()].into(), queues: Some([QUEUE.into()].into()) }
}

fn functions() -> Vec<String> {
    vec!["job".to_owned(), "other".to_owned()]
}

fn job(priority: u8) -> NewTask {
    NewTask { priority, queue: QUEUE.into(), ..NewTask::without_handler("job", "1".into()) }
}

async fn push(store: &dyn Store, task: NewTask) -> TaskId {
    store.push(vec![task]).await[0].clone().unwrap().id
}

async fn settle(store: &dyn Store, lease: &Lease, disposition: Disposition) {
    let (task, token) = (lease.task.id, lease.token);
    let (ran, worker) = (Duration::ZERO, Some("worker".into()));
    let settlement = Settlement { task, token, disposition, started_ms: 0, ran, worker, follow: Vec::new() };
    assert_eq!(store.settle(vec![settlement]).await, [true]);
}

fn release(reason: &str, pause: Option<Duration>, revision: Option<(u8, &'static str)>) -> Disposition {
    let revision = revision.map(|(priority, args)| (priority, args.into()));
    Disposition::Release(Box::new(Release { reason: reason.into(), pause, revision, counts: true }))
}

async fn take(store: &dyn Store) -> Lease {
    store.take_remote(&scope(), 1).await.pop().expect("it is due")
}

async fn next(store: &dyn Store, place: BacklogPlace) -> Vec<TaskId> {
    let query = Query::Next { functions: functions(), queue: QUEUE.into(), place, limit: 10 };
    match store.query(query).await.unwrap() {
        QueryResult::Next(ids) => ids,
        other => panic!("{other:?}"),
    }
}

async fn backlog(store: &dyn Store) -> BTreeMap<String, QueueBacklog> {
    match store.query(Query::Backlog { functions: functions() }).await.unwrap() {
        QueryResult::Backlog(queues) => queues,
        other => panic!("{other:?}"),
    }
}

/// Runs a check with each store.
async fn each<F: AsyncFn(&dyn Store)>(name: &str, check: F) {
    let handlers = || Arc::new(Handlers::default());
    check(&Memory::new(options(), handlers(), Clock::machine())).await;
    for place in places(name) {
        check(&*place.open_with(options(), Clock::machine())).await;
    }
}

#[tokio::test]
async fn release_counts_an_attempt_and_no_failure_and_puts_the_task_in_front() {
    each("front", async |store: &dyn Store| {
        let first = push(store, job(5)).await;
        let second = push(store, job(5)).await;
        let lease = take(store).await;
        settle(store, &lease, release("It was released.", Some(Duration::ZERO), None)).await;
        let again = take(store).await;
        assert_eq!((again.task.id, again.attempt, again.task.failures()), (first, 2, 0));
        assert_eq!(take(store).await.task.id, second);
        let history = details(store, first).await.history;
        let shown = (history[0].error.as_deref(), history[0].worker.as_deref());
        assert_eq!(shown, (Some("It was released."), Some("worker")));
    })
    .await;
}

#[tokio::test]
async fn release_with_a_pause_and_a_revision_waits_as_it_is_revised() {
    each("revised", async |store: &dyn Store| {
        let id = push(store, job(5)).await;
        let lease = take(store).await;
        let pause = Some(Duration::from_secs(60 * 60));
        settle(store, &lease, release("Later.", pause, Some((9, "2")))).await;
        assert!(store.take_remote(&scope(), 1).await.is_empty(), "its time has not come");
        assert_eq!(next(store, BacklogPlace::Delayed).await, [id]);
        let shown = details(store, id).await;
        assert_eq!((shown.summary.state, shown.summary.priority, shown.args.get()), (State::Waiting, 9, "2"));
        let lease = store.take_task(id, &scope()).await.expect("it waits");
        assert_eq!((lease.task.new.priority, &lease.task.new.args[..]), (9, &b"2"[..]));
        let revision = Some((9, lease.task.new.args.clone()));
        let due = Release { reason: String::new(), pause: Some(Duration::ZERO), revision, counts: false };
        settle(store, &lease, Disposition::Release(Box::new(due))).await;
        let shown = details(store, id).await;
        assert_eq!((shown.summary.due_ms, shown.summary.attempts, shown.history.len()), (None, 1, 1));
        assert_eq!(take(store).await.task.id, id, "it is due at once");
    })
    .await;
}

#[tokio::test]
async fn release_without_a_pause_has_failed_until_it_is_retried() {
    each("buried", async |store: &dyn Store| {
        let id = push(store, job(5)).await;
        let lease = take(store).await;
        settle(store, &lease, release("It was buried.", None, Some((1, "3")))).await;
        assert_eq!(store.counts().await.ledger.failed, 1);
        assert_eq!(next(store, BacklogPlace::Failed).await, [id]);
        assert_eq!(store.take_task(id, &scope()).await.map(|lease| lease.attempt), None);
        store.apply(AdminCommand::Retry(TaskSelector::Task(id))).await.unwrap();
        let lease = take(store).await;
        assert_eq!((lease.attempt, lease.task.new.priority, &lease.task.new.args[..]), (2, 1, &b"3"[..]));
        let ledger = store.counts().await.ledger;
        assert_eq!((ledger.accepted, ledger.sum(), ledger.failed), (1, 1, 0));
    })
    .await;
}

#[tokio::test]
async fn take_task_leases_only_what_waits_within_the_scope() {
    each("one", async |store: &dyn Store| {
        push(store, job(5)).await;
        let wanted = push(store, job(1)).await;
        let foreign = push(store, NewTask { function: "foreign".into(), ..job(9) }).await;
        assert!(store.take_task(foreign, &scope()).await.is_none());
        assert!(store.take_task(99, &scope()).await.is_none());
        assert_eq!(store.take_task(wanted, &scope()).await.map(|lease| lease.task.id), Some(wanted));
        assert!(store.take_task(wanted, &scope()).await.is_none(), "it is leased");
        assert_eq!(store.counts().await.ledger.running, 1);
    })
    .await;
}

#[tokio::test]
async fn backlog_counts_tasks_by_queue_and_place_and_next_has_them_in_order() {
    each("backlog", async |store: &dyn Store| {
        let late = push(store, NewTask { due: Due::After(Duration::from_secs(200)), ..job(5) }).await;
        let soon = push(store, NewTask { due: Due::After(Duration::from_secs(100)), ..job(5) }).await;
        let low = push(store, job(1)).await;
        let high = push(store, NewTask { function: "other".into(), ..job(9) }).await;
        push(store, NewTask { function: "local".into(), ..job(9) }).await;
        push(store, NewTask { queue: "second".into(), ..job(0) }).await;
        assert_eq!(next(store, BacklogPlace::Due).await, [high, low]);
        assert_eq!(next(store, BacklogPlace::Delayed).await, [soon, late]);
        let lease = take(store).await;
        assert_eq!(lease.task.id, low);
        let backlog = backlog(store).await;
        let due = |priority: usize| std::array::from_fn(|index| u64::from(index == priority));
        let of_tube = QueueBacklog { due: due(9), delayed: 2, running: 1, failed: 0 };
        let of_second = QueueBacklog { due: due(0), ..QueueBacklog::default() };
        assert_eq!(backlog, BTreeMap::from([(QUEUE.into(), of_tube), ("second".into(), of_second)]));
    })
    .await;
}

#[tokio::test]
async fn durable_store_keeps_what_was_released_across_a_restart() {
    for place in places("released") {
        let open = || place.open_with(options(), Clock::machine());
        let store = open();
        let id = push(&*store, job(5)).await;
        let lease = take(&*store).await;
        settle(&*store, &lease, release("Again.", Some(Duration::ZERO), Some((8, "4")))).await;
        drop((lease, store));
        let store = open();
        let lease = take(&*store).await;
        let new = &lease.task.new;
        assert_eq!((lease.task.id, lease.attempt, new.priority, &new.args[..]), (id, 2, 8, &b"4"[..]));
    }
}

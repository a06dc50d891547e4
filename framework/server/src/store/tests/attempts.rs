//! What is kept of attempts: cancel marks, ends on their way to the disk, and the marks of what runs.

use framework_protocol::ErrorCode;

use super::*;

/// Takes the only task and settles its attempt, which has begun; whether it was to be cancelled.
async fn attempt(store: &dyn Store, disposition: Disposition, cancel: bool) -> bool {
    let lease = store.take(0, 1).await.pop().expect("it is due");
    lease.begin();
    if cancel {
        store.apply(AdminCommand::Cancel(TaskSelector::Task(lease.task.id))).await.unwrap();
    }
    let (task, token) = (lease.task.id, lease.token);
    let ran = Duration::ZERO;
    let settlement =
        Settlement { task, token, disposition, started_ms: 0, ran, worker: None, follow: Vec::new() };
    assert_eq!(store.settle(vec![settlement]).await, [true]);
    lease.task.is_cancel_requested()
}

async fn retried_task_has_no_cancel_mark(store: &dyn Store) {
    let id = store.push(vec![unknown()]).await[0].clone().unwrap().id;
    assert!(attempt(store, Disposition::Cancelled, true).await);
    store.apply(AdminCommand::Retry(TaskSelector::Task(id))).await.unwrap();
    assert!(!attempt(store, Disposition::Requeue, false).await, "it runs like any other");
    assert_eq!(details(store, id).await.summary.state, State::Waiting);
}

#[tokio::test]
async fn retried_task_loses_its_cancel_mark_also_across_a_restart() {
    retried_task_has_no_cancel_mark(&memory()).await;
    for place in places("retried") {
        let store = place.open();
        retried_task_has_no_cancel_mark(&*store).await;
        drop(store);
        assert!(!attempt(&*place.open(), Disposition::Done("1".into()), false).await);
    }
}

#[tokio::test]
async fn unlock_waits_until_what_was_settled_is_in_the_file() {
    const COUNT: usize = 2_000;
    let folder = Folder::new("unlocked");
    let store = folder.open();
    store.push((0..COUNT).map(|_| unknown()).collect()).await;
    let leases = store.take(0, COUNT).await;
    let settlement = |lease: &Lease| Settlement {
        task: lease.task.id,
        token: lease.token,
        disposition: Disposition::Done("1".into()),
        started_ms: 0,
        ran: Duration::ZERO,
        worker: None,
        follow: Vec::new(),
    };
    let file = rusqlite::Connection::open(folder.0.join("queue.db")).unwrap();
    store.settle(leases.iter().map(settlement).collect()).await;
    store.unlock().await;
    let ends: i64 = file.query_row("SELECT count(*) FROM ends", [], |row| row.get(0)).unwrap();
    assert_eq!(usize::try_from(ends), Ok(COUNT));
}

#[tokio::test]
async fn settled_attempt_leaves_no_mark() {
    for place in places("unmarked") {
        let store = place.open();
        let id = store.push(vec![unknown()]).await[0].clone().unwrap().id;
        attempt(&*store, Disposition::Requeue, false).await;
        drop(store);
        assert_eq!(details(&*place.open(), id).await.crashes, 0, "no attempt was under way");
    }
}

#[tokio::test]
async fn settled_attempt_leaves_its_slot_to_another() {
    let folder = Folder::new("slots");
    let store = folder.open();
    let id = store.push(vec![unknown()]).await[0].clone().unwrap().id;
    // More than there are slots.
    for _ in 0..140_000 {
        attempt(&store, Disposition::Requeue, false).await;
    }
    let lease = store.take(0, 1).await.pop().expect("it is due");
    lease.begin();
    drop((lease, store));
    assert_eq!(details(&folder.open(), id).await.crashes, 1, "it was marked as running");
}

#[tokio::test]
async fn lost_lease_leaves_no_mark_that_counts_as_another_crash() {
    for place in places("lost") {
        let clock = Clock::fake(1_000_000);
        let store = place.open_with(StoreOptions::default(), clock.clone());
        let id = store.push(vec![unknown()]).await[0].clone().unwrap().id;
        let lease = store.take(0, 1).await.pop().expect("it is due");
        lease.begin();
        clock.advance(StoreOptions::default().lease);
        store.renew(Vec::new()).await;
        drop((lease, store));
        let details = details(&*place.open(), id).await;
        assert_eq!((details.crashes, details.summary.state), (1, State::Waiting));
    }
}

#[tokio::test]
async fn end_that_could_not_be_written_is_written_later() {
    let folder = Folder::new("busy");
    let store = folder.open();
    let id = store.push(vec![unknown()]).await[0].clone().unwrap().id;
    let other = rusqlite::Connection::open(folder.0.join("queue.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    attempt(&store, Disposition::Done("1".into()), false).await;
    let refused = store.push(vec![unknown()]).await[0].clone().unwrap_err();
    assert_eq!(refused.code, ErrorCode::Busy, "another program holds the file: {refused}");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(details(&store, id).await.summary.state, State::Done);
    store.unlock().await;
    assert_eq!(details(&folder.open(), id).await.summary.state, State::Done);
}

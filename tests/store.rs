//! What every store promises.

use std::sync::Arc;

use bytes::Bytes;
use framework::store::{Lease, Memory, Settlement, Store, Verdict};
use framework::task::{Handlers, NewTask, TaskId};

/// Every store there is, empty.
fn stores() -> Vec<Arc<dyn Store>> {
    vec![Arc::new(Memory::new(1_000))]
}

fn tasks(count: usize) -> Vec<NewTask> {
    let handlers = Handlers::collect().unwrap();
    let task = || NewTask::from_json(&handlers, Some("test_shout"), Bytes::from_static(b"\"x\"")).unwrap();
    (0..count).map(|_| task()).collect()
}

fn settled(lease: &Lease, verdict: Verdict) -> Settlement {
    Settlement { task: lease.task.id, token: lease.token, verdict }
}

fn ids(leases: &[Lease]) -> Vec<TaskId> {
    leases.iter().map(|lease| lease.task.id).collect()
}

#[tokio::test]
async fn tasks_are_taken_in_the_order_of_their_ids_from_zero() {
    for store in stores() {
        let accepted: Vec<_> = store.push(tasks(3)).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(accepted, [0, 1, 2]);
        assert!(store.ready().await);
        assert_eq!(ids(&store.take(2).await), [0, 1]);
        assert_eq!(ids(&store.take(2).await), [2]);
        assert!(store.take(2).await.is_empty());
    }
}

#[tokio::test]
async fn what_is_returned_comes_first_again_in_its_order_and_without_counting_the_attempt() {
    for store in stores() {
        store.push(tasks(4)).await;
        let leases = store.take(3).await;
        let returned = leases.iter().map(|lease| settled(lease, Verdict::Return)).collect();
        assert_eq!(store.settle(returned).await, [true; 3]);
        let again = store.take(4).await;
        assert_eq!(ids(&again), [0, 1, 2, 3]);
        assert!(again.iter().all(|lease| lease.attempt == 1));
    }
}

#[tokio::test]
async fn an_old_token_changes_nothing() {
    for store in stores() {
        store.push(tasks(1)).await;
        let old = store.take(1).await.remove(0);
        store.settle(vec![settled(&old, Verdict::Retry(std::time::Duration::ZERO))]).await;
        assert!(store.ready().await);
        let new = store.take(1).await.remove(0);
        assert_eq!((old.attempt, new.attempt), (1, 2));
        let late = settled(&old, Verdict::Failed("late".into()));
        assert_eq!(store.settle(vec![late]).await, [false]);
        assert_eq!(store.settle(vec![settled(&new, Verdict::Done("1".into()))]).await, [true]);
        assert_eq!(store.settle(vec![settled(&new, Verdict::Done("1".into()))]).await, [false]);
        let ledger = store.counts().await.ledger;
        assert_eq!((ledger.accepted, ledger.done, ledger.failed), (1, 1, 0));
        assert_eq!(ledger.accepted, ledger.sum());
    }
}

#[tokio::test]
async fn a_closed_store_takes_nothing_in_and_says_when_there_is_no_more() {
    for store in stores() {
        store.push(tasks(1)).await;
        store.close();
        assert!(store.push(tasks(1)).await[0].is_err());
        assert_eq!(store.ready().await, !store.is_durable());
        store.take(1).await;
        assert!(!store.ready().await);
    }
}

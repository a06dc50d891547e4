//! A journal that fails before or after it has written, or of which nobody knows: what callers are told, and
//! what is there in the end.

use framework_protocol::ErrorCode;
use framework_protocol::views::{AdminResult, HistoryFigures, HistoryFilter, HistoryRow};

use super::*;
use crate::store::durable::journal::JournalErrorKind;
use crate::store::fake_journal::{FakeFault, FakeStore};

const LOST_ANSWER: Option<FakeFault> = Some(FakeFault::After);
const UNKNOWN: Option<FakeFault> = before(JournalErrorKind::InDoubt);
/// The longest that anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

const fn before(kind: JournalErrorKind) -> Option<FakeFault> {
    Some(FakeFault::Before(kind))
}

/// A store over a fake journal.
fn fake() -> (FakePlace, Arc<FakeStore>) {
    let place = FakePlace::new(Clock::machine());
    let store = open(&place);
    (place, store)
}

fn open(place: &FakePlace) -> Arc<FakeStore> {
    // Every body is read back.
    let options = StoreOptions { hot_bytes: 0, ..StoreOptions::default() };
    Arc::new(place.open(options, Arc::new(Handlers::default())).unwrap())
}

async fn push(store: &FakeStore) -> Result<TaskId, RequestError> {
    store.push(vec![unknown()]).await.remove(0).map(|accepted| accepted.id)
}

fn keyed() -> NewTask {
    let mut task = unknown();
    task.extra_mut().key = Some("once".into());
    task
}

/// Ends the attempt of the only task that is due.
async fn run(store: &FakeStore) {
    let lease = store.take(0, 8).await.pop().expect("it is due");
    let (task, token, disposition) = (lease.task.id, lease.token, Disposition::Done("1".into()));
    let ran = Duration::ZERO;
    let settlement =
        Settlement { task, token, disposition, started_ms: 0, ran, worker: None, follow: Vec::new() };
    assert_eq!(store.settle(vec![settlement]).await, [true]);
}

/// Waits until something is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "{what}");
}

#[tokio::test]
async fn push_in_doubt_is_answered_when_it_is_known_and_its_tasks_are_there_once() {
    for faults in [vec![LOST_ANSWER], vec![UNKNOWN], vec![UNKNOWN, LOST_ANSWER, UNKNOWN, LOST_ANSWER]] {
        let (place, store) = fake();
        place.fail(faults);
        let results = store.push(vec![unknown(), keyed(), keyed()]).await;
        let accepted: Vec<_> = results.into_iter().map(Result::unwrap).collect();
        assert!(place.has_failed());
        assert_eq!(accepted.iter().map(|accepted| accepted.id).collect::<Vec<_>>(), [0, 1, 1]);
        assert_eq!((list(&*store).await.len(), store.counts().await.ledger.accepted), (2, 2));
        drop(store);
        let store = open(&place);
        assert_eq!((list(&*store).await.len(), push(&store).await), (2, Ok(2)));
    }
}

#[tokio::test]
async fn store_in_doubt_refuses_others_at_once_and_goes_on_when_it_is_known() {
    let (place, store) = fake();
    push(&store).await.unwrap();
    place.fail([LOST_ANSWER].into_iter().chain([UNKNOWN; 6]));
    let first = tokio::spawn({
        let store = store.clone();
        async move { push(&store).await }
    });
    until("the journal is in doubt", async || store.counts().await.storage_error.is_some()).await;
    let refused = push(&store).await.unwrap_err();
    assert_eq!((refused.code, refused.retry_after_ms), (ErrorCode::Busy, Some(1_000)), "{refused}");
    let pause = AdminCommand::Pause { queue: "default".into(), paused: true };
    assert_eq!(store.apply(pause).await.unwrap_err().code, ErrorCode::Busy);
    // What is read, and what runs, need not wait.
    assert_eq!(list(&*store).await.len(), 2);
    assert!(!first.is_finished(), "nobody is answered before it is known");
    run(&store).await;
    assert_eq!(first.await.unwrap(), Ok(1));
    assert_eq!(push(&store).await, Ok(2));
    assert_eq!((store.counts().await.storage_error, store.counts().await.ledger.done), (None, 1));
}

#[tokio::test]
async fn command_in_doubt_is_carried_out_once() {
    let (place, store) = fake();
    place.fail([LOST_ANSWER, UNKNOWN]);
    let figures = HistoryFigures { done: 3, ..HistoryFigures::default() };
    let at_ms = framework_protocol::task::now_ms();
    let row = HistoryRow { at_ms, function: "any".into(), queue: "default".into(), figures };
    store.apply(AdminCommand::RecordHistory(vec![row])).await.unwrap();
    place.fail([UNKNOWN, LOST_ANSWER]);
    let batch = AdminCommand::OpenBatch { name: "b".into(), function: "any".into(), then: None };
    assert!(matches!(store.apply(batch).await, Ok(AdminResult::Batch(_))));
    assert!(place.has_failed());
    let history = Query::History(HistoryFilter { hours: 24, function: None, queue: None });
    let QueryResult::History(points) = store.query(history).await.unwrap() else { panic!("no history") };
    assert_eq!(points.iter().map(|point| point.figures.done).sum::<u64>(), 3);
    let batches = store.query(Query::Batches { limit: 9 }).await.unwrap();
    assert!(matches!(batches, QueryResult::Batches(batches) if batches.len() == 1));
    assert_eq!(push(&store).await, Ok(0), "tasks are accepted again");
}

#[tokio::test]
async fn retry_in_doubt_lets_a_task_wait_once() {
    let (place, store) = fake();
    let id = push(&store).await.unwrap();
    let lease = store.take(0, 1).await.remove(0);
    let (token, disposition, ran) = (lease.token, Disposition::Failed("no".into()), Duration::ZERO);
    let settlement =
        Settlement { task: id, token, disposition, started_ms: 0, ran, worker: None, follow: Vec::new() };
    store.settle(vec![settlement]).await;
    store.flush().await;
    place.fail([LOST_ANSWER, LOST_ANSWER]);
    let retried = store.apply(AdminCommand::Retry(TaskSelector::Task(id))).await;
    assert_eq!((retried, place.has_failed()), (Ok(AdminResult::Tasks(1)), true));
    let details = details(&*store, id).await;
    assert_eq!((details.summary.state, details.history.len()), (State::Waiting, 1));
    let ledger = store.counts().await.ledger;
    assert_eq!((ledger.waiting, ledger.failed, ledger.accepted), (1, 0, 1));
}

#[tokio::test]
async fn end_in_doubt_is_written_once_also_when_the_store_is_closed_meanwhile() {
    let (place, store) = fake();
    let id = push(&store).await.unwrap();
    place.fail([LOST_ANSWER, UNKNOWN, UNKNOWN]);
    run(&store).await;
    drop(store);
    assert!(place.has_failed());
    let store = open(&place);
    assert_eq!(details(&*store, id).await.summary.state, State::Done);
    assert_eq!(store.counts().await.ledger.done, 1);
}

#[tokio::test]
async fn push_that_was_not_written_is_refused_and_leaves_nothing() {
    for (kind, code) in
        [(JournalErrorKind::Busy, ErrorCode::Busy), (JournalErrorKind::Full, ErrorCode::StorageFull)]
    {
        let (place, store) = fake();
        place.fail([before(kind)]);
        let refused = push(&store).await.unwrap_err();
        assert_eq!((refused.code, refused.retry_after_ms), (code, Some(1_000)), "{refused}");
        until("it accepts tasks again", async || push(&store).await == Ok(0)).await;
        assert_eq!(list(&*store).await.len(), 1);
    }
}

#[tokio::test]
async fn end_that_was_not_written_is_written_later() {
    let (place, store) = fake();
    let id = push(&store).await.unwrap();
    place.fail([before(JournalErrorKind::Busy); 3]);
    run(&store).await;
    until("it is written", async || details(&*store, id).await.summary.state == State::Done).await;
    assert!(place.has_failed());
    drop(store);
    assert_eq!(open(&place).counts().await.ledger.done, 1);
}

#[tokio::test]
async fn store_over_a_failed_journal_accepts_and_hands_out_nothing_any_more() {
    let (place, store) = fake();
    push(&store).await.unwrap();
    place.fail([before(JournalErrorKind::Failed)]);
    for _ in 0..2 {
        let refused = push(&store).await.unwrap_err();
        assert_eq!((refused.code, refused.retry_after_ms), (ErrorCode::StorageFailed, None));
    }
    let calls = place.calls();
    store.flush().await;
    assert!(store.take(0, 1).await.is_empty() && store.counts().await.storage_error.is_some());
    drop(store);
    assert_eq!(place.calls(), calls, "nothing more is written");
    assert_eq!(open(&place).take(0, 1).await.len(), 1);
}

#[tokio::test]
async fn store_whose_journal_is_away_refuses_until_it_is_back() {
    let (place, store) = fake();
    place.set_away(true);
    let refused = push(&store).await.unwrap_err();
    assert_eq!((refused.code, refused.retry_after_ms), (ErrorCode::StorageFailed, Some(1_000)));
    assert!(store.counts().await.storage_error.is_some());
    place.set_away(false);
    until("it accepts tasks again", async || push(&store).await == Ok(0)).await;
    assert_eq!(store.counts().await.storage_error, None);
}

#[tokio::test]
async fn store_that_may_not_own_its_journal_hands_out_nothing_meanwhile() {
    let (place, store) = fake();
    let id = push(&store).await.unwrap();
    place.set_foreign(true);
    assert!(store.take(0, 1).await.is_empty());
    until("it is noticed", async || store.counts().await.storage_error.is_some()).await;
    let sleeper = tokio::spawn({
        let store = store.clone();
        async move { store.ready(0).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!sleeper.is_finished(), "there is nothing to take");
    place.set_foreign(false);
    let woken = tokio::time::timeout(PATIENCE, sleeper).await;
    assert!(woken.expect("it is woken").unwrap());
    assert_eq!(store.take(0, 1).await[0].task.id, id);
}

#[tokio::test]
async fn task_that_cannot_be_read_for_a_moment_is_taken_later() {
    let (place, store) = fake();
    let id = push(&store).await.unwrap();
    place.fail_reads(1);
    assert!(store.take(0, 1).await.is_empty());
    let counts = store.counts().await.ledger;
    assert_eq!((counts.waiting, counts.running), (1, 0));
    let mut taken = Vec::new();
    until("it is read", async || {
        taken.extend(store.take(0, 1).await);
        !taken.is_empty()
    })
    .await;
    assert_eq!((taken[0].task.id, taken[0].attempt), (id, 1));
}

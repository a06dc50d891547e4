//! The index by itself, driven through time.

use std::sync::atomic::Ordering;
use std::time::Instant;

use framework_protocol::ErrorCode;
use framework_protocol::task::{Due, Handlers, NewTask};
use framework_protocol::views::{BatchState, State};

use super::*;
use crate::store::{Disposition, Settlement};

const LEASE: Duration = Duration::from_secs(60);

struct Fixture {
    index: TaskIndex,
    now: Now,
    records: Vec<Record>,
    next_id: TaskId,
}

impl Fixture {
    fn new() -> Self {
        Self::with(StoreOptions::default())
    }

    fn with(options: StoreOptions) -> Self {
        let options = StoreOptions { lease: LEASE, oldest_first_every: 0, ..options };
        let index = TaskIndex::new(options, usize::MAX, Arc::new(Handlers::default()));
        Self { index, now: Now::default(), records: Vec::new(), next_id: 0 }
    }

    fn push(&mut self, change: impl FnOnce(&mut NewTask)) -> Arc<TaskRecord> {
        let mut new = new_task();
        change(&mut new);
        let task = Arc::new(TaskRecord::new(self.next_id, new, Instant::now(), self.now.wall_ms));
        self.next_id += 1;
        let insertion = self.index.new_insertion(task.clone(), self.now);
        self.index.insert_new(insertion);
        task
    }

    fn push_some(&mut self, count: usize) {
        (0..count).for_each(|_| drop(self.push(|_| ())));
    }

    fn take(&mut self, limit: usize) -> Vec<TakenTask> {
        self.index.take(TakeFrom::Group(0), limit, self.now)
    }

    fn take_ids(&mut self, limit: usize) -> Vec<TaskId> {
        self.take(limit).iter().map(|taken| taken.id).collect()
    }

    fn settle(&mut self, taken: &[TakenTask], disposition: &Disposition) -> Vec<bool> {
        let settlement = |taken: &TakenTask| Settlement {
            task: taken.id,
            token: taken.token,
            disposition: disposition.clone(),
            started_ms: 0,
            ran: Duration::ZERO,
            worker: None,
            follow: Vec::new(),
        };
        let batch = taken.iter().map(settlement).collect();
        self.index.settle(batch, self.now, &mut self.records).0
    }

    fn advance(&mut self, time: Duration) {
        self.now.steady += time;
        self.now.wall_ms += time.as_millis() as u64;
    }

    fn renew(&mut self, taken: &[&TakenTask]) -> Vec<bool> {
        let leases = taken.iter().map(|taken| (taken.id, taken.token)).collect();
        self.index.renew(leases, self.now, &mut self.records)
    }

    fn ledger(&self) -> Ledger {
        self.index.counts().ledger
    }
}

fn new_task() -> NewTask {
    NewTask::without_handler("any", "null".into())
}

fn done() -> Disposition {
    Disposition::Done("1".into())
}

fn retry() -> Disposition {
    Disposition::Retry { pause: Duration::ZERO, error: "no".into() }
}

#[test]
fn take_keeps_to_the_limit_of_a_concurrency_key_and_goes_on_with_each_end() {
    let mut fixture = Fixture::new();
    for _ in 0..3 {
        fixture.push(|task| {
            task.concurrency = 2;
            task.extra_mut().concurrency_key = Some("some-key".into());
        });
    }
    let first = fixture.take(3);
    assert_eq!(first.len(), 2);
    assert_eq!(fixture.settle(&first[..1], &done()), [true]);
    let third = fixture.take(3);
    assert_eq!(third.len(), 1);
    assert_eq!(fixture.settle(&first[1..], &done()), [true]);
    assert_eq!(fixture.settle(&third, &done()), [true]);
    let keys = format!("{:?}", fixture.index.keys);
    assert!(!keys.contains("some-key"), "the key goes with its last task: {keys}");
}

#[test]
fn batch_runs_once_it_is_sealed_and_ends_with_its_last_task() {
    let mut fixture = Fixture::new();
    let batches = fixture.index.batches();
    let batch = batches.open("import".into(), "any".into(), None, fixture.now).unwrap().id;
    for _ in 0..2 {
        fixture.push(|task| task.extra_mut().batch = Some(batch));
    }
    assert!(fixture.take(2).is_empty(), "it is open");
    fixture.index.batches().seal(batch);
    assert_eq!(fixture.index.release_held(batch, 10), 2);
    let taken = fixture.take(2);
    fixture.settle(&taken[..1], &done());
    assert_eq!(fixture.index.batches().get(batch).map(|info| (info.total, info.done)), Some((2, 1)));
    fixture.settle(&taken[1..], &Disposition::Failed("no".into()));
    let ended = fixture.records.iter().find_map(|record| match record {
        Record::Batch(info) => Some((info.state, info.total, info.done, info.failed)),
        _ => None,
    });
    assert_eq!(ended, Some((BatchState::Ended, 2, 1, 1)));
    assert!(fixture.index.batches().get(batch).is_none());
}

#[test]
fn settlement_with_the_token_of_a_lost_lease_changes_nothing() {
    let mut fixture = Fixture::new();
    fixture.push_some(1);
    let lost = fixture.take(1);
    fixture.advance(LEASE);
    fixture.renew(&[]);
    let taken = fixture.take(1);
    assert_eq!(taken[0].id, lost[0].id, "another worker has it");
    assert_eq!(fixture.settle(&lost, &done()), [false]);
    assert_eq!((fixture.ledger().done, fixture.ledger().running), (0, 1));
    assert_eq!(fixture.settle(&taken, &done()), [true]);
}

#[test]
fn cancel_between_an_outcome_and_its_settlement_ends_a_task_that_would_go_on() {
    for disposition in [retry(), Disposition::Requeue, Disposition::Park] {
        let mut fixture = Fixture::new();
        fixture.push_some(1);
        let taken = fixture.take(1);
        fixture.index.cancel_running(taken[0].id).unwrap();
        assert_eq!(fixture.settle(&taken, &disposition), [true]);
        let ended: Vec<_> = fixture.index.terminated().iter().map(|ended| ended.state).collect();
        assert_eq!((ended, fixture.ledger().cancelled), (vec![State::Cancelled], 1), "{disposition:?}");
    }
}

#[test]
fn retry_counts_its_failure_and_its_attempt() {
    let mut fixture = Fixture::new();
    let task = fixture.push(|_| ());
    for count in 1..=2 {
        fixture.index.wake(fixture.now).clear();
        let taken = fixture.take(1);
        fixture.settle(&taken, &retry());
        assert_eq!((task.failures(), task.attempts()), (count, count));
    }
}

#[test]
fn requeued_tasks_come_first_in_their_order() {
    let mut fixture = Fixture::new();
    fixture.push_some(4);
    let mut taken = fixture.take(3);
    taken.swap(0, 1);
    fixture.settle(&taken, &Disposition::Requeue);
    assert_eq!(fixture.take_ids(4), [0, 1, 2, 3]);
}

#[test]
fn check_capacity_refuses_one_task_more_than_the_limit() {
    let mut fixture = Fixture::with(StoreOptions { limit: 3, ..StoreOptions::default() });
    fixture.push_some(1);
    assert!(fixture.index.check_capacity(&new_task(), 1).is_ok());
    let refused = fixture.index.check_capacity(&new_task(), 2).unwrap_err();
    assert!(refused.code == ErrorCode::Busy && refused.message.contains("max_queue_length"), "{refused}");
}

#[test]
fn check_capacity_refuses_tasks_beyond_the_limit_of_memory() {
    let mut fixture = Fixture::with(StoreOptions { max_memory: 1_000, ..StoreOptions::default() });
    assert!(fixture.index.check_capacity(&new_task(), 0).is_ok());
    fixture.push_some(3);
    let refused = fixture.index.check_capacity(&new_task(), 0).unwrap_err();
    assert!(refused.code == ErrorCode::Busy && refused.message.contains("max_memory"), "{refused}");
}

#[test]
fn renewed_lease_lasts_as_long_again_and_others_end() {
    let mut fixture = Fixture::new();
    fixture.push_some(2);
    let taken = fixture.take(2);
    fixture.advance(LEASE / 2);
    assert_eq!(fixture.renew(&[&taken[0]]), [true]);
    fixture.advance(LEASE / 2);
    fixture.renew(&[]);
    assert_eq!(fixture.take_ids(2), [1], "its lease was not renewed");
    assert_eq!(fixture.renew(&[&taken[0], &taken[1]]), [true, false], "the second one is another's now");
}

#[test]
fn task_that_two_workers_were_lost_with_is_set_aside() {
    let mut fixture = Fixture::new();
    let task = fixture.push(|_| ());
    for crashes in 1..=2 {
        assert_eq!(fixture.take_ids(1), [0]);
        fixture.advance(LEASE);
        fixture.renew(&[]);
        assert_eq!(task.crashes(), crashes);
    }
    assert!(fixture.take(1).is_empty());
    assert_eq!((fixture.ledger().failed, fixture.ledger().waiting), (1, 0));
}

#[test]
fn task_that_is_retried_by_hand_counts_as_waiting_alone() {
    let mut fixture = Fixture::new();
    let task = fixture.push(|_| ());
    let taken = fixture.take(1);
    fixture.settle(&taken, &Disposition::Failed("no".into()));
    fixture.index.restore(TaskRecord::again(&task), State::Failed, fixture.now);
    let Ledger { accepted, failed, waiting, .. } = fixture.ledger();
    assert_eq!((accepted, failed, waiting), (1, 0, 1));
}

#[test]
fn task_expires_if_it_is_not_leased_by_then_and_that_is_reported() {
    let mut fixture = Fixture::new();
    let expires = |task: &mut NewTask| task.extra_mut().expires = Some(Due::After(Duration::from_secs(10)));
    fixture.push(expires);
    fixture.push(expires);
    let taken = fixture.take(1);
    fixture.advance(Duration::from_secs(10));
    assert_eq!(fixture.index.wake(fixture.now), [1], "the other one is leased");
    assert!(fixture.index.end_waiting(1, None, WaitingEnd::EXPIRED, fixture.now, &mut fixture.records));
    let ended: Vec<_> = fixture.index.terminated().iter().map(|ended| (ended.task.id, ended.state)).collect();
    assert_eq!(ended, [(1, State::Expired)]);
    fixture.settle(&taken, &Disposition::Requeue);
    fixture.advance(Duration::from_secs(1));
    assert_eq!(fixture.index.wake(fixture.now), [0], "it did not begin");
}

#[test]
fn expired_task_that_begins_before_it_ends_goes_on() {
    let mut fixture = Fixture::new();
    let expires = |task: &mut NewTask| task.extra_mut().expires = Some(Due::After(Duration::from_secs(10)));
    let retried = fixture.push(expires);
    fixture.push(expires);
    fixture.advance(Duration::from_secs(10));
    assert_eq!(fixture.index.wake(fixture.now), [0, 1]);
    // Both are taken before they are ended; one begins, fails and is retried by hand.
    let first = fixture.take(1);
    let second = fixture.take(1);
    fixture.settle(&first, &Disposition::Failed("no".into()));
    fixture.index.restore(TaskRecord::again(&retried), State::Failed, fixture.now);
    let end = |fixture: &mut Fixture, id| {
        let Fixture { index, now, records, .. } = fixture;
        index.end_waiting(id, None, WaitingEnd::EXPIRED, *now, records)
    };
    assert!(!end(&mut fixture, 0), "it has begun");
    assert!(!end(&mut fixture, 1), "it is leased");
    fixture.settle(&second, &Disposition::Requeue);
    fixture.advance(Duration::from_secs(1));
    assert_eq!(fixture.index.wake(fixture.now), [1], "it did not begin");
    assert!(end(&mut fixture, 1));
    assert_eq!(fixture.ledger().waiting, 1);
}

#[test]
fn body_that_is_evicted_leaves_its_counters() {
    let record = || TaskRecord::new(7, new_task(), Instant::now(), 0);
    let mut bodies = BodyCache::new(0);
    let task = record();
    task.attempts.store(3, Ordering::Relaxed);
    task.failures.store(2, Ordering::Relaxed);
    task.crashes.store(1, Ordering::Relaxed);
    assert!(bodies.hold(Arc::new(task)).is_none(), "there is no room");
    let mut read = record();
    bodies.complete(&mut read);
    assert_eq!((read.attempts(), read.failures(), read.crashes()), (3, 2, 1));
}

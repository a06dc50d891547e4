//! The leases of attempts, and their ends by timeout, cancel and the loss of a lease.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};

use framework_console::config::Config;
use framework_macros::Task;
use framework_protocol::task::{Handle, HandleBlocking, Handlers, NewTask, TaskId};
use framework_protocol::views::TaskSelector;
use serde::{Deserialize, Serialize};

use super::super::store_source::StoreSource;
use super::*;
use crate::server::leases::Leases;
use crate::store::{AdminCommand, Clock, Memory, Query, QueryResult, Store, StoreOptions};

#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_at_once")]
struct AtOnce;

impl Handle for AtOnce {
    type Output = ();

    async fn handle(self, _attempt: &Attempt) -> anyhow::Result<()> {
        Ok(())
    }
}

#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_wait")]
struct Wait;

impl Handle for Wait {
    type Output = ();

    async fn handle(self, _attempt: &Attempt) -> anyhow::Result<()> {
        std::future::pending().await
    }
}

/// Blocks until its gate is opened.
#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_block", blocking)]
struct Block(usize);

static GATES: [Gate; 3] = [Gate::closed(), Gate::closed(), Gate::closed()];

struct Gate {
    is_reached: AtomicBool,
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    const fn closed() -> Self {
        Self { is_reached: AtomicBool::new(false), is_open: Mutex::new(false), opened: Condvar::new() }
    }

    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

impl HandleBlocking for Block {
    type Output = ();

    fn handle(self, _attempt: &Attempt) -> anyhow::Result<()> {
        let gate = &GATES[self.0];
        gate.is_reached.store(true, Ordering::SeqCst);
        let _open = gate.opened.wait_while(gate.is_open.lock().unwrap(), |is_open| !*is_open).unwrap();
        Ok(())
    }
}

const LEASE: Duration = Duration::from_secs(60);
/// The bound on every wait.
const SOON: Duration = Duration::from_secs(30);

/// A pool with one worker and one task, whose attempt has begun.
struct Fixture {
    store: Arc<Memory>,
    clock: Clock,
    leases: Arc<Leases>,
    task: TaskId,
    free: Arc<Semaphore>,
    ended: mpsc::Receiver<EndedBatch>,
    /// No further task begins once this is raised.
    pause: watch::Sender<bool>,
    _abort: watch::Sender<bool>,
    gate: Option<OpensGate>,
}

/// Opens a gate when it is dropped, also by a test that fails: the runtime waits for handlers that block.
struct OpensGate(usize);

impl Drop for OpensGate {
    fn drop(&mut self) {
        GATES[self.0].open();
    }
}

impl Fixture {
    async fn run<T: framework_protocol::task::Task>(task: T, change: impl FnOnce(&mut NewTask)) -> Self {
        let clock = Clock::fake(0);
        let handlers = Arc::new(Handlers::collect().unwrap());
        let store = Arc::new(Memory::new(StoreOptions::default(), handlers.clone(), clock.clone()));
        let mut task = NewTask::of(&handlers, &task).unwrap();
        change(&mut task);
        let task = store.push(vec![task]).await[0].clone().unwrap().id;
        let leases = Arc::new(Leases::new(store.clone()));
        let config = Config::at("/no/project", []);
        let (finisher, ended) = mpsc::channel(16);
        let (abort, aborted) = watch::channel(false);
        let shared = PoolContext {
            source: Arc::new(StoreSource { store: store.clone(), leases: leases.clone() }),
            events: Arc::new(()),
            attempts: Arc::new(AttemptContext { config, handlers, sink: Arc::new(()) }),
            finisher,
            abort: aborted,
        };
        let stats = WorkerGroupStats::new("*", 1);
        let pool = Arc::new(WorkerPool::new(Arc::new(shared), 0, &stats));
        let (pause, paused) = watch::channel(false);
        tokio::spawn(pool.run_puller(paused));
        let fixture =
            Self { store, clock, leases, task, free: stats.free, ended, pause, _abort: abort, gate: None };
        let begun = Instant::now();
        while fixture.store.counts().await.ledger.running == 0 {
            assert!(begun.elapsed() < SOON, "the attempt begins");
            tokio::task::yield_now().await;
        }
        fixture.settle_down().await;
        fixture
    }

    /// Runs a task that has reached a gate, and blocks until that is opened.
    async fn block(gate: usize, change: impl FnOnce(&mut NewTask)) -> Self {
        let mut fixture = Self::run(Block(gate), change).await;
        fixture.gate = Some(OpensGate(gate));
        let begun = Instant::now();
        while !GATES[gate].is_reached.load(Ordering::SeqCst) {
            assert!(begun.elapsed() < SOON, "the handler begins");
            tokio::task::yield_now().await;
        }
        fixture
    }

    /// Lets everything happen that does not wait for a time.
    async fn settle_down(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    /// Lets the time of several leases pass, while the process renews those that it holds.
    async fn outlast_leases(&self) {
        let renewals = tokio::spawn(self.leases.clone().run(LEASE));
        for _ in 0..(3 * LEASE).as_secs() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.clock.advance(Duration::from_secs(1));
            self.store.renew(Vec::new()).await;
        }
        renewals.abort();
    }

    /// Ends the leases, of which the process learns when it next renews them.
    async fn lose_leases(&self) {
        self.pause.send_replace(true);
        self.clock.advance(2 * LEASE);
        self.store.renew(Vec::new()).await;
        tokio::spawn(self.leases.clone().run(LEASE));
        self.settle_down().await;
        tokio::time::advance(Duration::from_millis(1)).await;
        self.settle_down().await;
    }

    async fn attempts(&self) -> u32 {
        match self.store.query(Query::Task(self.task)).await.unwrap() {
            QueryResult::Task(details) => details.summary.attempts,
            other => panic!("{other:?}"),
        }
    }

    /// The end of the attempt, with the hold on its lease.
    async fn end(&mut self) -> (AttemptEnd, BatchHold) {
        let ended = tokio::time::timeout(SOON, self.ended.recv()).await;
        let EndedBatch { mut ends, hold } = ended.expect("the attempt ends").expect("the pool is there");
        (ends.remove(0), hold)
    }

    /// Asserts that an attempt which cannot be aborted goes on until its gate is opened.
    async fn goes_on_until_it_returns(mut self) {
        self.settle_down().await;
        assert!(self.ended.try_recv().is_err(), "the handler has not returned");
        assert_eq!(self.free.available_permits(), 0, "its worker is taken");
        self.gate = None;
        self.end().await;
        assert_eq!(self.free.available_permits(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn attempt_that_waits_keeps_its_lease() {
    let fixture = Fixture::run(Wait, |_| ()).await;
    fixture.outlast_leases().await;
    assert_eq!(fixture.attempts().await, 1, "it was never lost and taken again");
}

#[tokio::test(start_paused = true)]
async fn ended_attempt_keeps_its_lease_until_it_is_settled() {
    let mut fixture = Fixture::run(AtOnce, |_| ()).await;
    let (ended, hold) = fixture.end().await;
    fixture.outlast_leases().await;
    let lease = (fixture.task, ended.lease.token);
    assert_eq!(fixture.store.renew(vec![lease]).await, [true]);
    fixture.pause.send_replace(true);
    drop(hold);
    fixture.outlast_leases().await;
    assert_eq!(fixture.store.renew(vec![lease]).await, [false]);
}

#[tokio::test(start_paused = true)]
async fn attempt_that_has_lost_its_lease_is_aborted() {
    let mut fixture = Fixture::run(Wait, |_| ()).await;
    fixture.lose_leases().await;
    let (ended, _hold) = fixture.end().await;
    assert!(ended.outcome.is_none(), "it came to nothing");
    assert_eq!(fixture.free.available_permits(), 1);
}

#[tokio::test(start_paused = true)]
async fn attempt_that_takes_longer_than_its_timeout_fails() {
    let mut fixture = Fixture::run(Wait, |task| task.timeout = Some(Duration::from_secs(10))).await;
    match fixture.end().await.0.outcome {
        Some(Outcome::Failed(failure)) => assert!(failure.message.contains("timeout of 10s"), "{failure:?}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn cancelled_attempt_is_aborted() {
    let mut fixture = Fixture::run(Wait, |_| ()).await;
    fixture.store.apply(AdminCommand::Cancel(TaskSelector::Task(fixture.task))).await.unwrap();
    assert!(fixture.end().await.0.outcome.is_none());
}

#[tokio::test]
async fn cancelled_blocking_attempt_keeps_its_worker_until_it_returns() {
    let fixture = Fixture::block(0, |_| ()).await;
    fixture.store.apply(AdminCommand::Cancel(TaskSelector::Task(fixture.task))).await.unwrap();
    fixture.goes_on_until_it_returns().await;
}

#[tokio::test(start_paused = true)]
async fn blocking_attempt_that_has_lost_its_lease_keeps_its_worker_until_it_returns() {
    let fixture = Fixture::block(1, |_| ()).await;
    fixture.lose_leases().await;
    fixture.goes_on_until_it_returns().await;
}

#[tokio::test(start_paused = true)]
async fn blocking_attempt_over_its_timeout_keeps_its_worker_until_it_returns() {
    let fixture = Fixture::block(2, |task| task.timeout = Some(Duration::from_secs(10))).await;
    tokio::time::advance(Duration::from_secs(60)).await;
    fixture.goes_on_until_it_returns().await;
}

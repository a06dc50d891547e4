//! Power cuts at random moments, on a disk in memory that loses or tears what was not synced.

mod changes;
mod content;
mod disk;
mod driver;
mod knowledge;
mod load;
mod locks;
mod machine;
mod rows;
mod verdict;
mod vfs;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use framework::protocol::{Durability, ErrorCode};
use framework::store::{Clock, Disposition, Lease, Query, QueryResult, Settlement, Store};
use framework::task::{Due, Handlers, NewTask};
use framework::views::State;

use changes::{Changes, changes_end};
use disk::Disk;
use load::Load;
use rows::Rows;

use crate::harness::eventually::in_time;
use crate::harness::{variable, watchdog};

/// The bound on a test, each of which cuts the power thousands of times.
const TIMEOUT: Duration = Duration::from_secs(20 * 60);

#[test]
fn sqlite_keeps_synced_rows_through_power_cuts() {
    watchdog::allow(TIMEOUT);
    for seed in 0..20 {
        let mut rows = Rows::new(seed, "full");
        for cut in 0..25 {
            rows.survive().unwrap_or_else(|error| panic!("seed {seed}, cut {cut}: {error}"));
        }
    }
}

#[test]
fn sqlite_without_sync_is_found_to_lose_rows() {
    watchdog::allow(TIMEOUT);
    for synchronous in ["off", "normal"] {
        let lost = (0..20).filter(|seed| {
            let mut rows = Rows::new(*seed, synchronous);
            (0..5).any(|_| rows.survive().is_err())
        });
        assert!(lost.count() > 10, "synchronous={synchronous} loses what was committed");
    }
}

/// Plays this many seeds of the changes of many tasks, from a random one on.
const SEEDS: &str = "POWER_CUT_SEEDS";

/// A load that is played on a disk whose power is cut again and again.
trait Survive {
    /// Works until the power is cut, starts again, and checks the store.
    async fn survive(&mut self) -> Result<(), String>;
}

/// Cuts the power this often for each seed, on as many threads as there are cores; for each seed that lost
/// something, what was wrong after the first cut that did.
fn cut<L: Survive>(seeds: Range<u64>, cuts: usize, load: impl Fn(u64) -> L + Sync) -> Vec<String> {
    watchdog::allow(TIMEOUT);
    let next = AtomicU64::new(seeds.start);
    let cut_some = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut lost = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return lost;
            }
            let mut load = load(seed);
            let wrong = (0..cuts).find_map(|cut| {
                let wrong = runtime.block_on(load.survive()).err()?;
                Some(format!("seed {seed}, cut {cut}: {wrong}"))
            });
            lost.extend(wrong);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(cut_some)).collect();
        all.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn fsync_store_keeps_acknowledged_tasks_through_power_cuts() {
    let handlers = Arc::new(Handlers::collect().unwrap());
    let lost = cut(0..100, 20, |seed| Load::new(seed, Durability::Fsync, &handlers));
    assert!(lost.is_empty(), "{lost:#?}");
}

#[test]
fn async_store_is_found_to_lose_tasks() {
    let handlers = Arc::new(Handlers::collect().unwrap());
    let lost = cut(0..10, 5, |seed| Load::new(seed, Durability::Async, &handlers));
    assert!(lost.len() > 5, "{lost:#?}");
}

#[test]
fn early_acknowledgement_is_found_out() {
    let handlers = Arc::new(Handlers::collect().unwrap());
    let lost = cut(0..10, 5, |seed| {
        let disk = Disk::new(seed);
        disk.fake_syncs();
        Load::on(disk, seed, Durability::Fsync, &handlers)
    });
    assert!(lost.len() > 5, "{lost:#?}");
}

#[test]
fn batches_and_changes_of_many_tasks_are_whole_after_power_cuts() {
    let handlers = Arc::new(Handlers::collect().unwrap());
    let seeds = match variable(SEEDS).map(|count| count.parse::<u64>().expect(SEEDS)) {
        Some(count) => {
            let first = fastrand::u64(1_000..1 << 40);
            first..first + count
        }
        None => 0..60,
    };
    let lost = cut(seeds, 10, |seed| Changes::on(Disk::new(seed), seed, &handlers));
    assert!(lost.is_empty(), "{lost:#?}");
}

#[test]
fn disk_that_fakes_syncs_is_found_to_lose_changes() {
    let handlers = Arc::new(Handlers::collect().unwrap());
    let lost = cut(0..10, 5, |seed| {
        let disk = Disk::new(seed);
        disk.fake_syncs();
        Changes::on(disk, seed, &handlers)
    });
    assert!(lost.len() > 5, "{lost:#?}");
}

fn shout(handlers: &Handlers) -> NewTask {
    watchdog::watch();
    NewTask::from_json(handlers, Some("test_shout"), bytes::Bytes::from_static(b"\"x\"")).unwrap()
}

#[tokio::test]
async fn failed_sync_stops_acceptance_and_all_writes_until_the_next_start() {
    let handlers = Arc::new(Handlers::collect().unwrap());
    let mut load = Load::new(1, Durability::Fsync, &handlers);
    let clock = Clock::fake(1_000_000);
    let store = load.open(clock.clone()).unwrap();
    let accepted = store.push(vec![shout(&handlers)]).await[0].clone().unwrap();
    let lease = store.take(0, 1).await.remove(0);

    load.disk().fail_to_sync(true);
    let refused = store.push(vec![shout(&handlers)]).await[0].clone().unwrap_err();
    assert_eq!(refused.code, ErrorCode::StorageFailed, "{refused}");
    // What such a disk has kept is unknown, even if later syncs succeed.
    load.disk().fail_to_sync(false);
    clock.advance(Duration::from_secs(60 * 60));
    let refused = store.push(vec![shout(&handlers)]).await[0].clone().unwrap_err();
    assert_eq!(refused.code, ErrorCode::StorageFailed, "{refused}");
    let counts = store.counts().await;
    assert!(counts.storage_error.is_some_and(|trouble| trouble.contains("disk")), "status says so");
    assert_eq!(store.settle(vec![done(&lease)]).await, [true]);
    store.flush().await;
    drop(store);

    load.start_again();
    let store = load.open(Clock::machine()).unwrap();
    let leases = store.take(0, 10).await;
    assert_eq!(leases[0].task.id, accepted.id, "its end was not written any more, and it runs again");
    assert!(store.push(vec![shout(&handlers)]).await[0].is_ok());
}

#[tokio::test]
async fn change_that_a_failed_sync_has_ended_is_not_under_way() {
    let handlers = Arc::new(Handlers::collect().unwrap());
    let load = Load::new(4, Durability::Fsync, &handlers);
    let clock = Clock::fake(1_000_000);
    let store = load.open(clock.clone()).unwrap();
    let mut task = shout(&handlers);
    task.extra_mut().expires = Some(Due::After(Duration::from_secs(1)));
    store.push(vec![task]).await;

    load.disk().fail_to_sync(true);
    clock.advance(Duration::from_secs(2));
    in_time("the expiry that could not be written ends", async {
        while store.counts().await.storage_error.is_none() {
            store.flush().await;
        }
        changes_end(&store).await;
    })
    .await;
}

fn done(lease: &Lease) -> Settlement {
    Settlement {
        task: lease.task.id,
        token: lease.token,
        disposition: Disposition::Done(bytes::Bytes::from_static(b"1")),
        started_ms: 0,
        ran: Duration::ZERO,
        worker: None,
        follow: Vec::new(),
    }
}

#[tokio::test]
async fn full_disk_rejects_tasks_and_settles_others() {
    let handlers = Arc::new(Handlers::collect().unwrap());
    let load = Load::new(2, Durability::Fsync, &handlers);
    let clock = Clock::fake(1_000_000);
    let store = load.open(clock.clone()).unwrap();
    store.push(vec![shout(&handlers), shout(&handlers)]).await;
    let leases = store.take(0, 1).await;

    load.disk().limit_space(Some(0));
    let mut refused = None;
    // The space that the file reserves for the ends of tasks may hold some more of them first.
    for _ in 0..1_000 {
        refused = store.push((0..1_000).map(|_| shout(&handlers)).collect()).await.remove(0).err();
        if refused.is_some() {
            break;
        }
    }
    let refused = refused.expect("a full disk takes no more tasks");
    assert_eq!(refused.code, ErrorCode::StorageFull, "{refused}");
    assert!(store.counts().await.storage_error.is_some());
    assert_eq!(store.settle(vec![done(&leases[0])]).await, [true]);
    assert_eq!(store.counts().await.ledger.done, 1);
    assert_eq!(store.take(0, 1).await.len(), 1, "what was accepted runs");

    load.disk().limit_space(None);
    clock.advance(Duration::from_secs(5));
    assert!(store.push(vec![shout(&handlers)]).await[0].is_ok(), "there is room again");
    let counts = store.counts().await;
    assert_eq!(counts.storage_error, None);
    assert_eq!(counts.ledger.accepted, counts.ledger.sum());
    let end = store.query(Query::Task(leases[0].task.id)).await.unwrap();
    let QueryResult::Task(end) = end else { panic!("{end:?}") };
    assert_eq!(end.summary.state, State::Done, "its end is in the file by now");
}

#[tokio::test]
async fn failing_checkpoint_is_said_while_tasks_are_accepted() {
    let handlers = Arc::new(Handlers::collect().unwrap());
    let load = Load::new(3, Durability::Fsync, &handlers);
    let store = load.open(Clock::machine()).unwrap();
    let long = bytes::Bytes::from(format!("\"{}\"", "x".repeat(1_000_000)));
    let push = || async {
        let task = NewTask::from_json(&handlers, Some("test_shout"), long.clone()).unwrap();
        assert!(store.push(vec![task]).await[0].is_ok(), "tasks are accepted all the same");
        store.counts().await.storage_warning
    };
    load.disk().fail_to_write(Some("queue.db"));
    let said = in_time("the failing checkpoint is said", async {
        loop {
            if let Some(said) = push().await {
                break said;
            }
        }
    });
    assert!(said.await.contains("cannot be copied into its file"));
    load.disk().fail_to_write(None);
    in_time("the checkpoint succeeds again", async { while push().await.is_some() {} }).await;
}

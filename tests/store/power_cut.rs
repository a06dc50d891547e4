//! Power cuts at random moments, on a disk in memory that loses or tears what was not synced.

mod content;
mod disk;
mod load;
mod locks;
mod rows;
mod vfs;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use framework::protocol::{Durability, ErrorCode};
use framework::store::{Clock, Disposition, Settlement, Store};
use framework::task::{Handlers, NewTask};

use disk::Disk;
use load::Load;
use rows::Rows;

use crate::harness::watchdog;

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

/// Cuts the power this often for each seed, on as many threads as there are cores; for each seed that lost
/// something, what was wrong after the first cut that did.
fn cut(seeds: Range<u64>, cuts: usize, load: impl Fn(u64) -> Load + Sync) -> Vec<String> {
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

fn shout(handlers: &Handlers) -> NewTask {
    watchdog::watch();
    NewTask::from_json(handlers, Some("test_shout"), bytes::Bytes::from_static(b"\"x\"")).unwrap()
}

#[tokio::test]
async fn failed_sync_stops_acceptance_until_the_next_start() {
    let handlers = Arc::new(Handlers::collect().unwrap());
    let mut load = Load::new(1, Durability::Fsync, &handlers);
    let store = load.open(Clock::machine()).unwrap();
    let accepted = store.push(vec![shout(&handlers)]).await[0].clone().unwrap();

    load.disk().fail_to_sync(true);
    let refused = store.push(vec![shout(&handlers)]).await[0].clone().unwrap_err();
    assert_eq!(refused.code, ErrorCode::StorageFailed, "{refused}");
    // What such a disk has kept is unknown, even if later syncs succeed.
    load.disk().fail_to_sync(false);
    let refused = store.push(vec![shout(&handlers)]).await[0].clone().unwrap_err();
    assert_eq!(refused.code, ErrorCode::StorageFailed, "{refused}");
    let counts = store.counts().await;
    assert!(counts.storage_error.is_some_and(|trouble| trouble.contains("disk")), "status says so");
    drop(store);

    load.start_again();
    let store = load.open(Clock::machine()).unwrap();
    let leases = store.take(0, 10).await;
    assert_eq!(leases[0].task.id, accepted.id);
    assert!(store.push(vec![shout(&handlers)]).await[0].is_ok());
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
    let done = Settlement {
        task: leases[0].task.id,
        token: leases[0].token,
        disposition: Disposition::Done(bytes::Bytes::from_static(b"1")),
        started_ms: 0,
        ran: Duration::ZERO,
        follow: Vec::new(),
    };
    assert_eq!(store.settle(vec![done]).await, [true]);
    assert_eq!(store.counts().await.ledger.done, 1);
    assert_eq!(store.take(0, 1).await.len(), 1, "what was accepted runs");

    load.disk().limit_space(None);
    clock.advance(Duration::from_secs(5));
    assert!(store.push(vec![shout(&handlers)]).await[0].is_ok(), "there is room again");
    let counts = store.counts().await;
    assert_eq!(counts.storage_error, None);
    assert_eq!(counts.ledger.accepted, counts.ledger.sum());
}

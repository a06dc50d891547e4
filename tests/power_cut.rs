//! Cuts the power at random moments and looks what is left: on a disk over memory that loses or tears what was not synced.

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

use disk::Disk;
use framework::protocol::{Durability, ErrorCode};
use framework::store::{Clock, Disposition, Settlement, Store};
use framework::task::{Handlers, NewTask};
use load::Load;
use rows::Rows;

#[test]
fn sqlite_alone_loses_nothing_that_was_synced_when_the_power_goes() {
    for seed in 0..20 {
        let mut rows = Rows::new(seed, "full");
        for cut in 0..25 {
            rows.survive().unwrap_or_else(|error| panic!("seed {seed}, cut {cut}: {error}"));
        }
    }
}

#[test]
fn what_was_not_synced_is_found_to_be_lost() {
    for synchronous in ["off", "normal"] {
        let lost = (0..20).filter(|seed| {
            let mut rows = Rows::new(*seed, synchronous);
            (0..5).any(|_| rows.survive().is_err())
        });
        assert!(lost.count() > 10, "synchronous={synchronous} loses what was committed");
    }
}

/// Cuts the power this often for each seed, on as many threads as there are cores; what was wrong after the first
/// cut that lost something, for each seed that had one.
fn cut(seeds: Range<u64>, cuts: usize, load: impl Fn(u64) -> Load + Sync) -> Vec<String> {
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
fn no_acknowledged_task_is_lost_when_the_power_goes_and_none_that_ended_before_runs_again() {
    let handlers = Arc::new(Handlers::collect().unwrap());
    let lost = cut(0..100, 20, |seed| Load::new(seed, Durability::Fsync, &handlers));
    assert!(lost.is_empty(), "{lost:#?}");
}

#[test]
fn a_store_that_does_not_sync_is_found_to_lose_tasks() {
    let handlers = Arc::new(Handlers::collect().unwrap());
    let lost = cut(0..10, 5, |seed| Load::new(seed, Durability::Async, &handlers));
    assert!(lost.len() > 5, "{lost:#?}");
}

#[test]
fn an_answer_before_its_commit_is_on_the_disk_is_found_out() {
    let handlers = Arc::new(Handlers::collect().unwrap());
    let lost = cut(0..10, 5, |seed| {
        let disk = Disk::new(seed);
        disk.lie_about_syncs();
        Load::on(disk, seed, Durability::Fsync, &handlers)
    });
    assert!(lost.len() > 5, "{lost:#?}");
}

fn shout(handlers: &Handlers) -> NewTask {
    NewTask::from_json(handlers, Some("test_shout"), bytes::Bytes::from_static(b"\"x\"")).unwrap()
}

#[tokio::test]
async fn a_sync_that_fails_ends_the_acceptance_of_tasks_until_the_next_start() {
    let handlers = Arc::new(Handlers::collect().unwrap());
    let mut load = Load::new(1, Durability::Fsync, &handlers);
    let store = load.open(Clock::machine()).unwrap();
    let accepted = store.push(vec![shout(&handlers)]).await[0].clone().unwrap();

    load.disk().fail_to_sync(true);
    let refused = store.push(vec![shout(&handlers)]).await[0].clone().unwrap_err();
    assert_eq!(refused.code, ErrorCode::StorageFailed, "{refused}");
    // Nobody knows what such a disk has kept, even if it says that it is well again.
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
async fn a_full_disk_refuses_tasks_and_settles_others_and_is_well_when_there_is_room() {
    let handlers = Arc::new(Handlers::collect().unwrap());
    let load = Load::new(2, Durability::Fsync, &handlers);
    let clock = Clock::fake(1_000_000);
    let store = load.open(clock.clone()).unwrap();
    store.push(vec![shout(&handlers), shout(&handlers)]).await;
    let leases = store.take(0, 1).await;

    load.disk().leave_room(Some(0));
    let refused = loop {
        // What the file holds ready for the ends of tasks may take some more of them first.
        match store.push((0..1_000).map(|_| shout(&handlers)).collect()).await.remove(0) {
            Ok(_) => {}
            Err(refused) => break refused,
        }
    };
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

    load.disk().leave_room(None);
    clock.advance(Duration::from_secs(5));
    assert!(store.push(vec![shout(&handlers)]).await[0].is_ok(), "there is room again");
    let counts = store.counts().await;
    assert_eq!(counts.storage_error, None);
    assert_eq!(counts.ledger.accepted, counts.ledger.sum());
}

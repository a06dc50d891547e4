//! Random schedules of everything that can happen to a store, checked step by step against a reference model.
//!
//! A failure names its seed, which `MODEL_SEED=7 cargo test --test main store::model::` plays alone.

mod admin_steps;
mod checks;
mod drafts;
mod player;
mod reference;
mod restart;
mod steps;
mod stores;
mod taking;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use framework::store::Disposition;
use framework::store::LeaseToken;
use framework::store::Rate;
use framework::store::StoreOptions;
use framework::store::WorkerGroup;
use framework::task::{Handlers, TaskId};
use framework::views::{BatchState, State};

use crate::harness::{variable, watchdog};
use drafts::QUEUES;
use player::Player;
use restart::LONG;
use steps::{Choice, Flavour, Settled, Step};
use stores::{Kind, Opened};

/// The bound on a test, each of which plays thousands of schedules.
const TIMEOUT: Duration = Duration::from_secs(20 * 60);
/// Names the only seed to play.
const SEED: &str = "MODEL_SEED";

/// In the schedules of seeds from here on, changes of many tasks are cut short by the end of the process.
const CUTS: u64 = 1 << 40;

/// Plays the schedule of a seed.
///
/// # Errors
/// Names the seed, every step up to the one that failed, and what was wrong with it.
fn play(kind: Kind, seed: u64, handlers: &Arc<Handlers>) -> Result<(), String> {
    let played = RefCell::new(Vec::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let schedule = || runtime.block_on(schedule(kind, seed, handlers.clone(), &played));
    let error = match catch_unwind(AssertUnwindSafe(schedule)) {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => format!("{error:#}"),
        Err(panic) => match panic.downcast::<String>() {
            Ok(message) => format!("it panicked: {message}"),
            Err(_) => "it panicked; see above".to_owned(),
        },
    };
    let steps: Vec<_> =
        played.borrow().iter().enumerate().map(|(number, step)| format!("{number:4}  {step:?}\n")).collect();
    Err(format!("{kind:?}, seed {seed}:\n{}{error}\n", steps.concat()))
}

async fn schedule(kind: Kind, seed: u64, handlers: Arc<Handlers>, played: &RefCell<Vec<Step>>) -> Result<()> {
    let mut random = Rng::with_seed(seed);
    let flavour =
        if seed >= CUTS { Flavour::of_cuts() } else { Flavour::random(&mut random, kind != Kind::Memory) };
    let policy = policy(&mut random, &flavour, &mut Rng::with_seed(!seed));
    let opened = Opened::new(kind, policy, handlers);
    let mut player = Player::new(opened);
    let mut tokens: Vec<(TaskId, LeaseToken)> = Vec::new();
    for _ in 0..random.usize(5..60) {
        let mut choice =
            Choice { random: &mut random, reference: &player.reference, flavour: &flavour, tokens: &tokens };
        let step = choice.step();
        played.borrow_mut().push(step.clone());
        player.play(&step).await?;
        match step {
            Step::Restart { .. } | Step::CutShort(_) => tokens.clear(),
            _ => tokens.extend(player.leases.values().map(|lease| (lease.task.id, lease.token))),
        }
        tokens.drain(..tokens.len().saturating_sub(20));
    }
    player.check_all().await?;
    finish(&mut player, played).await?;
    player.check_all().await.context("at the end")
}

/// Runs every task to its end: none may be left.
async fn finish(player: &mut Player, played: &RefCell<Vec<Step>>) -> Result<()> {
    let open = player.reference.batches.iter().filter(|(_, batch)| batch.state == BatchState::Open);
    let mut last: Vec<_> = open.map(|(id, _)| Step::Seal(*id)).collect();
    last.extend(QUEUES.map(|queue| Step::Pause(queue, false)));
    for step in last {
        played.borrow_mut().push(step.clone());
        player.play(&step).await?;
    }
    for _ in 0..200 {
        let ledger = player.reference.ledger();
        if ledger.waiting + ledger.running == 0 {
            return Ok(());
        }
        let mut round = vec![Step::Advance(LONG)];
        let lines = 0..player.reference.policy.groups.len();
        round.extend(lines.map(|line| Step::Take { line, limit: 100 }));
        for step in round {
            played.borrow_mut().push(step.clone());
            player.play(&step).await?;
        }
        let done = |(id, sheet): (TaskId, &reference::Sheet)| Settled {
            task: id,
            token: sheet.lease.expect("what runs is leased").token,
            disposition: Disposition::Done("null".into()),
            follow: Vec::new(),
        };
        let settle = Step::Settle(player.reference.in_state(State::Running).map(done).collect());
        played.borrow_mut().push(settle.clone());
        player.play(&settle).await?;
    }
    let left = player.reference.ledger();
    ensure!(left.waiting + left.running == 0, "these are left: {left:?}");
    Ok(())
}

/// `tiny` chooses what makes a store of few tasks do what others do with many.
fn policy(random: &mut Rng, flavour: &Flavour, tiny: &mut Rng) -> StoreOptions {
    let own = |queue: &str| WorkerGroup::Queue(queue.to_owned());
    let lines = match random.u8(..4) {
        0 => vec![own(QUEUES[1]), WorkerGroup::Others],
        1 => vec![WorkerGroup::Others, own(QUEUES[0]), own(QUEUES[2])],
        _ => vec![WorkerGroup::Others],
    };
    let defaults = StoreOptions::default();
    let may_forget = !flavour.jumps && random.u8(..4) == 0;
    StoreOptions {
        limit: if random.u8(..4) == 0 { random.usize(3..12) } else { defaults.limit },
        first_id: defaults.first_id,
        max_memory: defaults.max_memory,
        groups: lines,
        weights: if random.bool() {
            BTreeMap::from([(QUEUES[0].to_owned(), random.u32(1..10))])
        } else {
            BTreeMap::new()
        },
        rates: match random.u8(..4) {
            0 => BTreeMap::from([(
                QUEUES[2].to_owned(),
                Rate { count: random.u32(1..30), per: Duration::from_secs(10) },
            )]),
            _ => BTreeMap::new(),
        },
        // Changes take many steps, and bodies are read back, also with few tasks.
        hot_bytes: [defaults.hot_bytes, 1_000, 0][tiny.usize(..3)],
        local_functions: None,
        max_open_batches: defaults.max_open_batches,
        batch_idle_time: LONG * 10_000,
        batch_retention_count: 1_000,
        change_chunk: [defaults.change_chunk, 1, 2, 3][tiny.usize(..4)],
        oldest_first_every: if random.bool() { 0 } else { random.u32(1..4) },
        lease: Duration::from_secs(if flavour.leases { 30 } else { 10 * 24 * 60 * 60 }),
        idempotency_window: if flavour.jumps {
            LONG * 10_000
        } else {
            Duration::from_secs(random.u64(10..100))
        },
        retention_time: if may_forget { Duration::from_secs(30) } else { LONG * 10_000 },
        retention_count: if may_forget { random.usize(1..10) } else { defaults.retention_count },
        failed_retention_time: if may_forget { Duration::from_secs(50) } else { LONG * 10_000 },
        failed_retention_count: if may_forget {
            random.usize(1..10)
        } else {
            defaults.failed_retention_count
        },
        function_retention: if may_forget && random.bool() {
            BTreeMap::from([(drafts::LAST.to_owned(), Duration::from_secs(70))])
        } else {
            BTreeMap::new()
        },
    }
}

/// Plays the schedules of many seeds, on as many threads as there are cores.
///
/// Many fail together when one does: of those, the one with the fewest steps is shown.
fn play_all(kind: Kind, seeds: std::ops::Range<u64>) {
    /// The number of further schedules after one that failed.
    const MORE: u64 = 100;
    watchdog::allow(TIMEOUT);
    let handlers = Arc::new(Handlers::collect().unwrap());
    let seeds = match variable(SEED).map(|seed| seed.parse().expect(SEED)) {
        Some(seed) => seed..seed + 1,
        None => seeds,
    };
    let (next, end) = (AtomicU64::new(seeds.start), AtomicU64::new(seeds.end));
    let some = || {
        let mut shortest = None::<String>;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end.load(Ordering::Relaxed) {
                return shortest;
            }
            if let Err(failure) = play(kind, seed, &handlers) {
                end.fetch_min(seed + MORE, Ordering::Relaxed);
                let is_shorter = |other: &String| failure.lines().count() < other.lines().count();
                if shortest.as_ref().is_none_or(is_shorter) {
                    shortest = Some(failure);
                }
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let failures = std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(some)).collect();
        all.into_iter().filter_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    if let Some(shortest) = failures.iter().min_by_key(|failure| failure.lines().count()) {
        panic!("{shortest}");
    }
}

#[test]
fn memory_store_matches_the_model() {
    play_all(Kind::Memory, 0..8_000);
}

#[test]
fn sqlite_store_matches_the_model() {
    play_all(Kind::Sqlite, 0..400);
}

#[test]
fn store_over_a_fake_journal_matches_the_model() {
    play_all(Kind::Fake, 0..2_000);
    play_all(Kind::Fake, CUTS..CUTS + 500);
}

#[test]
fn store_over_a_journal_that_is_often_in_doubt_matches_the_model() {
    play_all(Kind::Doubtful, 0..200);
    play_all(Kind::Doubtful, CUTS..CUTS + 100);
}

#[test]
fn store_in_postgres_matches_the_model() {
    play_all(Kind::Postgres, 0..60);
    play_all(Kind::Postgres, CUTS..CUTS + 30);
}

#[test]
fn sqlite_store_goes_on_with_changes_that_were_cut_short() {
    play_all(Kind::Sqlite, CUTS..CUTS + 150);
}

#[test]
#[ignore = "plays until it is stopped: cargo test --test main store::model::stores_match_the_model_until_stopped -- --ignored"]
fn stores_match_the_model_until_stopped() {
    watchdog::allow(Duration::MAX);
    let start = Rng::new().u64(..u64::MAX / 2);
    for some in (start..u64::MAX / 2).step_by(2_000) {
        play_all(Kind::Memory, some..some + 2_000);
        play_all(Kind::Sqlite, some..some + 100);
        play_all(Kind::Fake, some..some + 1_000);
        play_all(Kind::Doubtful, some..some + 100);
        play_all(Kind::Postgres, some..some + 100);
    }
}

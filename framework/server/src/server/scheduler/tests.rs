//! Schedules with a fake clock, over a store that outlives the scheduler.

use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, process};

use framework_console::config::Config;
use framework_macros::Task;
use framework_protocol::task::{Attempt, Handle, Handlers, RegisteredFunction, Registration};
use framework_protocol::views::{Filter, Threads};
use serde::{Deserialize, Serialize};

use super::*;
use crate::server::metrics::Metrics;
use crate::store::{Disposition, Memory, Settlement, StoreOptions};

#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_tick")]
struct Tick;

impl Handle for Tick {
    type Output = ();

    async fn handle(self, _attempt: &Attempt) -> Result<()> {
        Ok(())
    }
}

const HOUR_MS: u64 = 60 * 60 * 1_000;
const HOUR: Duration = Duration::from_millis(HOUR_MS);
/// Half past midnight, so that the hourly schedule next runs half an hour later.
const START_MS: u64 = 1_000 * 24 * HOUR_MS + HOUR_MS / 2;

/// A store and its clock, which go on while schedulers come and go.
struct World {
    clock: Clock,
    handlers: Arc<Handlers>,
    store: Arc<dyn Store>,
}

impl World {
    fn new(limit: usize) -> Self {
        let clock = Clock::fake(START_MS);
        let handlers = Arc::new(Handlers::collect().unwrap());
        let policy = StoreOptions { limit, ..StoreOptions::default() };
        let store = Arc::new(Memory::new(policy, handlers.clone(), clock.clone()));
        Self { clock, handlers, store }
    }

    /// A scheduler of one schedule, `hourly`, with more settings.
    async fn open(&self, more: &str) -> Scheduler {
        self.open_file(&format!("[hourly]\nfunction = \"test_tick\"\ncron = \"@hourly\"\n{more}\n")).await
    }

    async fn open_file(&self, file: &str) -> Scheduler {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("think-scheduler-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let root = env::temp_dir().join(name);
        fs::create_dir_all(root.join("config")).unwrap();
        // Registered for the tests of schedules.
        let others = "[test_sweep]\nenabled = false\n[test_remind]\nargs.whom = \"\"\nenabled = false\n";
        let file = format!("{file}\n{others}");
        fs::write(root.join("config/schedule.toml"), file).unwrap();
        let schedules = Schedules::collect(&Config::at(&root, []), &self.handlers).unwrap();
        fs::remove_dir_all(&root).unwrap();
        let metrics = Arc::new(Metrics::new(self.store.clone(), Vec::new(), Threads { io: 1, task: 1 }));
        let queue = Intake::new(
            self.store.clone(),
            self.handlers.clone(),
            &crate::server::ServerSettings::default(),
            metrics,
        );
        Scheduler::open(schedules, queue, self.store.clone(), self.clock.clone()).await.unwrap()
    }

    async fn accepted(&self) -> u64 {
        self.store.counts().await.ledger.accepted
    }

    async fn info(&self) -> ScheduleInfo {
        match self.store.query(Query::Schedules).await.unwrap() {
            QueryResult::Schedules(stories) => {
                stories.into_iter().find(|story| story.name == "hourly").unwrap()
            }
            found => panic!("{found:?}"),
        }
    }

    /// The keys of the waiting tasks, the oldest first.
    async fn keys(&self) -> Vec<String> {
        let filter = Filter { limit: 10, ..Filter::default() };
        let QueryResult::Tasks(tasks) = self.store.query(Query::Tasks(filter)).await.unwrap() else {
            panic!()
        };
        let mut keys = Vec::new();
        for task in tasks.iter().rev() {
            let QueryResult::Task(story) = self.store.query(Query::Task(task.id)).await.unwrap() else {
                panic!()
            };
            keys.extend(story.key);
        }
        keys
    }

    /// Runs a waiting task to its end.
    async fn finish_one(&self) {
        self.store.wake_workers();
        let lease = self.store.take(0, 1).await.pop().unwrap();
        let disposition = Disposition::Done("null".into());
        let (task, token) = (lease.task.id, lease.token);
        let ran = Duration::ZERO;
        let settlement =
            Settlement { task, token, disposition, started_ms: 0, ran, worker: None, follow: Vec::new() };
        assert_eq!(self.store.settle(vec![settlement]).await, [true]);
    }
}

#[tokio::test]
async fn scheduler_makes_one_task_a_time_and_records_it() {
    let world = World::new(10);
    let scheduler = world.open("").await;
    assert_eq!(scheduler.fire_due().await, MAX_SLEEP);
    assert_eq!(world.accepted().await, 0, "a new schedule begins now");
    world.clock.advance(HOUR / 2);
    scheduler.fire_due().await;
    scheduler.fire_due().await;
    assert_eq!(world.accepted().await, 1);
    let time = START_MS + HOUR_MS / 2;
    let story = world.info().await;
    assert_eq!((story.seen_ms, story.fired_ms, story.task), (Some(time), Some(time), Some(0)));
    assert_eq!(world.keys().await, ["schedule/hourly/1972-09-27T01:00:00Z"]);
}

#[tokio::test]
async fn scheduler_sleeps_until_the_next_time() {
    let world = World::new(10);
    let scheduler = world.open("").await;
    world.clock.advance(HOUR / 2 - Duration::from_millis(400));
    assert_eq!(scheduler.fire_due().await, Duration::from_millis(400));
}

#[tokio::test]
async fn scheduler_after_a_restart_repeats_no_time_and_applies_the_missed_policy() {
    for (missed, tasks) in [("skip", 1), ("once", 2), ("all", 4)] {
        let world = World::new(10);
        let more = format!("missed = \"{missed}\"");
        let scheduler = world.open(&more).await;
        world.clock.advance(HOUR / 2);
        scheduler.fire_due().await;
        drop(scheduler);
        let scheduler = world.open(&more).await;
        scheduler.fire_due().await;
        assert_eq!(world.accepted().await, 1, "{missed}: nothing was missed yet");
        drop(scheduler);
        world.clock.advance(3 * HOUR + Duration::from_secs(120));
        world.open(&more).await.fire_due().await;
        assert_eq!(world.accepted().await, tasks, "{missed}");
    }
}

#[tokio::test]
async fn scheduler_after_a_crash_before_the_record_makes_no_second_task() {
    let world = World::new(10);
    let scheduler = world.open("").await;
    world.clock.advance(HOUR / 2);
    scheduler.fire_due().await;
    // As if the note had not been written.
    let note = ScheduleNote { seen_ms: Some(START_MS), ..ScheduleNote::default() };
    world.store.apply(AdminCommand::Schedule { name: "hourly".to_owned(), note }).await.unwrap();
    world.open("").await.fire_due().await;
    assert_eq!(world.accepted().await, 1);
    assert_eq!(world.info().await.seen_ms, Some(START_MS + HOUR_MS / 2));
}

#[tokio::test]
async fn rejected_run_is_tried_again() {
    let world = World::new(2);
    let scheduler = world.open("missed = \"all\"").await;
    world.clock.advance(3 * HOUR);
    assert_eq!(scheduler.fire_due().await, MAX_SLEEP);
    assert_eq!(world.accepted().await, 2, "the third finds no room");
    assert_eq!(scheduler.fire_due().await, MAX_SLEEP);
    world.finish_one().await;
    scheduler.fire_due().await;
    assert_eq!(world.accepted().await, 3);
    assert_eq!(world.keys().await.last().unwrap(), "schedule/hourly/1972-09-27T03:00:00Z");
}

#[tokio::test]
async fn run_of_a_function_that_is_registered_later_is_made_up_for() {
    let world = World::new(10);
    let file = "[hourly]\nfunction = \"picture\"\nargs.width = 1\ncron = \"@hourly\"\n";
    let scheduler = world.open_file(file).await;
    world.clock.advance(2 * HOUR);
    scheduler.fire_due().await;
    assert_eq!(world.accepted().await, 0, "nobody knows the function");
    let mut infos = vec![world.info().await];
    scheduler.describe(&mut infos).await;
    assert!(infos[0].error.as_ref().unwrap().contains("\"picture\""), "{infos:?}");
    let registration = Registration { name: "picture".into(), ..Registration::default() };
    world.handlers.register(RegisteredFunction::new(registration, Box::new(|_| Ok(()))));
    scheduler.fire_due().await;
    assert_eq!(world.accepted().await, 1, "the last one of the missed times");
    assert_eq!(world.keys().await, ["schedule/hourly/1972-09-27T02:00:00Z"]);
    scheduler.describe(&mut infos).await;
    assert_eq!(infos[0].error, None);
}

#[tokio::test]
async fn overlapping_run_is_skipped_also_after_a_restart() {
    let world = World::new(10);
    let scheduler = world.open("overlap = \"skip\"").await;
    world.clock.advance(HOUR);
    scheduler.fire_due().await;
    world.clock.advance(HOUR);
    scheduler.fire_due().await;
    assert_eq!(world.accepted().await, 1, "the first has not ended");
    world.clock.advance(HOUR);
    let scheduler = world.open("overlap = \"skip\"").await;
    scheduler.fire_due().await;
    assert_eq!(world.accepted().await, 1, "the first has still not ended");
    world.finish_one().await;
    scheduler.fire_due().await;
    assert_eq!(world.accepted().await, 1, "what was skipped stays so");
    world.clock.advance(HOUR);
    scheduler.fire_due().await;
    assert_eq!(world.accepted().await, 2);
}

#[tokio::test]
async fn pause_skips_its_times_also_across_restarts() {
    let world = World::new(10);
    let scheduler = world.open("missed = \"all\"").await;
    scheduler.pause("hourly", true).await.unwrap();
    world.clock.advance(2 * HOUR);
    assert_eq!(scheduler.fire_due().await, MAX_SLEEP);
    let scheduler = world.open("missed = \"all\"").await;
    scheduler.fire_due().await;
    assert!(world.info().await.paused);
    world.clock.advance(2 * HOUR);
    scheduler.pause("hourly", false).await.unwrap();
    world.open("missed = \"all\"").await.fire_due().await;
    assert_eq!(world.accepted().await, 0);
    world.clock.advance(HOUR);
    scheduler.fire_due().await;
    assert_eq!(world.accepted().await, 1);
}

#[tokio::test]
async fn disabled_or_removed_schedule_skips_its_times() {
    for without in ["[hourly]\nfunction = \"test_tick\"\ncron = \"@hourly\"\nenabled = false", ""] {
        let world = World::new(10);
        world.open("missed = \"all\"").await;
        let scheduler = world.open_file(without).await;
        world.clock.advance(5 * HOUR);
        assert_eq!(scheduler.fire_due().await, MAX_SLEEP);
        world.open("missed = \"all\"").await.fire_due().await;
        assert_eq!(world.accepted().await, 0, "{without}");
    }
}

/// Half past midnight, then a run at one, then the clock is set back to half past midnight plus `late`, and
/// goes on for an hour: the number of runs.
async fn runs_around_a_clock_set_back(cron: &str, by: Duration) -> u64 {
    let world = World::new(10);
    let file = format!("[hourly]\nfunction = \"test_tick\"\ncron = \"{cron}\"\n");
    let scheduler = world.open_file(&file).await;
    world.clock.advance(HOUR);
    scheduler.fire_due().await;
    assert_eq!(world.accepted().await, 1, "{cron}");
    world.clock.set(START_MS + HOUR_MS - by.as_millis() as u64);
    scheduler.fire_due().await;
    for _ in 0..by.as_secs() / 900 {
        world.clock.advance(Duration::from_secs(900));
        scheduler.fire_due().await;
    }
    world.accepted().await
}

#[tokio::test]
async fn clock_set_back_repeats_wildcards_and_no_fixed_times() {
    assert_eq!(runs_around_a_clock_set_back("@hourly", HOUR).await, 2);
    assert_eq!(runs_around_a_clock_set_back("0 * * * *", 2 * HOUR).await, 3);
    assert_eq!(runs_around_a_clock_set_back("0 1 * * *", HOUR).await, 1, "that time has had its run");
    assert_eq!(runs_around_a_clock_set_back("0 1 * * *", 4 * HOUR).await, 2, "the clock was wrong before");
}

#[tokio::test]
async fn clock_set_back_leaves_the_next_time_of_the_list_true() {
    let world = World::new(10);
    let scheduler = world.open("").await;
    world.clock.advance(HOUR);
    scheduler.fire_due().await;
    world.clock.set(START_MS);
    scheduler.fire_due().await;
    let mut infos = [world.info().await];
    scheduler.describe(&mut infos).await;
    assert_eq!(infos[0].next_ms, Some(START_MS + HOUR_MS / 2));
    assert_eq!(infos[0].cron.as_deref(), Some("@hourly"));
}

#[tokio::test]
async fn clock_set_back_while_no_server_ran_repeats_wildcards() {
    let world = World::new(10);
    let scheduler = world.open("").await;
    world.clock.advance(HOUR);
    scheduler.fire_due().await;
    drop(scheduler);
    world.clock.set(START_MS);
    let scheduler = world.open("").await;
    scheduler.fire_due().await;
    world.clock.advance(HOUR);
    scheduler.fire_due().await;
    assert_eq!(world.accepted().await, 2);
}

#[tokio::test]
async fn run_now_leaves_the_times_unchanged() {
    let world = World::new(10);
    let scheduler = world.open("enabled = false").await;
    assert_eq!(scheduler.run_now("hourly").await, Ok(0));
    assert_eq!(world.info().await.fired_ms, None);
    let refusal = scheduler.run_now("hurly").await.unwrap_err();
    assert_eq!(refusal.to_string(), "There is no schedule \"hurly\". Did you mean \"hourly\"?");
}

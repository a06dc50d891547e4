//! The store's promises about tasks whose function the program does not contain, for each store.

mod attempts;
mod faults;
mod history;
mod releases;
mod repair;
mod restarts;

use std::path::PathBuf;

use framework_protocol::task::Handlers;
use framework_protocol::views::{Filter, TaskDetails, TaskSelector, TaskSummary};

use super::fake_journal::FakePlace;
use super::sqlite::SqliteOptions;
use super::*;

/// A folder that is removed with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("framework-store-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn open(&self) -> Sqlite {
        let file = SqliteOptions::at(self.0.join("queue.db"));
        Sqlite::open(file, StoreOptions::default(), Arc::new(Handlers::default())).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// The place of a journal, over which one store is opened after the other.
enum Place {
    File(Folder),
    Fake(FakePlace),
}

/// A place for each kind of journal.
fn places(name: &str) -> [Place; 2] {
    [Place::File(Folder::new(name)), Place::Fake(FakePlace::new(Clock::machine()))]
}

impl Place {
    fn open(&self) -> Box<dyn Store> {
        self.open_with(StoreOptions::default(), Clock::machine())
    }

    fn open_with(&self, options: StoreOptions, clock: Clock) -> Box<dyn Store> {
        let rules = Arc::new(Handlers::default());
        match self {
            Self::File(folder) => {
                let file = SqliteOptions { clock, ..SqliteOptions::at(folder.0.join("queue.db")) };
                Box::new(Sqlite::open(file, options, rules).unwrap())
            }
            Self::Fake(place) => Box::new(place.with_clock(clock).open(options, rules).unwrap()),
        }
    }
}

fn memory() -> Memory {
    Memory::new(StoreOptions::default(), Arc::new(Handlers::default()), Clock::machine())
}

fn unknown() -> NewTask {
    NewTask { attempts: 3, ..NewTask::without_handler("unknown_here", "7".into()) }
}

async fn park(store: &dyn Store, id: TaskId) {
    let mut leases = store.take(0, 1).await;
    let lease = leases.pop().expect("it is due");
    assert_eq!((lease.task.id, &*lease.task.new.function, lease.task.new.attempts), (id, "unknown_here", 3));
    let settlement = Settlement {
        task: id,
        token: lease.token,
        disposition: Disposition::Park,
        started_ms: 0,
        ran: Duration::ZERO,
        worker: None,
        follow: Vec::new(),
    };
    assert_eq!(store.settle(vec![settlement]).await, [true]);
}

async fn details(store: &dyn Store, id: TaskId) -> TaskDetails {
    match store.query(Query::Task(id)).await.unwrap() {
        QueryResult::Task(details) => *details,
        other => panic!("{other:?}"),
    }
}

async fn list(store: &dyn Store) -> Vec<TaskSummary> {
    match store.query(Query::Tasks(Filter { limit: 10, ..Filter::default() })).await.unwrap() {
        QueryResult::Tasks(tasks) => tasks,
        other => panic!("{other:?}"),
    }
}

async fn parked_task_waits_is_shown_and_can_be_cancelled(store: &dyn Store) {
    let id = store.push(vec![unknown()]).await[0].clone().unwrap().id;
    park(store, id).await;
    assert!(store.take(0, 1).await.is_empty(), "it is not leased again");
    let shown = details(store, id).await;
    assert_eq!((shown.summary.state, shown.summary.parked), (State::Waiting, true));
    assert_eq!((shown.summary.attempts, shown.max_attempts), (0, 3));
    assert!(list(store).await[0].parked);
    let counts = store.counts().await;
    let depth = counts.queues["default"];
    assert_eq!((counts.ledger.waiting, depth.waiting, depth.parked), (1, 0, 1));
    store.apply(AdminCommand::Cancel(TaskSelector::Task(id))).await.unwrap();
    assert_eq!(details(store, id).await.summary.state, State::Cancelled);
    assert_eq!(store.counts().await.queues["default"].parked, 0);
}

#[tokio::test]
async fn memory_parks_tasks_of_unknown_functions() {
    parked_task_waits_is_shown_and_can_be_cancelled(&memory()).await;
}

#[tokio::test]
async fn durable_store_parks_tasks_of_unknown_functions() {
    for place in places("parked") {
        parked_task_waits_is_shown_and_can_be_cancelled(&*place.open()).await;
    }
}

#[tokio::test]
async fn durable_store_leases_a_parked_task_again_after_a_restart() {
    for place in places("restart") {
        let store = place.open();
        let id = store.push(vec![unknown()]).await[0].clone().unwrap().id;
        park(&*store, id).await;
        drop(store);
        let store = place.open();
        assert!(!details(&*store, id).await.summary.parked);
        park(&*store, id).await;
    }
}

#[tokio::test]
async fn push_observed_names_each_accepted_task_before_it_can_be_taken() {
    let folder = Folder::new("observed");
    let (memory, sqlite, fake) = (memory(), folder.open(), FakePlace::new(Clock::machine()));
    let fake = fake.open(StoreOptions::default(), Arc::new(Handlers::default())).unwrap();
    for store in [&memory as &dyn Store, &sqlite, &fake] {
        let keyed = || {
            let mut task = unknown();
            task.extra_mut().key = Some("once".into());
            task
        };
        let (seen, observed) = std::sync::mpsc::channel();
        let tasks = vec![keyed(), unknown(), keyed()];
        let observer: OnAccepted = Box::new(move |accepted| seen.send(accepted.collect::<Vec<_>>()).unwrap());
        let results = store.push_observed(tasks, observer).await;
        let accepted: Vec<_> = results.into_iter().map(Result::unwrap).enumerate().collect();
        assert_eq!(observed.recv().unwrap(), accepted);
        assert!(accepted[0].1.is_new() && !accepted[2].1.is_new());
        store.close();
        let dropped: OnAccepted = Box::new(|_| panic!("none is accepted"));
        assert!(store.push_observed(vec![unknown()], dropped).await[0].is_err());
    }
}

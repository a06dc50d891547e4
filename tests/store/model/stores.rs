//! The stores under test: how each is opened, and how its process ends and another one starts.

use std::ffi::OsString;
use std::fs;
use std::sync::Arc;

use fastrand::Rng;
use framework::postgres::{Postgres, PostgresOptions};
use framework::protocol::Durability;
use framework::store::durable::journal::JournalErrorKind;
use framework::store::fake_journal::{FakeContent, FakeFault, FakePlace};
use framework::store::sqlite::{QueueLocked, SqliteOptions};
use framework::store::{Clock, Memory, Sqlite, Store, StoreOptions};
use framework::task::Handlers;
use tempfile::TempDir;

use crate::harness::eventually::eventually;
use crate::harness::postgres::Cluster;

/// The kind of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Memory,
    Sqlite,
    Fake,
    /// One that often does not know whether it has written.
    Doubtful,
    Postgres,
}

/// What a process that is killed leaves.
enum Left {
    Files(Vec<(OsString, Vec<u8>)>),
    Content(Box<FakeContent>),
}

/// A store that is open.
pub(super) struct Opened {
    kind: Kind,
    pub(super) policy: StoreOptions,
    pub(super) clock: Clock,
    pub(super) handlers: Arc<Handlers>,
    /// `None` between two processes.
    store: Option<Arc<dyn Store>>,
    directory: TempDir,
    place: FakePlace,
    /// Of the database.
    schema: String,
}

impl Opened {
    pub(super) fn new(kind: Kind, policy: StoreOptions, handlers: Arc<Handlers>) -> Self {
        // The first day of 2026.
        let clock = Clock::fake(1_767_225_600_000);
        let place = FakePlace::new(clock.clone());
        if kind == Kind::Doubtful {
            place.fail(doubts());
        }
        let directory = TempDir::new().unwrap();
        let schema = if kind == Kind::Postgres { Cluster::shared().schema() } else { String::new() };
        let mut opened = Self { kind, policy, clock, handlers, store: None, directory, place, schema };
        opened.open();
        opened
    }

    pub(super) fn store(&self) -> &Arc<dyn Store> {
        self.store.as_ref().expect("it is closed only between two processes")
    }

    /// `true` if its content outlives its process.
    pub(super) fn survives(&self) -> bool {
        self.kind != Kind::Memory
    }

    /// Whether the store refuses requests now and then, because it does not know what is written.
    pub(super) fn may_be_in_doubt(&self) -> bool {
        self.kind == Kind::Doubtful
    }

    /// Waits until all is written; in doubt, the store answers before that.
    pub(super) async fn is_written(&self) {
        while self.may_be_in_doubt() {
            let before = self.place.failures();
            self.store().flush().await;
            let is_known = self.store().counts().await.storage_error.is_none();
            if is_known && self.place.failures() == before {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// The process is killed, or ends properly, and another one opens the store.
    pub(super) fn restart(&mut self, crash: bool) {
        let left = crash.then(|| self.left());
        self.store().close();
        self.store = None;
        match left {
            None => {}
            Some(Left::Content(content)) => self.place.restore(*content),
            Some(Left::Files(files)) => {
                for (name, bytes) in files {
                    fs::write(self.directory.path().join(name), bytes).unwrap();
                }
            }
        }
        self.clock = Clock::fake(self.clock.now().wall_ms);
        self.open();
    }

    /// A process that is killed leaves everything as it is at that moment.
    fn left(&self) -> Left {
        match self.kind {
            Kind::Fake | Kind::Doubtful => Left::Content(Box::new(self.place.content())),
            Kind::Sqlite => Left::Files(self.files()),
            // What is on its way to the database comes there.
            Kind::Memory | Kind::Postgres => Left::Files(Vec::new()),
        }
    }

    fn files(&self) -> Vec<(OsString, Vec<u8>)> {
        let entries = fs::read_dir(self.directory.path()).unwrap().map(Result::unwrap);
        // The next process does not trust the memory that the connections of the last one shared.
        let files = entries.filter(|entry| !entry.file_name().to_string_lossy().ends_with("-shm"));
        files.map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap())).collect()
    }

    fn open(&mut self) {
        let (policy, handlers, clock) = (self.policy.clone(), self.handlers.clone(), self.clock.clone());
        self.store = Some(match self.kind {
            Kind::Memory => Arc::new(Memory::new(policy, handlers, clock)),
            Kind::Sqlite => {
                let file = self.directory.path().join("queue.db");
                // Power stays on here; power_cut.rs is about that.
                let opening =
                    SqliteOptions { durability: Durability::Async, clock, ..SqliteOptions::at(file) };
                let open = || match Sqlite::open(opening.clone(), policy.clone(), handlers.clone()) {
                    Ok(store) => Some(store),
                    // A child that another test forks has the lock, too, until it runs its program.
                    Err(error) if error.downcast_ref::<QueueLocked>().is_some() => None,
                    Err(error) => panic!("{error:#}"),
                };
                Arc::new(eventually("the queue is unlocked", open))
            }
            Kind::Postgres => {
                let file = self.directory.path().join("queue");
                let mut place = PostgresOptions::parse(&Cluster::shared().address(), file).unwrap();
                (place.clock, place.durability) = (clock, Durability::Async);
                place.schema.clone_from(&self.schema);
                let open = || match Postgres::start(place.clone(), policy.clone(), handlers.clone()) {
                    Ok(store) => Some(store),
                    Err(error) if error.downcast_ref::<QueueLocked>().is_some() => None,
                    Err(error) => panic!("{error:#}"),
                };
                Arc::new(eventually("the queue is unlocked", open))
            }
            Kind::Fake | Kind::Doubtful => {
                Arc::new(self.place.with_clock(clock).open(policy, handlers).unwrap())
            }
        });
    }
}

/// Answers that are lost and calls that are, in one of sixteen calls.
fn doubts() -> impl Iterator<Item = Option<FakeFault>> {
    let mut random = Rng::with_seed(7);
    (0..1_000).map(move |_| match random.u8(..32) {
        0 => Some(FakeFault::After),
        1 => Some(FakeFault::Before(JournalErrorKind::InDoubt)),
        _ => None,
    })
}

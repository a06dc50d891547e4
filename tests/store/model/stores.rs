//! The stores under test: how each is opened, and how its process ends and another one starts.

use std::fs;
use std::sync::Arc;

use framework::protocol::Durability;
use framework::store::sqlite::{QueueLocked, SqliteOptions};
use framework::store::{Clock, Memory, Sqlite, Store, StoreOptions};
use framework::task::Handlers;
use tempfile::TempDir;

use crate::harness::eventually::eventually;

/// The kind of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Memory,
    Sqlite,
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
}

impl Opened {
    pub(super) fn new(kind: Kind, policy: StoreOptions, handlers: Arc<Handlers>) -> Self {
        // The first day of 2026.
        let clock = Clock::fake(1_767_225_600_000);
        let mut opened =
            Self { kind, policy, clock, handlers, store: None, directory: TempDir::new().unwrap() };
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

    /// The process is killed, or ends properly, and another one opens the store.
    pub(super) fn restart(&mut self, crash: bool) {
        // A process that is killed leaves its files as they are at that moment.
        let left = crash.then(|| self.files());
        self.store().close();
        self.store = None;
        for (name, bytes) in left.into_iter().flatten() {
            fs::write(self.directory.path().join(name), bytes).unwrap();
        }
        self.clock = Clock::fake(self.clock.now().wall_ms);
        self.open();
    }

    fn files(&self) -> Vec<(std::ffi::OsString, Vec<u8>)> {
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
        });
    }
}

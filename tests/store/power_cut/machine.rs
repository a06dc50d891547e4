//! A queue on a disk that loses its power, and the next process, which finds what the cut has left.

use std::sync::Arc;

use fastrand::Rng;
use framework::protocol::Durability;
use framework::store::sqlite::SqliteOptions;
use framework::store::{Clock, Sqlite, StoreOptions};
use framework::task::Handlers;

use super::disk::Disk;
use super::vfs::{Mounted, VFS};

/// The directory of a queue, and its disk.
pub(super) struct Machine {
    directory: tempfile::TempDir,
    /// `None` only while one disk replaces another.
    mounted: Option<Mounted>,
    handlers: Arc<Handlers>,
}

impl Machine {
    pub(super) fn with(disk: Disk, handlers: &Arc<Handlers>) -> Self {
        let directory = tempfile::TempDir::new().unwrap();
        Self { mounted: Some(Mounted::at(directory.path(), disk)), directory, handlers: handlers.clone() }
    }

    pub(super) fn disk(&self) -> Arc<Disk> {
        self.mounted.as_ref().expect("there always is a disk").disk.clone()
    }

    pub(super) fn handlers(&self) -> &Handlers {
        &self.handlers
    }

    pub(super) fn open(
        &self,
        durability: Durability,
        clock: Clock,
        options: StoreOptions,
    ) -> anyhow::Result<Sqlite> {
        let file = self.directory.path().join("queue.db");
        let file = SqliteOptions { durability, clock, vfs: Some(VFS.to_owned()), ..SqliteOptions::at(file) };
        Sqlite::open(file, options, self.handlers.clone())
    }

    /// Cuts the power; the next process finds what that has left.
    pub(super) fn start_again(&mut self, random: &mut Rng) {
        let left = self.disk().after_power_cut(random);
        // Unmounts first: a directory has only one disk.
        self.mounted = None;
        self.mounted = Some(Mounted::at(self.directory.path(), left));
    }
}

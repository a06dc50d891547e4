//! The figures of a queue's file: what was written, how long that took, and the room that is left.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::SqliteShared;
use super::journal::Entry;
use crate::store::{DiskFigures, StoreFigures};

/// The transactions since the file was opened. Only the thread that writes adds to them.
#[derive(Debug, Default)]
pub(super) struct CommitCounts {
    commits: AtomicU64,
    nanoseconds: AtomicU64,
    entries: AtomicU64,
}

impl CommitCounts {
    /// Counts a transaction of so many tasks and events.
    pub(super) fn add(&self, entries: u64, time: Duration) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
        self.entries.fetch_add(entries, Ordering::Relaxed);
    }
}

impl Entry<'_> {
    /// The number of tasks, or of events of tasks.
    pub(super) fn count(&self) -> u64 {
        match self {
            Self::Tasks(tasks) => tasks.len() as u64,
            Self::Record(_) => 1,
        }
    }
}

impl SqliteShared {
    /// The figures since the file was opened; asks the file system.
    pub(super) fn figures(&self) -> StoreFigures {
        let accepted = self.state().index.accepted();
        let CommitCounts { commits, nanoseconds, entries } = &self.commits;
        let mut disk = DiskFigures {
            commits: commits.load(Ordering::Relaxed),
            commit_time: Duration::from_nanos(nanoseconds.load(Ordering::Relaxed)),
            entries: entries.load(Ordering::Relaxed),
            ..DiskFigures::default()
        };
        if let Some(lock) = &self.lock {
            let length = |path| fs::metadata(path).map_or(0, |file| file.len());
            disk.file_bytes = length(lock.resolved());
            disk.log_bytes = length(lock.log());
            let room = rustix::fs::statvfs(lock.resolved()).ok();
            disk.free_bytes = room.map(|room| room.f_bavail.saturating_mul(room.f_frsize));
        }
        StoreFigures { accepted, disk: Some(disk) }
    }
}

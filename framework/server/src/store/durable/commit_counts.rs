//! The figures of a journal: what was written, and how long that took.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::DurableShared;
use super::journal::JournalReader;
use crate::store::{DiskFigures, StoreFigures};

/// The transactions since the journal was opened. Only the thread that writes adds to them.
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

impl<R: JournalReader> DurableShared<R> {
    /// The figures since the journal was opened; asks it, which may block.
    pub(super) fn figures(&self) -> StoreFigures {
        let accepted = self.state().index.accepted();
        let CommitCounts { commits, nanoseconds, entries } = &self.commits;
        let mut disk = DiskFigures {
            commits: commits.load(Ordering::Relaxed),
            commit_time: Duration::from_nanos(nanoseconds.load(Ordering::Relaxed)),
            entries: entries.load(Ordering::Relaxed),
            ..DiskFigures::default()
        };
        self.reader.measure(&mut disk);
        StoreFigures { accepted, disk: Some(disk) }
    }
}

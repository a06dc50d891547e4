//! Copies the write-ahead log into the file, early enough for the room that the disk has left.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Result};
use rustix::process::{Resource, getrlimit};

use super::schema::PAGE_BYTES;

/// The most pages of the log before it is copied into the file.
const LOG_PAGES: u32 = 4_096;
/// The most while a change of many tasks is under way, which makes it long in no time: pushes wait for the
/// copying. A change seldom writes a page twice, so that copying more often costs little.
const LOG_PAGES_OF_CHANGE: u32 = 512;
/// The fewest: smaller ones would sync too often.
const LOG_PAGES_MIN: u32 = 32;
/// The log may take this part of the room that is left, so that the file can take all that is in it; and of
/// the size that a file may have at all.
const SHARE_OF_ROOM: u64 = 8;
/// The pause before another try after one that failed.
const PAUSE: Duration = Duration::from_secs(1);
/// The pause when a query still needed a part of the log, which is over in a moment: the log grows meanwhile,
/// and on a small disk it soon takes all room.
const READER_PAUSE: Duration = Duration::from_millis(10);

/// The log of the connection that writes.
#[derive(Debug)]
pub(super) struct Checkpoints {
    /// The pages of the log that are not known to be in the file.
    pages: Arc<AtomicU32>,
    /// The folder of the file; `None` for one in a VFS of a test.
    folder: Option<PathBuf>,
    /// The size in pages that the log has after it was copied.
    kept: u32,
    not_before: Option<Instant>,
    /// The last error; `None` since the last success.
    error: Option<String>,
}

impl Checkpoints {
    /// Takes the place of SQLite's own checkpoints, whose errors nobody would see.
    pub(super) fn of(connection: &mut Connection, folder: Option<PathBuf>) -> Result<Self> {
        let pages = Arc::new(AtomicU32::new(0));
        let written = pages.clone();
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, count: i32| {
            written.store(count.unsigned_abs(), Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self { pages, folder, kept: 0, not_before: None, error: None })
    }

    /// Copies the log if it has become long, which is less while a change of many tasks is under way.
    pub(super) fn run(&mut self, connection: &Connection, is_changing: bool) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < LOG_PAGES_MIN || self.not_before.is_some_and(|time| Instant::now() < time) {
            return;
        }
        let limit = self.limit();
        if pages >= if is_changing { limit.min(LOG_PAGES_OF_CHANGE) } else { limit } {
            self.keep(connection, limit);
            let copied = self.copy(connection, "PASSIVE");
            self.note(copied.map(drop));
        }
    }

    /// Copies all of the log and empties it; `false` if a reader or the disk does not permit it.
    pub(super) fn empty(&mut self, connection: &Connection) -> bool {
        let copied = self.copy(connection, "TRUNCATE");
        let is_empty = copied.as_ref().is_ok_and(|is_whole| *is_whole);
        self.note(copied.map(drop));
        is_empty
    }

    /// Why the log could not be copied the last time.
    pub(super) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// The pages that the log may have now: a power of two, so that it seldom changes.
    fn limit(&self) -> u32 {
        let disk = self.folder.as_ref().and_then(|folder| rustix::fs::statvfs(folder).ok());
        let Some(disk) = disk else { return LOG_PAGES };
        let room = disk.f_bavail.saturating_mul(disk.f_frsize);
        let file_size = getrlimit(Resource::Fsize).current.unwrap_or(u64::MAX);
        let room = room.min(file_size) / SHARE_OF_ROOM / u64::from(PAGE_BYTES);
        let pages = u32::try_from(room).unwrap_or(LOG_PAGES).clamp(LOG_PAGES_MIN, LOG_PAGES);
        1 << pages.ilog2()
    }

    /// Lets the log keep no more pages than this when it begins anew.
    fn keep(&mut self, connection: &Connection, pages: u32) {
        let bytes = i64::from(pages) * i64::from(PAGE_BYTES);
        if self.kept != pages && connection.pragma_update(None, "journal_size_limit", bytes).is_ok() {
            self.kept = pages;
        }
    }

    /// Copies the log; `false` if a reader still needs a part of it.
    fn copy(&mut self, connection: &Connection, mode: &str) -> Result<bool> {
        let sql = format!("PRAGMA wal_checkpoint({mode})");
        let numbers =
            |row: &rusqlite::Row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
        let (busy, all, copied) = connection.query_row(&sql, [], numbers)?;
        let is_whole = busy == 0 && all == copied;
        if is_whole {
            self.pages.store(0, Ordering::Relaxed);
        }
        self.not_before = (!is_whole).then(|| Instant::now() + READER_PAUSE);
        Ok(is_whole)
    }

    /// Logs the first of several errors, and the end of them.
    fn note(&mut self, copied: Result<()>) {
        match copied {
            Ok(()) => {
                if self.error.take().is_some() {
                    tracing::info!("The write-ahead log of the queue is copied into its file again.");
                }
            }
            Err(error) => {
                self.not_before = Some(Instant::now() + PAUSE);
                let error = format!(
                    "The write-ahead log of the queue cannot be copied into its file, and grows until it can: {error}."
                );
                if self.error.is_none() {
                    tracing::error!("{error}");
                }
                self.error = Some(error);
            }
        }
    }
}

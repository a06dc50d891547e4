//! Writes groups into the file: many tasks and ends in one transaction.

mod open;

use std::sync::Arc;

use anyhow::Context;
use framework_protocol::task::TaskId;
use framework_protocol::views::State;
use rusqlite::{Connection, Result, Transaction, TransactionBehavior};
use rustc_hash::FxHashMap;

use super::bulk_insert::BulkInsert;
use super::checkpoint::Checkpoints;
use super::group::{Bulks, GroupRows};
use super::load::{load, one};
use super::names::SharedNames;
use super::queue_lock::QueueLock;
use super::reader::SqliteReader;
use super::reserve::Reserve;
use super::write_error::{full, missing, read_error, write_error};
use super::{SqliteOptions, change, ended_tasks, recovery, selection};
use crate::store::StoreOptions;
use crate::store::durable::journal::{
    Cursor, Journal, JournalChange, JournalError, LoadedTask, OpenedJournal, ReadError, Room, Selected,
    Snapshot, TaskSelection, WaitingRow, WriteGroup, Written,
};

/// The number of free pages that stay, and the most that are returned at a time.
const SPARE_PAGES: i64 = 1_024;
const SHRINK_PAGES: i64 = 2_048;

/// The connection that writes.
#[derive(Debug)]
pub struct SqliteJournal {
    connection: Connection,
    checkpoints: Checkpoints,
    names: Arc<SharedNames>,
    next_id: TaskId,
    key_ms: u64,
    /// The number of the last batches that are kept once they have ended.
    batches_kept: usize,
    bulks: Bulks,
    /// `None` before the first write, and for a file in a VFS of a test.
    reserve: Option<Reserve>,
    /// Whether a file of the queue was not at its path the last time.
    is_missing: bool,
    /// The last field, because it has to be dropped last.
    lock: Option<Arc<QueueLock>>,
}

impl SqliteJournal {
    fn new(
        connection: Connection,
        checkpoints: Checkpoints,
        names: Arc<SharedNames>,
        lock: Option<Arc<QueueLock>>,
        options: &StoreOptions,
    ) -> Self {
        Self {
            connection,
            checkpoints,
            names,
            next_id: 0,
            key_ms: options.idempotency_window.as_millis() as u64,
            batches_kept: options.batch_retention_count,
            bulks: Bulks { tasks: BulkInsert::of("tasks", 9), ends: BulkInsert::of("ends", 10) },
            reserve: None,
            is_missing: false,
            lock,
        }
    }

    fn write_group(&mut self, group: &WriteGroup<'_>) -> Result<Written> {
        let Self { connection, next_id, key_ms, batches_kept, bulks, .. } = self;
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        let rows = GroupRows::new(&transaction, bulks, next_id, group.now_ms, *key_ms, *batches_kept);
        let written = rows.write(group.entries())?;
        let expired: Vec<_> = group.expired.iter().map(|end| (end.id, Some(end.state))).collect();
        ended_tasks::forget(&transaction, &expired, *next_id)?;
        transaction.commit()?;
        Ok(written)
    }

    /// Returns free pages to the file system, of which a backlog that was worked off leaves many; some at a
    /// time.
    fn shrink(&self) -> Result<()> {
        let number = |sql| self.connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        let (free, all) = (number("PRAGMA freelist_count")?, number("PRAGMA page_count")?);
        if free > SPARE_PAGES && free > all / 4 {
            let count = (free - SPARE_PAGES).min(SHRINK_PAGES);
            self.connection.execute_batch(&format!("PRAGMA incremental_vacuum({count})"))?;
        }
        Ok(())
    }

    /// Returns all free pages to the file system, a few at a time, so that the log needs little room; as far
    /// as a disk that is full permits it.
    fn shrink_all(&mut self) {
        while self
            .connection
            .query_row("PRAGMA freelist_count", [], |row| row.get::<_, i64>(0))
            .is_ok_and(|free| free > 0)
            && self.connection.execute_batch("PRAGMA incremental_vacuum(16)").is_ok()
            && self.checkpoints.empty(&self.connection)
        {}
    }

    fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T>) -> Result<T, ReadError> {
        read(&self.connection).map_err(|error| read_error(&error))
    }
}

impl Journal for SqliteJournal {
    const NAME: &'static str = "sqlite";
    type Options = SqliteOptions;
    type Reader = SqliteReader;

    fn open(options: SqliteOptions, store: &StoreOptions) -> anyhow::Result<OpenedJournal<Self>> {
        open::open(options, store)
    }

    fn snapshot(&mut self, with_functions: bool) -> anyhow::Result<Snapshot> {
        Ok(recovery::snapshot(&self.connection, with_functions)?)
    }

    fn waiting(&mut self, ended: &[TaskId], visit: impl FnMut(WaitingRow<'_>)) -> anyhow::Result<()> {
        Ok(recovery::waiting(&self.connection, ended, visit)?)
    }

    fn begin(&mut self, next_id: TaskId) -> anyhow::Result<Option<JournalError>> {
        self.next_id = next_id;
        let Some(lock) = &self.lock else { return Ok(None) };
        let reserve = Reserve::open(lock.resolved()).context("taking room for ends")?;
        let is_held = reserve.is_held();
        self.reserve = Some(reserve);
        if is_held {
            return Ok(None);
        }
        self.checkpoints.empty(&self.connection);
        Ok(Some(full("too little room is left for the ends of tasks")))
    }

    fn next_id(&self) -> TaskId {
        self.next_id
    }

    fn write(&mut self, group: &WriteGroup<'_>) -> Result<Written, JournalError> {
        let before = self.next_id;
        self.write_group(group).map_err(|error| {
            self.next_id = before;
            write_error(&error, &self.connection)
        })
    }

    fn change(&mut self, change: &JournalChange<'_>, now_ms: u64) -> Result<(), JournalError> {
        let write = || {
            let transaction = self.connection.unchecked_transaction()?;
            change::make(&transaction, change, self.next_id, now_ms)?;
            transaction.commit()
        };
        write().map_err(|error| write_error(&error, &self.connection))
    }

    fn tasks(&mut self, ids: &[TaskId], now_ms: u64) -> Result<Vec<LoadedTask>, ReadError> {
        self.read(|file| load(file, &self.names, ids, now_ms))
    }

    fn state(&mut self, id: TaskId) -> Result<Option<State>, ReadError> {
        self.read(|file| {
            let state: Option<String> = one(file, "SELECT state FROM ends WHERE task = ?1", id)?;
            if let Some(state) = state.and_then(|state| state.parse().ok()) {
                return Ok(Some(state));
            }
            let task: Option<i64> = one(file, "SELECT 1 FROM tasks WHERE id = ?1", id)?;
            Ok(task.map(|_| State::Waiting))
        })
    }

    fn functions(&mut self, ids: &[TaskId]) -> Result<FxHashMap<TaskId, String>, ReadError> {
        self.read(|file| ended_tasks::functions(file, ids.to_vec()))
    }

    fn select(
        &mut self,
        wanted: &TaskSelection,
        cursor: Cursor,
        limit: usize,
    ) -> Result<Selected, ReadError> {
        self.read(|file| selection::select(file, wanted, cursor, limit))
    }

    /// Looks for the files of the queue at their paths.
    fn check(&mut self) -> Result<(), JournalError> {
        let missing_file = self.lock.as_ref().and_then(|lock| lock.missing());
        let was_missing = std::mem::replace(&mut self.is_missing, missing_file.is_some());
        if was_missing && !self.is_missing {
            tracing::info!("The files of the queue are back at their places.");
        }
        missing_file.map_or(Ok(()), |file| Err(missing(file)))
    }

    /// Copies the log into the file if it is time.
    fn maintain(&mut self, is_changing: bool) -> Option<&str> {
        self.checkpoints.run(&self.connection, is_changing);
        self.checkpoints.error()
    }

    /// Returns free pages to the file system.
    fn tidy(&mut self) {
        if let Err(error) = self.shrink() {
            tracing::debug!("the queue's file cannot be made smaller now: {error}");
        }
    }

    /// Gives up the reserve; takes it again when the disk is not full any more.
    fn make_room(&mut self) -> Room {
        let Some(reserve) = &mut self.reserve else { return Room::Unknown };
        let was_held = reserve.is_held();
        if was_held {
            reserve.release();
        }
        // What others have freed may be just enough for the log, and tasks that were deleted have left room.
        if self.checkpoints.empty(&self.connection) {
            self.shrink_all();
        }
        if !was_held && self.reserve.as_mut().is_some_and(Reserve::take) {
            tracing::info!("The disk has room again.");
            return Room::ForAll;
        }
        Room::ForEnds
    }
}

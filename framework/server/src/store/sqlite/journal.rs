//! Writes events into the file: many tasks and ends in one transaction.

use framework_protocol::task::{NewTask, TaskId, TaskRecord};
use framework_protocol::views::BatchInfo;
use rusqlite::{CachedStatement, Connection, Result, Transaction, TransactionBehavior, params};

use super::bulk_insert::BulkInsert;
use super::retention::Retention;
use super::row::OptionsEncoder;
use crate::store::index::{AttemptRun, EndRecord, FollowUp, Record};
use crate::store::view_parts::ms_of;
use crate::store::{Accepted, StoreOptions};

/// The connection that writes, with the counters and the retention of the file.
pub(super) struct Journal {
    connection: Connection,
    next_id: TaskId,
    retention: Retention,
    key_ms: u64,
    purged_ms: u64,
    bulks: Bulks,
}

/// The tables into which every group writes many rows.
struct Bulks {
    tasks: BulkInsert,
    ends: BulkInsert,
}

/// A part of a group.
pub(super) enum Entry<'a> {
    Tasks(&'a [NewTask]),
    Record(&'a Record),
}

/// The ids of a written group, in the order of its entries.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// One for each task of each [`Entry::Tasks`].
    pub(super) accepted: Vec<Accepted>,
    /// One for each [`Record::Follow`].
    pub(super) followed: Vec<TaskId>,
}

impl Journal {
    pub(super) fn new(
        connection: Connection,
        next_id: TaskId,
        retention: Retention,
        options: &StoreOptions,
    ) -> Self {
        let key_ms = options.idempotency_window.as_millis() as u64;
        let bulks = Bulks { tasks: BulkInsert::of("tasks", 9), ends: BulkInsert::of("ends", 9) };
        Self { connection, next_id, retention, key_ms, purged_ms: 0, bulks }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn next_id(&self) -> TaskId {
        self.next_id
    }

    /// Returns free pages to the file system, of which a backlog that was worked off leaves many; some at a
    /// time.
    pub(super) fn shrink(&self) -> Result<()> {
        let number = |sql| self.connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        let (free, all) = (number("PRAGMA freelist_count")?, number("PRAGMA page_count")?);
        if free > SPARE_PAGES && free > all / 4 {
            let count = (free - SPARE_PAGES).min(SHRINK_PAGES);
            self.connection.execute_batch(&format!("PRAGMA incremental_vacuum({count})"))?;
        }
        Ok(())
    }

    pub(super) fn retention(&mut self) -> &mut Retention {
        &mut self.retention
    }

    /// Writes a group in one transaction, which is durable when this returns. After an error nothing of it is
    /// there.
    pub(super) fn write<'a>(
        &mut self,
        entries: impl Iterator<Item = Entry<'a>>,
        now_ms: u64,
    ) -> Result<Written> {
        let before = (self.next_id, self.retention.len());
        let result = self.write_group(entries, now_ms);
        if result.is_err() {
            self.next_id = before.0;
            self.retention.truncate(before.1);
        }
        result
    }

    fn write_group<'a>(&mut self, entries: impl Iterator<Item = Entry<'a>>, now_ms: u64) -> Result<Written> {
        let Self { connection, next_id, retention, key_ms, purged_ms, bulks } = self;
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        let group = Group {
            file: &transaction,
            bulks,
            next_id,
            retention,
            now_ms,
            key_until_ms: now_ms.saturating_add(*key_ms),
            written: Written::default(),
            batches: Vec::new(),
            tasks: Vec::new(),
            ends: Vec::new(),
        };
        let written = group.write(entries)?;
        let trimmed = retention.trim(&transaction, now_ms, *next_id)?;
        let purge = now_ms.saturating_sub(*purged_ms) >= PURGE_MS;
        if purge {
            *purged_ms = now_ms;
            transaction.prepare_cached("DELETE FROM keys WHERE until_ms <= ?1")?.execute([now_ms as i64])?;
        }
        transaction.commit()?;
        retention.forget(trimmed);
        Ok(written)
    }
}

/// The number of free pages that stay, and the most that are returned at a time.
const SPARE_PAGES: i64 = 1_024;
const SHRINK_PAGES: i64 = 2_048;

/// The interval between deletions of keys whose window is over.
const PURGE_MS: u64 = 60_000;

/// The rows of one transaction.
struct Group<'g, 'a> {
    file: &'g Connection,
    bulks: &'g Bulks,
    next_id: &'g mut TaskId,
    retention: &'g mut Retention,
    now_ms: u64,
    key_until_ms: u64,
    written: Written,
    /// The number of tasks that came into each batch.
    batches: Vec<(u64, i64)>,
    /// The rows to insert together.
    tasks: Vec<(TaskId, &'a NewTask)>,
    ends: Vec<&'a EndRecord>,
}

impl<'a> Group<'_, 'a> {
    fn write(mut self, entries: impl Iterator<Item = Entry<'a>>) -> Result<Written> {
        for entry in entries {
            match entry {
                Entry::Tasks(tasks) => self.tasks(tasks)?,
                Entry::Record(record) => self.record(record)?,
            }
        }
        self.insert()?;
        self.count_batches()?;
        Ok(self.written)
    }

    fn insert(&mut self) -> Result<()> {
        let now_ms = self.now_ms;
        let mut encoder = OptionsEncoder::default();
        self.bulks.tasks.insert(self.file, &self.tasks, |statement, first, (id, new)| {
            bind_task(statement, first, *id, new, now_ms, encoder.encode(new, now_ms))
        })?;
        let pid = std::process::id();
        self.bulks
            .ends
            .insert(self.file, &self.ends, |statement, first, ended| bind_end(statement, first, ended, pid))
    }

    fn tasks(&mut self, tasks: &'a [NewTask]) -> Result<()> {
        self.written.accepted.reserve(tasks.len());
        for new in tasks {
            let key = new.extra.as_ref().and_then(|extra| extra.key.as_deref());
            let accepted = match key.map(|key| self.known(key)).transpose()?.flatten() {
                Some(id) => Accepted { id, is_new: false },
                None => {
                    let id = self.task(new);
                    key.map_or(Ok(()), |key| self.remember(key, id))?;
                    Accepted { id, is_new: true }
                }
            };
            self.written.accepted.push(accepted);
        }
        Ok(())
    }

    fn task(&mut self, new: &'a NewTask) -> TaskId {
        let id = *self.next_id;
        *self.next_id += 1;
        self.tasks.push((id, new));
        if let Some(batch) = new.batch() {
            match self.batches.last_mut().filter(|(last, _)| *last == batch) {
                Some((_, count)) => *count += 1,
                None => self.batches.push((batch, 1)),
            }
        }
        id
    }

    fn known(&self, key: &str) -> Result<Option<TaskId>> {
        let mut find = self.file.prepare_cached("SELECT task FROM keys WHERE key = ?1 AND until_ms > ?2")?;
        let mut rows = find.query(params![key, self.now_ms as i64])?;
        rows.next()?.map(|row| row.get::<_, i64>(0).map(i64::unsigned_abs)).transpose()
    }

    fn remember(&self, key: &str, id: TaskId) -> Result<()> {
        let sql = "INSERT OR REPLACE INTO keys VALUES (?1, ?2, ?3)";
        let row = params![key, id as i64, self.key_until_ms as i64];
        self.file.prepare_cached(sql)?.execute(row).map(drop)
    }

    fn record(&mut self, record: &'a Record) -> Result<()> {
        match record {
            Record::Ended(ended) => self.ended(ended),
            Record::Retry { task, run, error, due_ms, pause } => {
                self.attempt(task.id, *run, error)?;
                self.progress_log(task)?;
                let sql = "INSERT OR REPLACE INTO retries VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
                self.file.prepare_cached(sql)?.execute(params![
                    task.id as i64,
                    run.number,
                    task.failures(),
                    task.crashes(),
                    due_ms.map(|due_ms| due_ms as i64),
                    pause.as_millis() as i64,
                ])?;
                Ok(())
            }
            Record::Follow(FollowUp { new, completes }) => {
                let id = self.task(new);
                self.written.followed.push(id);
                if let Some(batch) = completes {
                    let sql = "UPDATE batches SET then_task = ?2 WHERE id = ?1";
                    self.file.prepare_cached(sql)?.execute([*batch as i64, id as i64])?;
                }
                Ok(())
            }
            Record::Batch(info) => self.batch(info),
        }
    }

    fn ended(&mut self, ended: &'a EndRecord) -> Result<()> {
        if !ended.keep {
            return self.retention.drop_now(self.file, ended.task.id, ended.state, *self.next_id);
        }
        self.ends.push(ended);
        self.retention.push(ended.task.id, ended.at_ms, ended.state);
        self.progress_log(&ended.task)
    }

    fn attempt(&self, task: TaskId, run: AttemptRun, error: &str) -> Result<()> {
        let sql = "INSERT OR REPLACE INTO attempts VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let row =
            params![task as i64, run.number, run.started_ms as i64, ran_us(&run), std::process::id(), error];
        self.file.prepare_cached(sql)?.execute(row).map(drop)
    }

    fn progress_log(&self, task: &TaskRecord) -> Result<()> {
        let Some(log) = task.progress_log() else { return Ok(()) };
        let log = serde_json::to_string(&log).expect("texts and numbers are JSON");
        let sql = "INSERT OR REPLACE INTO notes VALUES (?1, ?2)";
        self.file.prepare_cached(sql)?.execute(params![task.id as i64, log]).map(drop)
    }

    fn batch(&self, info: &BatchInfo) -> Result<()> {
        let sql = "UPDATE batches SET state = ?2, done = ?3, failed = ?4, cancelled = ?5, expired = ?6, \
            ended_ms = ?7, then_function = ?8 WHERE id = ?1";
        let row = params![
            info.id as i64,
            info.state.name(),
            info.done as i64,
            info.failed as i64,
            info.cancelled as i64,
            info.expired as i64,
            info.ended_ms.map(|at_ms| at_ms as i64),
            info.then,
        ];
        self.file.prepare_cached(sql)?.execute(row).map(drop)
    }

    fn count_batches(&self) -> Result<()> {
        for (batch, count) in &self.batches {
            let sql = "UPDATE batches SET total = total + ?2 WHERE id = ?1";
            self.file.prepare_cached(sql)?.execute([*batch as i64, *count])?;
        }
        Ok(())
    }
}

fn bind_task(
    statement: &mut CachedStatement,
    first: usize,
    id: TaskId,
    new: &NewTask,
    now_ms: u64,
    options: Option<&str>,
) -> Result<()> {
    statement.raw_bind_parameter(first, id as i64)?;
    statement.raw_bind_parameter(first + 1, &*new.function)?;
    statement.raw_bind_parameter(first + 2, &*new.queue)?;
    statement.raw_bind_parameter(first + 3, new.priority)?;
    statement.raw_bind_parameter(first + 4, now_ms as i64)?;
    statement.raw_bind_parameter(first + 5, ms_of(new.due, now_ms).map(|due_ms| due_ms as i64))?;
    statement.raw_bind_parameter(first + 6, new.batch().map(|batch| batch as i64))?;
    statement.raw_bind_parameter(first + 7, options)?;
    // Arguments were parsed as JSON, which is text.
    statement.raw_bind_parameter(first + 8, std::str::from_utf8(&new.args).unwrap_or("null"))
}

fn bind_end(statement: &mut CachedStatement, first: usize, ended: &EndRecord, pid: u32) -> Result<()> {
    let run = ended.run.as_ref();
    statement.raw_bind_parameter(first, ended.task.id as i64)?;
    statement.raw_bind_parameter(first + 1, ended.state.name())?;
    statement.raw_bind_parameter(first + 2, ended.at_ms as i64)?;
    statement.raw_bind_parameter(first + 3, run.map(|run| run.number))?;
    statement.raw_bind_parameter(first + 4, run.map(|run| run.started_ms as i64))?;
    statement.raw_bind_parameter(first + 5, run.and_then(ran_us))?;
    statement.raw_bind_parameter(first + 6, run.map(|_| pid))?;
    let result = ended.outcome.as_ref().ok().filter(|result| &result[..] != b"null");
    statement.raw_bind_parameter(first + 7, result.map(|result| String::from_utf8_lossy(result)))?;
    statement.raw_bind_parameter(first + 8, ended.outcome.as_ref().err())
}

fn ran_us(run: &AttemptRun) -> Option<i64> {
    run.ran.map(|ran| i64::try_from(ran.as_micros()).unwrap_or(i64::MAX))
}

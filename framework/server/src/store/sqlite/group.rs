//! The rows that a group becomes.

use std::time::Duration;

use framework_protocol::RequestError;
use framework_protocol::task::{NewTask, TaskId, TaskRecord};
use framework_protocol::views::State;
use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, Result, params};

use super::attempts::bound_attempts;
use super::batch_counts::BatchCounts;
use super::bulk_insert::BulkInsert;
use super::ended_tasks::forget;
use crate::store::Accepted;
use crate::store::durable::journal::{Entry, OptionsEncoder, Written};
use crate::store::idempotency::check_duplicate;
use crate::store::index::{AttemptRun, EndRecord, FollowUp, Record};
use crate::store::view_parts::ms_of;

/// The tables into which every group writes many rows.
#[derive(Debug)]
pub(super) struct Bulks {
    pub(super) tasks: BulkInsert,
    pub(super) ends: BulkInsert,
}

/// The rows of one transaction.
pub(super) struct GroupRows<'g, 'a> {
    file: &'g Connection,
    bulks: &'g Bulks,
    next_id: &'g mut TaskId,
    now_ms: u64,
    key_until_ms: u64,
    written: Written,
    batches: BatchCounts,
    batches_kept: usize,
    /// The tasks that ended and of which nothing is kept.
    dropped: Vec<(TaskId, Option<State>)>,
    /// The rows to insert together.
    tasks: Vec<(TaskId, &'a NewTask)>,
    ends: Vec<&'a EndRecord>,
}

impl<'g, 'a> GroupRows<'g, 'a> {
    pub(super) fn new(
        file: &'g Connection,
        bulks: &'g Bulks,
        next_id: &'g mut TaskId,
        now_ms: u64,
        key_ms: u64,
        batches_kept: usize,
    ) -> Self {
        Self {
            file,
            bulks,
            next_id,
            now_ms,
            key_until_ms: now_ms.saturating_add(key_ms),
            written: Written::default(),
            batches: BatchCounts::default(),
            batches_kept,
            dropped: Vec::new(),
            tasks: Vec::new(),
            ends: Vec::new(),
        }
    }

    pub(super) fn write(mut self, entries: impl Iterator<Item = Entry<'a>>) -> Result<Written> {
        for entry in entries {
            match entry {
                Entry::Tasks(tasks) => self.tasks(tasks)?,
                Entry::Record(record) => self.record(record)?,
            }
        }
        self.insert()?;
        forget(self.file, &self.dropped, *self.next_id)?;
        self.batches.write(self.file)?;
        Ok(self.written)
    }

    fn insert(&mut self) -> Result<()> {
        let now_ms = self.now_ms;
        let mut encoder = OptionsEncoder::default();
        self.bulks.tasks.insert(self.file, &self.tasks, |statement, first, (id, new)| {
            bind_task(statement, first, *id, new, now_ms, encoder.encode(new, now_ms))
        })?;
        self.tags()?;
        let pid = std::process::id();
        self.bulks
            .ends
            .insert(self.file, &self.ends, |statement, first, ended| bind_end(statement, first, ended, pid))
    }

    fn tags(&self) -> Result<()> {
        for (id, new) in &self.tasks {
            let Some(extra) = new.extra.as_ref().filter(|extra| !extra.tags.is_empty()) else { continue };
            let mut insert = self.file.prepare_cached("INSERT INTO tags VALUES (?1, ?2, ?3)")?;
            extra
                .tags
                .iter()
                .try_for_each(|(name, value)| insert.execute(params![name, value, *id as i64]).map(drop))?;
        }
        Ok(())
    }

    fn tasks(&mut self, tasks: &'a [NewTask]) -> Result<()> {
        self.written.accepted.reserve(tasks.len());
        for new in tasks {
            let key = new.extra.as_ref().and_then(|extra| extra.key.as_deref());
            let duplicate = key.map(|key| self.duplicate(new, key)).transpose()?.flatten();
            let accepted = match duplicate {
                Some(duplicate) => duplicate,
                None => {
                    let id = self.task(new);
                    key.map_or(Ok(()), |key| self.remember(&new.function, key, id))?;
                    Ok(Accepted { id, duplicate: None })
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
            self.batches.accepted(batch);
        }
        id
    }

    /// The answer to a task whose key belongs to an earlier one.
    fn duplicate(
        &self,
        new: &NewTask,
        key: &str,
    ) -> Result<Option<std::result::Result<Accepted, RequestError>>> {
        let sql = "SELECT k.task, t.args, e.state FROM keys k LEFT JOIN tasks t ON t.id = k.task \
            LEFT JOIN ends e ON e.task = k.task WHERE k.function = ?1 AND k.key = ?2 AND k.until_ms > ?3";
        let mut find = self.file.prepare_cached(sql)?;
        let mut rows = find.query(params![&*new.function, key, self.now_ms as i64])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let id = row.get::<_, i64>(0)?.unsigned_abs();
        let state = row.get_ref(2)?.as_str_or_null().ok().flatten().and_then(|state| state.parse().ok());
        let args = match row.get_ref(1)? {
            ValueRef::Text(args) | ValueRef::Blob(args) => args,
            // It is of this group, and its row is not inserted yet; otherwise the key belongs to nothing.
            _ => match self.tasks.binary_search_by_key(&id, |(task, _)| *task) {
                Ok(index) => &self.tasks[index].1.args,
                Err(_) => return Ok(None),
            },
        };
        let accepted = Accepted { id, duplicate: Some(state.unwrap_or(State::Waiting)) };
        Ok(Some(check_duplicate(new, id, args).map(|()| accepted)))
    }

    fn remember(&self, function: &str, key: &str, id: TaskId) -> Result<()> {
        let sql = "INSERT OR REPLACE INTO keys VALUES (?1, ?2, ?3, ?4)";
        let row = params![function, key, id as i64, self.key_until_ms as i64];
        self.file.prepare_cached(sql)?.execute(row).map(drop)
    }

    fn record(&mut self, record: &'a Record) -> Result<()> {
        match record {
            Record::Ended(ended) => self.ended(ended),
            Record::Retry { task, run, error, due_ms, pause } => {
                self.attempt(task.id, run, error)?;
                self.progress_log(task)?;
                self.counters(task, run.number, *due_ms, *pause)
            }
            Record::Revised(task) => {
                let sql = "UPDATE tasks SET priority = ?2, args = ?3, due_ms = NULL WHERE id = ?1";
                let args = std::str::from_utf8(&task.new.args).unwrap_or("null");
                let row = params![task.id as i64, task.new.priority, args];
                self.file.prepare_cached(sql)?.execute(row)?;
                self.counters(task, task.attempts(), None, Duration::ZERO)
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
            Record::Batch(info) => self.batches.end(self.file, info, self.batches_kept),
        }
    }

    fn ended(&mut self, ended: &'a EndRecord) -> Result<()> {
        if let Some(batch) = ended.task.new.batch() {
            self.batches.ended(batch, ended.state);
        }
        if !ended.keep {
            self.dropped.push((ended.task.id, Some(ended.state)));
            return Ok(());
        }
        self.ends.push(ended);
        let is_unseen = ended.run.as_ref().is_some_and(|run| run.ran.is_none());
        if is_unseen || ended.state == State::Failed && ended.task.crashes() > 0 {
            // The crash that ended the task counts, too.
            self.counters(&ended.task, ended.task.attempts(), None, Duration::ZERO)?;
        }
        self.progress_log(&ended.task)
    }

    /// Writes the numbers of attempts that a task has behind it, and when the next one is due.
    fn counters(&self, task: &TaskRecord, attempts: u32, due_ms: Option<u64>, pause: Duration) -> Result<()> {
        let sql = "INSERT OR REPLACE INTO retries VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let row = params![
            task.id as i64,
            attempts,
            task.failures(),
            task.crashes(),
            due_ms.map(|due_ms| due_ms as i64),
            pause.as_millis() as i64,
        ];
        self.file.prepare_cached(sql)?.execute(row).map(drop)
    }

    fn attempt(&self, task: TaskId, run: &AttemptRun, error: &str) -> Result<()> {
        let sql = "INSERT OR REPLACE INTO attempts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let (started_ms, pid) = (run.started_ms as i64, std::process::id());
        let worker = run.worker.as_deref();
        let row = params![task as i64, run.number, started_ms, run.ran_us(), pid, error, worker];
        self.file.prepare_cached(sql)?.execute(row)?;
        bound_attempts(self.file, task, run.number)
    }

    fn progress_log(&self, task: &TaskRecord) -> Result<()> {
        let Some(log) = task.progress_log() else { return Ok(()) };
        let log = serde_json::to_string(&log).expect("texts and numbers are JSON");
        let sql = "INSERT OR REPLACE INTO notes VALUES (?1, ?2)";
        self.file.prepare_cached(sql)?.execute(params![task.id as i64, log]).map(drop)
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
    statement.raw_bind_parameter(first + 5, run.and_then(AttemptRun::ran_us))?;
    statement.raw_bind_parameter(first + 6, run.map(|_| pid))?;
    let result = ended.outcome.as_ref().ok().filter(|result| &result[..] != b"null");
    statement.raw_bind_parameter(first + 7, result.map(|result| String::from_utf8_lossy(result)))?;
    statement.raw_bind_parameter(first + 8, ended.outcome.as_ref().err())?;
    statement.raw_bind_parameter(first + 9, run.and_then(|run| run.worker.as_deref()))
}

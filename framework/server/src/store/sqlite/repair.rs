//! Saves what can be read of a damaged file into a new one; the old one is kept beside it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use framework_console::files;
use framework_protocol::Durability;
use rusqlite::types::ToSqlOutput;
use rusqlite::{Connection, params_from_iter};

use super::queue_file::QueueFile;
use super::queue_lock::QueueLock;
use super::running_slots::RunningSlots;
use super::schema;

/// The tables with a number, and its column; rows that cannot be read are passed over by it.
const NUMBERED: [(&str, &str); 7] = [
    ("tasks", "id"),
    ("ends", "task"),
    ("retries", "task"),
    ("cancels", "task"),
    ("notes", "task"),
    ("batches", "id"),
    ("changes", "id"),
];
/// The other tables and their keys; they are read from both ends up to rows that cannot be read.
const NAMED: [(&str, &str); 6] = [
    ("attempts", "task, number"),
    ("keys", "function, key"),
    ("queues", "name"),
    ("schedules", "name"),
    ("functions", "name"),
    ("history", "step_ms, step, function, queue"),
];
/// The tables that a file of an earlier version does not have.
const LATER: [&str; 3] = ["changes", "functions", "history"];

/// The result of a repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepairReport {
    /// The new path of the damaged file.
    pub kept: PathBuf,
    /// The number of rows that were saved of each table.
    pub saved: Vec<(&'static str, u64)>,
    pub unread: Vec<LostRows>,
    /// What [`QueueFile::check`] finds in the new file.
    pub findings: Vec<String>,
}

/// Rows that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostRows {
    pub table: &'static str,
    /// The first and the last number; rows in between may never have been there.
    pub from: i64,
    pub to: i64,
    /// The error of SQLite.
    pub error: String,
}

/// Repairs the queue in `path` while no server uses it.
///
/// The new file is complete and on the disk before the old one is touched. A repair that is interrupted after
/// that goes on when it is called again; until then, no server starts with the queue.
///
/// # Errors
/// When another process uses it, when it is no database at all, or when the new file cannot be written; then
/// the old one is where it was.
pub fn repair(path: impl AsRef<Path>) -> Result<RepairReport> {
    let path = path.as_ref();
    if !path.exists() {
        bail!("there is no {}", path.display());
    }
    let new = finished(path);
    if !new.exists() {
        refuse_foreign(path)?;
    }
    let _file_lock = QueueLock::take(path)?;
    let (_name_lock, _running) = RunningSlots::open(path)?;
    let (saved, unread) = if new.exists() { (counts(&new)?, Vec::new()) } else { write_new(path, &new)? };
    let findings = QueueFile::open(&new)?.check()?;
    for suffix in ["-wal", "-shm"] {
        // A reader may leave an empty one.
        let _ = std::fs::remove_file(with(&new, suffix));
    }
    let kept = free_name(path);
    replace(path, &new, &kept)
        .with_context(|| format!("replacing {} by {}", path.display(), new.display()))?;
    Ok(RepairReport { kept, saved, unread, findings })
}

/// The new file of a repair, once it is complete.
pub(super) fn finished(path: &Path) -> PathBuf {
    beside(path, "repaired")
}

/// Writes the new file; it has its name only once it is complete.
fn write_new(path: &Path, new: &Path) -> Result<Salvaged> {
    let unfinished = beside(path, "repairing");
    remove(&unfinished)?;
    let salvaged = salvage(path, &unfinished)
        .with_context(|| format!("saving {} into {}", path.display(), unfinished.display()));
    if salvaged.is_err() {
        remove(&unfinished)?;
    }
    let salvaged = salvaged?;
    rename(&unfinished, new)?;
    sync_folder(path)?;
    Ok(salvaged)
}

/// Gives the old file another name, and the new one its own. There is a file of this name at every moment.
fn replace(path: &Path, new: &Path, kept: &Path) -> Result<()> {
    if std::fs::hard_link(path, kept).is_err() {
        std::fs::copy(path, kept)?;
    }
    // The log of the old file would be read into the new one.
    for suffix in ["-wal", "-shm"] {
        rename(&with(path, suffix), &with(kept, suffix))?;
    }
    sync_folder(path)?;
    rename(new, path)?;
    sync_folder(path)
}

/// Makes changes of names durable.
fn sync_folder(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.with_context(|| format!("syncing {}", folder.display()))
}

/// Refuses what is no queue of this program, as far as that can be read, before anything is created beside
/// it.
fn refuse_foreign(path: &Path) -> Result<()> {
    let context = || format!("reading {}", path.display());
    let connection = schema::open_to_salvage(path).with_context(context)?;
    match schema::recognise(&connection) {
        // What is damaged may well be one.
        Err(error) if error.downcast_ref::<rusqlite::Error>().is_none() => Err(error).with_context(context),
        _ => Ok(()),
    }
}

type Salvaged = (Vec<(&'static str, u64)>, Vec<LostRows>);

/// The rows of each table of a finished file.
fn counts(new: &Path) -> Result<Vec<(&'static str, u64)>> {
    let file = schema::open_to_read(new, None)?;
    let count = |table: &'static str| {
        let rows = file.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0));
        rows.map(|rows| (table, rows.unsigned_abs()))
    };
    let tables = NUMBERED.iter().chain(&NAMED).map(|(table, _)| *table);
    Ok(tables.map(count).collect::<Result<_, _>>()?)
}

fn salvage(path: &Path, new: &Path) -> Result<Salvaged> {
    let old = schema::open_to_salvage(path)?;
    files::private().write(true).open(new).with_context(|| format!("creating {}", new.display()))?;
    let mut fresh = schema::open(new, None, Durability::Fsync)?;
    let transaction = fresh.transaction()?;
    let mut saved = Vec::new();
    let mut unread = Vec::new();
    // One that cannot be read at all counts as one that is not there.
    let is_there = |table| !LATER.contains(&table) || old.prepare(&format!("SELECT * FROM {table}")).is_ok();
    for (table, number) in NUMBERED.into_iter().filter(|(table, _)| is_there(*table)) {
        let count = Copying { old: &old, new: &transaction, table, unread: &mut unread }.numbered(number)?;
        saved.push((table, count));
    }
    for (table, key) in NAMED.into_iter().filter(|(table, _)| is_there(*table)) {
        let count = Copying { old: &old, new: &transaction, table, unread: &mut unread }.named(key)?;
        saved.push((table, count));
    }
    // The ledger goes on where it can be read; ids are never used again in any case.
    Copying { old: &old, new: &transaction, table: "ledger", unread: &mut unread }.named("one")?;
    transaction.execute_batch(COMPLETION)?;
    transaction.commit()?;
    fresh.pragma_update(None, "journal_mode", "DELETE")?;
    Ok((saved, unread))
}

/// Brings the saved rows in order. Keys that could not be read are taken from the options of their tasks; how
/// long they were to be remembered is not known then, and is the default day. Tags are among the options,
/// too.
const COMPLETION: &str = "
    INSERT OR IGNORE INTO ledger VALUES (1, 0, 0, 0, 0, 0);
    DELETE FROM ends WHERE task NOT IN (SELECT id FROM tasks);
    UPDATE ends SET state = 'failed' WHERE state NOT IN ('done', 'failed', 'cancelled', 'expired');
    DELETE FROM attempts WHERE task NOT IN (SELECT id FROM tasks);
    DELETE FROM retries WHERE task NOT IN (SELECT id FROM tasks);
    DELETE FROM cancels WHERE task NOT IN (SELECT id FROM tasks);
    DELETE FROM notes WHERE task NOT IN (SELECT id FROM tasks);
    DELETE FROM keys WHERE task NOT IN (SELECT id FROM tasks);
    INSERT OR IGNORE INTO keys
        SELECT function, json_extract(options, '$.key'), id, accepted_ms + 86400000 FROM tasks
        WHERE json_valid(options) AND json_type(options, '$.key') = 'text' ORDER BY id DESC;
    INSERT OR IGNORE INTO tags
        SELECT tag.key, tag.value, tasks.id FROM tasks, json_each(options, '$.tags') AS tag
        WHERE json_valid(options) AND json_type(options, '$.tags') = 'object';
    UPDATE ledger SET next_id = max(next_id, (SELECT coalesce(max(id) + 1, 0) FROM tasks));
";

/// Copies one table.
struct Copying<'a> {
    old: &'a Connection,
    new: &'a Connection,
    table: &'static str,
    unread: &'a mut Vec<LostRows>,
}

impl Copying<'_> {
    /// Copies by number, and goes on behind rows that cannot be read, in ever longer steps until one can;
    /// returns the number of rows.
    fn numbered(&mut self, number: &str) -> Result<u64> {
        let table = self.table;
        let sql = format!("SELECT * FROM {table} WHERE {number} >= ?1 ORDER BY {number}");
        let (mut count, mut from) = (0, 0_i64);
        let mut lost: Option<(i64, String)> = None;
        let mut step = 1_i64;
        loop {
            let (copied, next, error) = self.rows(&sql, Some(from))?;
            if copied > 0 {
                if let Some((first, error)) = lost.take() {
                    self.lose(first, from - 1, error);
                }
                step = 1;
            }
            count += copied;
            let Some(error) = error else { break };
            let at = next.max(from);
            lost.get_or_insert((at, error));
            from = at.saturating_add(step);
            step = step.saturating_mul(2);
            if from > self.last(number) {
                break;
            }
        }
        if let Some((first, error)) = lost {
            let last = self.last(number);
            self.lose(first, last, error);
        }
        Ok(count)
    }

    /// Copies from the first row on and, if one cannot be read, from the last one back; returns the number of
    /// rows.
    fn named(&mut self, key: &str) -> Result<u64> {
        let columns = self.columns();
        let sql = |order: &str| {
            let (table, keys) = (self.table, key.split(", ").map(|column| format!("{column} {order}")));
            format!("SELECT {columns} FROM {table} ORDER BY {}", keys.collect::<Vec<_>>().join(", "))
        };
        let (forwards, backwards) = (sql("ASC"), sql("DESC"));
        let (mut count, _, error) = self.rows(&forwards, None)?;
        if let Some(error) = error {
            count += self.rows(&backwards, None)?.0;
            self.lose(0, i64::MAX, error);
        }
        Ok(count)
    }

    /// The columns to read. A key of a file of schema 1 belongs to the function of its task.
    fn columns(&self) -> &'static str {
        let has_function = || self.old.prepare("SELECT function FROM keys").is_ok();
        if self.table == "keys" && !has_function() {
            "(SELECT function FROM tasks WHERE id = task) AS function, key, task, until_ms"
        } else {
            "*"
        }
    }

    fn lose(&mut self, from: i64, to: i64, error: String) {
        self.unread.push(LostRows { table: self.table, from, to: to.max(from), error });
    }

    /// The highest number of the table, or, if that cannot be read, of all ids that were ever given.
    fn last(&self, number: &str) -> i64 {
        let ask = |sql: String| self.old.query_row(&sql, [], |row| row.get::<_, Option<i64>>(0));
        let last = ask(format!("SELECT max({number}) FROM {}", self.table)).ok().flatten();
        let given = ask("SELECT next_id FROM ledger".to_owned()).ok().flatten();
        last.or(given).unwrap_or(1 << 40)
    }

    /// Copies rows; returns how many, the number behind the last of them, and the error that stopped it.
    fn rows(&mut self, sql: &str, from: Option<i64>) -> Result<(u64, i64, Option<String>)> {
        let mut lost = Vec::new();
        let copied = self.copy(sql, from, &mut lost);
        for (number, error) in lost {
            self.lose(number, number, error);
        }
        copied
    }

    /// Copies rows likewise; `lost` gets the numbers of those that the new table does not take.
    fn copy(
        &self,
        sql: &str,
        from: Option<i64>,
        lost: &mut Vec<(i64, String)>,
    ) -> Result<(u64, i64, Option<String>)> {
        let (mut count, mut next) = (0, 0);
        let mut read = match self.old.prepare(sql) {
            Ok(read) => read,
            Err(error) => return Ok((0, 0, Some(error.to_string()))),
        };
        let columns = read.column_count();
        // Columns that a file of an earlier version does not have come last.
        let all = self.new.prepare(&format!("SELECT * FROM {}", self.table))?.column_count();
        let mut places = vec!["?"; columns];
        places.resize(columns.max(all), "NULL");
        let places = places.join(", ");
        let mut write =
            self.new.prepare(&format!("INSERT OR REPLACE INTO {} VALUES ({places})", self.table))?;
        let mut rows = read.query(params_from_iter(from))?;
        loop {
            let row = match rows.next() {
                Ok(Some(row)) => row,
                Ok(None) => return Ok((count, next, None)),
                Err(error) => return Ok((count, next, Some(error.to_string()))),
            };
            let number = row.get_ref(0)?.as_i64().ok();
            next = number.map_or(next, |number| number.saturating_add(1));
            // Texts are copied as they are, in whatever encoding.
            let values = (0..columns).map(|column| row.get_ref(column).map(ToSqlOutput::Borrowed));
            let values = values.collect::<Result<Vec<_>, _>>()?;
            match write.execute(params_from_iter(values)) {
                Ok(_) => count += 1,
                // A row that breaks the rules of its table is damaged, too.
                Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => {
                    lost.push((number.unwrap_or(0), error.to_string()));
                }
                Err(error) => return Err(error).with_context(|| format!("copying the table {}", self.table)),
            }
        }
    }
}

fn with(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn beside(path: &Path, what: &str) -> PathBuf {
    with(path, &format!(".{what}"))
}

/// The first name for the damaged file that is not taken.
fn free_name(path: &Path) -> PathBuf {
    let names = (1..).map(|count| beside(path, &format!("damaged-{count}")));
    names.into_iter().find(|name| !name.exists()).unwrap_or_else(|| beside(path, "damaged"))
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("moving {} to {}", from.display(), to.display()))
        }
        _ => Ok(()),
    }
}

fn remove(path: &Path) -> Result<()> {
    for suffix in ["", "-wal", "-shm"] {
        let path = with(path, suffix);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("removing {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

//! Saves what can be read of a damaged file into a new one; the old one is kept beside it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use framework_protocol::Durability;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::running_slots::RunningSlots;
use super::schema;

/// The tables with a number, and its column; rows that cannot be read are passed over by it.
const NUMBERED: [(&str, &str); 6] = [
    ("tasks", "id"),
    ("ends", "task"),
    ("retries", "task"),
    ("cancels", "task"),
    ("notes", "task"),
    ("batches", "id"),
];
/// The other tables, which are read up to the first row that cannot be.
const NAMED: [&str; 4] = ["attempts", "keys", "queues", "schedules"];

/// The result of a repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepairReport {
    /// The new path of the damaged file.
    pub kept: PathBuf,
    /// The number of rows that were saved of each table.
    pub saved: Vec<(&'static str, u64)>,
    pub unread: Vec<LostRows>,
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
/// # Errors
/// When another process uses it, when it is no database at all, or when the new file cannot be written; then
/// the old one is where it was.
pub fn repair(path: impl AsRef<Path>) -> Result<RepairReport> {
    let path = path.as_ref();
    if !path.exists() {
        bail!("there is no {}", path.display());
    }
    let (_lock, _running) = RunningSlots::open(path)?;
    let new = beside(path, "repaired");
    remove(&new)?;
    let salvaged =
        salvage(path, &new).with_context(|| format!("saving {} into {}", path.display(), new.display()));
    let (saved, unread) = match salvaged {
        Ok(salvaged) => salvaged,
        Err(error) => {
            remove(&new)?;
            return Err(error);
        }
    };
    let kept = free_name(path);
    for suffix in ["", "-wal", "-shm"] {
        rename(&with(path, suffix), &with(&kept, suffix))?;
    }
    rename(&new, path)?;
    Ok(RepairReport { kept, saved, unread })
}

type Salvaged = (Vec<(&'static str, u64)>, Vec<LostRows>);

fn salvage(path: &Path, new: &Path) -> Result<Salvaged> {
    let old = schema::open_to_salvage(path)?;
    let mut fresh = schema::open(new, None, Durability::Fsync)?;
    let transaction = fresh.transaction()?;
    let mut saved = Vec::new();
    let mut unread = Vec::new();
    for (table, number) in NUMBERED {
        let count = Copying { old: &old, new: &transaction, table, unread: &mut unread }.numbered(number)?;
        saved.push((table, count));
    }
    for table in NAMED {
        let count = Copying { old: &old, new: &transaction, table, unread: &mut unread }.named()?;
        saved.push((table, count));
    }
    // The ledger goes on where it can be read; ids are never used again in any case.
    Copying { old: &old, new: &transaction, table: "ledger", unread: &mut unread }.named()?;
    transaction.execute_batch(
        "INSERT OR IGNORE INTO ledger VALUES (1, 0, 0, 0, 0, 0);
         DELETE FROM ends WHERE task NOT IN (SELECT id FROM tasks);
         DELETE FROM retries WHERE task NOT IN (SELECT id FROM tasks);
         DELETE FROM cancels WHERE task NOT IN (SELECT id FROM tasks);
         DELETE FROM notes WHERE task NOT IN (SELECT id FROM tasks);
         UPDATE ledger SET next_id = max(next_id, (SELECT coalesce(max(id) + 1, 0) FROM tasks));",
    )?;
    transaction.commit()?;
    fresh.pragma_update(None, "journal_mode", "DELETE")?;
    Ok((saved, unread))
}

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

    /// Copies up to the first row that cannot be read; returns the number of rows.
    fn named(&mut self) -> Result<u64> {
        let (count, _, error) = self.rows(&format!("SELECT * FROM {}", self.table), None)?;
        if let Some(error) = error {
            self.lose(0, i64::MAX, error);
        }
        Ok(count)
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
    fn rows(&self, sql: &str, from: Option<i64>) -> Result<(u64, i64, Option<String>)> {
        let (mut count, mut next) = (0, 0);
        let mut read = match self.old.prepare(sql) {
            Ok(read) => read,
            Err(error) => return Ok((0, 0, Some(error.to_string()))),
        };
        let columns = read.column_count();
        let places = vec!["?"; columns].join(", ");
        let mut write =
            self.new.prepare(&format!("INSERT OR REPLACE INTO {} VALUES ({places})", self.table))?;
        let mut rows = read.query(params_from_iter(from))?;
        loop {
            let row = match rows.next() {
                Ok(Some(row)) => row,
                Ok(None) => return Ok((count, next, None)),
                Err(error) => return Ok((count, next, Some(error.to_string()))),
            };
            let values =
                (0..columns).map(|column| row.get::<_, Value>(column)).collect::<Result<Vec<_>, _>>();
            let values = match values {
                Ok(values) => values,
                Err(error) => return Ok((count, next, Some(error.to_string()))),
            };
            if let Some(Value::Integer(number)) = values.first() {
                next = number.saturating_add(1);
            }
            match write.execute(params_from_iter(values)) {
                Ok(_) => count += 1,
                // A row that breaks the rules of its table is damaged, too.
                Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => {
                }
                Err(error) => return Err(error.into()),
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

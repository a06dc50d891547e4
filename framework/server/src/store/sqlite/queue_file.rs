//! A queue's file outside of a server: to read, check and copy it, also while a server runs.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use framework_console::files;
use framework_protocol::ShownName;
use framework_protocol::task::{Registration, TaskId, TaskRecord};
use framework_protocol::views::{FunctionRecord, TaskDetails};
use rusqlite::{Connection, params};
use serde::de::IgnoredAny;

use super::load::load_one;
use super::names::SharedNames;
use super::query::{functions, read_details};
use super::schema;
use crate::store::durable::journal::LoadedTask;

/// The most findings of a check.
const FINDINGS_MAX: i64 = 100;

/// A queue's file, opened for reading.
#[derive(Debug)]
pub struct QueueFile {
    path: PathBuf,
    connection: Connection,
}

/// A waiting task as the file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingTask {
    pub id: TaskId,
    pub function: String,
    /// The arguments as JSON.
    pub args: String,
}

/// The rules of every row: a query for the rows that break it, and the finding.
const RULES: [(&str, &str); 3] = [
    ("SELECT task FROM ends WHERE task NOT IN (SELECT id FROM tasks)", "has an end and is not there itself"),
    (
        "SELECT task FROM retries WHERE task NOT IN (SELECT id FROM tasks)",
        "has attempts and is not there itself",
    ),
    (
        "SELECT task FROM ends WHERE state NOT IN ('done', 'failed', 'cancelled', 'expired')",
        "has ended in a way that does not exist",
    ),
];

impl QueueFile {
    /// Opens a file for reading; a server may use it at the same time.
    ///
    /// # Errors
    /// When there is none, or it is none of this program's, or of another version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let open = || {
            if !path.exists() {
                bail!("there is no such file: has the server been started with this queue_file?");
            }
            let connection = schema::open_to_read(path, None)?;
            schema::recognise(&connection)?;
            Ok(connection)
        };
        let connection = open().with_context(|| format!("opening the queue {}", path.display()))?;
        Ok(Self { path: path.to_owned(), connection })
    }

    /// Everything that is wrong with the file; nothing if it is in order. At most a hundred findings.
    ///
    /// # Errors
    /// When the file cannot be read at all.
    pub fn check(&self) -> Result<Vec<String>> {
        let mut findings = Vec::new();
        let mut read = self.connection.prepare(&format!("PRAGMA integrity_check({FINDINGS_MAX})"))?;
        for finding in read.query_map([], |row| row.get::<_, String>(0))? {
            findings.push(finding.with_context(|| format!("reading {}", self.path.display()))?);
        }
        findings.retain(|finding| finding != "ok");
        // What SQLite cannot read, the rules cannot either.
        if !findings.is_empty() {
            return Ok(findings);
        }
        for (rule, what) in RULES {
            let mut read = self.connection.prepare(&format!("{rule} LIMIT {FINDINGS_MAX}"))?;
            for id in read.query_map([], |row| row.get::<_, i64>(0))? {
                findings.push(format!("task {} {what}", id?));
            }
        }
        self.check_tasks(&mut findings)?;
        for FunctionRecord { name, registration, .. } in self.functions()? {
            if let Err(error) = Registration::of_record(&name, &registration) {
                findings.push(format!("the function {} of workers is damaged: {error}", ShownName(&name)));
            }
        }
        Ok(findings)
    }

    /// The functions that workers have registered, damaged ones included; none in a file that no server of
    /// this version has opened.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn functions(&self) -> Result<Vec<FunctionRecord>> {
        if !schema::has_table(&self.connection, "functions")? {
            return Ok(Vec::new());
        }
        Ok(functions(&self.connection)?)
    }

    /// Reads every task as a server would.
    fn check_tasks(&self, findings: &mut Vec<String>) -> Result<()> {
        let sql = format!("SELECT {} FROM tasks t LEFT JOIN retries r ON r.task = t.id", super::row::COLUMNS);
        let names = SharedNames::default();
        let mut read = self.connection.prepare(&sql)?;
        for task in read.query_map([], |row| super::row::task(row, &names, 0))? {
            let LoadedTask { record, damage } = task?;
            let is_json = || serde_json::from_slice::<IgnoredAny>(&record.new.args).is_ok();
            let id = record.id;
            match damage {
                Some(damage) => findings.push(format!("task {id} is damaged: {damage}")),
                None if !is_json() => findings.push(format!("task {id} has arguments that are not JSON")),
                None => {}
            }
            if findings.len() >= FINDINGS_MAX as usize {
                break;
            }
        }
        Ok(())
    }

    /// Writes a copy of the file as it is at one moment, also while the server runs.
    ///
    /// # Errors
    /// When `to` exists already, or cannot be written: then it is not left half done.
    pub fn backup(&self, to: impl AsRef<Path>) -> Result<()> {
        let to = to.as_ref();
        if to.exists() {
            bail!("{} exists already, and a backup writes over nothing", to.display());
        }
        self.copy(to).inspect_err(|_| {
            // Half a copy is of no use.
            let _ = std::fs::remove_file(to);
        })
    }

    fn copy(&self, to: &Path) -> Result<()> {
        let context = || format!("writing {}", to.display());
        // SQLite takes the copy, too, for something that is written.
        self.connection.pragma_update(None, "query_only", false)?;
        // SQLite writes into an empty file, whose permissions stay.
        files::private().write(true).create_new(true).open(to).with_context(context)?;
        let copied = self.connection.execute("VACUUM INTO ?1", params![to.to_string_lossy()]);
        self.connection.pragma_update(None, "query_only", true)?;
        copied.with_context(context)?;
        File::open(to).and_then(|file| file.sync_all()).with_context(context)
    }

    /// All that is known of one task; `None` if it is not kept.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn details(&self, id: TaskId) -> Result<Option<TaskDetails>> {
        Ok(read_details(&self.connection, &SharedNames::default(), id)?)
    }

    /// One task as a server would run it; `None` if it is not kept.
    ///
    /// # Errors
    /// When the file cannot be read, or the task is damaged.
    pub fn task(&self, id: TaskId) -> Result<Option<Arc<TaskRecord>>> {
        let now_ms = framework_protocol::task::now_ms();
        match load_one(&self.connection, &SharedNames::default(), id, now_ms)? {
            Some(LoadedTask { damage: Some(damage), .. }) => bail!("task {id} is damaged: {damage}"),
            task => Ok(task.map(|task| Arc::new(task.record))),
        }
    }

    /// Calls `show` with every waiting task in the order of the ids; returns their number.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn waiting(&self, mut show: impl FnMut(WaitingTask)) -> Result<u64> {
        let sql = "SELECT id, function, args FROM tasks t \
            WHERE NOT EXISTS (SELECT 1 FROM ends e WHERE e.task = t.id) ORDER BY id";
        let mut read = self.connection.prepare(sql)?;
        let mut rows = read.query([])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            show(WaitingTask {
                id: row.get::<_, i64>(0)?.unsigned_abs(),
                function: super::row::text(row, 1).unwrap_or_default(),
                args: super::row::text(row, 2).unwrap_or_default(),
            });
            count += 1;
        }
        Ok(count)
    }
}

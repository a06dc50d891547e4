//! The file: its tables, its version, and how it is tuned.
//!
//! People may open it with `sqlite3`. A task is a row of `tasks` for as long as it is kept; it has ended when
//! there is a row of `ends` for it, and waits otherwise. Times are milliseconds since 1970 in UTC (`_ms`),
//! durations of attempts microseconds (`_us`), arguments and results JSON.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use framework_protocol::Durability;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::chosen;
use super::figure_history::HISTORY;

/// What the program writes; a file of a higher version is refused.
pub(super) const VERSION: i64 = 4;
/// Marks a file as one of ours: "thnk".
const APPLICATION_ID: i64 = 0x7468_6e6b;

const TABLES: &str = "
    CREATE TABLE tasks (
        id INTEGER PRIMARY KEY,
        function TEXT NOT NULL,
        queue TEXT NOT NULL,
        priority INTEGER NOT NULL,
        accepted_ms INTEGER NOT NULL,
        due_ms INTEGER,
        batch INTEGER,
        -- JSON: the options that differ from the defaults of all functions, and those that only few tasks have
        options TEXT,
        args TEXT NOT NULL
    );
    CREATE INDEX tasks_of_batch ON tasks (batch, id) WHERE batch IS NOT NULL;
    CREATE TABLE ends (
        task INTEGER PRIMARY KEY,
        -- done, failed, cancelled or expired
        state TEXT NOT NULL,
        ended_ms INTEGER NOT NULL,
        -- the last attempt, if the task ended with one
        attempt INTEGER,
        started_ms INTEGER,
        ran_us INTEGER,
        pid INTEGER,
        -- NULL for a done task: the result is null
        result TEXT,
        error TEXT,
        -- the worker elsewhere that ran the last attempt, under the name that it gave itself
        worker TEXT
    );
    -- attempts that were followed by another one
    CREATE TABLE attempts (
        task INTEGER NOT NULL,
        number INTEGER NOT NULL,
        started_ms INTEGER NOT NULL,
        ran_us INTEGER,
        pid INTEGER NOT NULL,
        error TEXT,
        -- the worker elsewhere that ran it
        worker TEXT,
        PRIMARY KEY (task, number)
    ) WITHOUT ROWID;
    -- tasks that have attempts behind them and wait for another one
    CREATE TABLE retries (
        task INTEGER PRIMARY KEY,
        attempts INTEGER NOT NULL,
        failures INTEGER NOT NULL,
        crashes INTEGER NOT NULL,
        due_ms INTEGER,
        pause_ms INTEGER NOT NULL
    );
    -- tasks that were cancelled while they ran
    CREATE TABLE cancels (task INTEGER PRIMARY KEY);
    -- progress and log, as JSON
    CREATE TABLE notes (task INTEGER PRIMARY KEY, notes TEXT NOT NULL);
    -- idempotency keys
    CREATE TABLE keys (
        function TEXT NOT NULL,
        key TEXT NOT NULL,
        task INTEGER NOT NULL,
        until_ms INTEGER NOT NULL,
        PRIMARY KEY (function, key)
    ) WITHOUT ROWID;
    CREATE INDEX keys_of_task ON keys (task);
    CREATE TABLE batches (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        function TEXT NOT NULL,
        -- open, abandoned, running or ended
        state TEXT NOT NULL,
        total INTEGER NOT NULL,
        done INTEGER NOT NULL,
        failed INTEGER NOT NULL,
        cancelled INTEGER NOT NULL,
        expired INTEGER NOT NULL,
        opened_ms INTEGER NOT NULL,
        ended_ms INTEGER,
        then_function TEXT,
        then_task INTEGER
    );
    CREATE TABLE queues (name TEXT PRIMARY KEY, paused INTEGER NOT NULL) WITHOUT ROWID;
    -- the last time that was dealt with, the last that has run, and its task
    CREATE TABLE schedules (
        name TEXT PRIMARY KEY, seen_ms INTEGER, fired_ms INTEGER, task INTEGER, paused INTEGER NOT NULL
    ) WITHOUT ROWID;
    -- one row: the next id, and how many tasks have ended of which nothing else is kept
    CREATE TABLE ledger (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        next_id INTEGER NOT NULL,
        done INTEGER NOT NULL,
        failed INTEGER NOT NULL,
        cancelled INTEGER NOT NULL,
        expired INTEGER NOT NULL
    );
    INSERT INTO ledger VALUES (1, 0, 0, 0, 0, 0);
";

/// Changes of many tasks that are under way: the next process goes on with those that it finds.
const CHANGES: &str = "
    CREATE TABLE IF NOT EXISTS changes (
        id INTEGER PRIMARY KEY,
        -- cancel, retry, forget or flush
        kind TEXT NOT NULL,
        -- of this batch, or this queue, or all
        batch INTEGER,
        queue TEXT,
        -- the tasks between these two ids are to be changed
        after INTEGER NOT NULL,
        before INTEGER NOT NULL,
        -- only the failed tasks of this function, and of this cause
        function TEXT,
        cause TEXT
    );
";
/// The tags of the tasks that have some, for searches; they are also among the options of these tasks.
const TAGS: &str = "
    CREATE TABLE IF NOT EXISTS tags (
        name TEXT NOT NULL,
        value TEXT NOT NULL,
        task INTEGER NOT NULL,
        PRIMARY KEY (name, value, task)
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS tags_of_task ON tags (task);
";
/// Finds the failed tasks among all that have ended.
const FAILED: &str = "CREATE INDEX IF NOT EXISTS ends_failed ON ends (task) WHERE state = 'failed'";
/// The functions that workers have registered; made where it is missing.
pub(super) const FUNCTIONS: &str = "
    CREATE TABLE IF NOT EXISTS functions (
        name TEXT PRIMARY KEY,
        -- JSON: the defaults of its tasks, and the schema of their arguments
        registration TEXT NOT NULL,
        -- when a worker was last there that runs it
        seen_ms INTEGER NOT NULL
    ) WITHOUT ROWID;
";
/// The changes from each version to the next one.
const MIGRATIONS: [&str; VERSION as usize - 1] = [
    "
    CREATE TABLE keys_of_functions (
        function TEXT NOT NULL,
        key TEXT NOT NULL,
        task INTEGER NOT NULL,
        until_ms INTEGER NOT NULL,
        PRIMARY KEY (function, key)
    ) WITHOUT ROWID;
    INSERT INTO keys_of_functions
        SELECT t.function, k.key, k.task, k.until_ms FROM keys k JOIN tasks t ON t.id = k.task;
    DROP TABLE keys;
    ALTER TABLE keys_of_functions RENAME TO keys;
    CREATE INDEX keys_of_task ON keys (task);
",
    "
    ALTER TABLE ends ADD COLUMN worker TEXT;
    ALTER TABLE attempts ADD COLUMN worker TEXT;
",
    "
    CREATE TABLE IF NOT EXISTS changes (
        id INTEGER PRIMARY KEY, kind TEXT NOT NULL, batch INTEGER, queue TEXT,
        after INTEGER NOT NULL, before INTEGER NOT NULL
    );
    ALTER TABLE changes ADD COLUMN function TEXT;
    ALTER TABLE changes ADD COLUMN cause TEXT;
",
];

/// Figures of 2 cores, 10 million push + done cycles in groups of 2,048: 4 KB pages 182,000 cycles a second,
/// 16 KB 417,000, 32 KB 548,000; a commit of one task writes about two pages, so that small ones suit single
/// clients.
pub(super) const PAGE_BYTES: u32 = 16 * 1024;
/// The cache of the connection that writes; the others live on what the system caches.
const CACHE_KIB: i64 = 32 * 1024;
const READER_CACHE_KIB: i64 = 4 * 1024;
/// How long another program, such as `sqlite3`, may hold the file.
const BUSY: Duration = Duration::from_secs(5);

/// Opens the file for writing; makes it, or brings it to this version, if need be.
pub(super) fn open(path: &Path, vfs: Option<&str>, durability: Durability) -> Result<Connection> {
    let mut connection =
        connect(path, vfs, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    match identity(&connection)? {
        (0, 0, 0) => create(&mut connection)?,
        (APPLICATION_ID, VERSION, _) => {}
        (APPLICATION_ID, older @ 1..VERSION, _) => migrate(&mut connection, older)?,
        (APPLICATION_ID, newer, _) if newer > VERSION => bail!(
            "it was written by a newer version of the program (schema {newer}, this one knows {VERSION}): \
             use that version, or another queue_file"
        ),
        _ => bail!("it is a database of another program: choose another queue_file"),
    }
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        bail!("its folder does not allow a write-ahead log (journal_mode is {mode})");
    }
    connection.pragma_update(
        None,
        "synchronous",
        match durability {
            Durability::Fsync => "FULL",
            // Only the copying of the log into the file is synced then, so that a power cut loses and never
            // damages.
            Durability::Async | Durability::Memory => "NORMAL",
        },
    )?;
    connection.execute_batch(CHANGES)?;
    connection.execute_batch(FAILED)?;
    connection.execute_batch(TAGS)?;
    connection.execute_batch(FUNCTIONS)?;
    connection.execute_batch(HISTORY)?;
    chosen::create(&connection)?;
    Ok(connection)
}

/// Opens a file that exists, for reading only.
pub(super) fn open_to_read(path: &Path, vfs: Option<&str>) -> Result<Connection> {
    let connection = connect(path, vfs, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    Ok(connection)
}

/// Opens a damaged file, to read as much of it as there is.
pub(super) fn open_to_salvage(path: &Path) -> Result<Connection> {
    let connection = connect(path, None, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // Without it, SQLite reads nothing at all of a file that is shorter than it says itself.
    connection.pragma_update(None, "writable_schema", true)?;
    connection.pragma_update(None, "query_only", true)?;
    let read = connection.query_row("PRAGMA schema_version", [], |row| row.get::<_, i64>(0));
    match read {
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) => {
            Err(error.into())
        }
        _ => Ok(connection),
    }
}

fn connect(path: &Path, vfs: Option<&str>, flags: OpenFlags) -> Result<Connection> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs)?,
        None => Connection::open_with_flags(path, flags)?,
    };
    connection.busy_timeout(BUSY)?;
    // Otherwise a statement with a range is planned anew each time that it is executed.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// The application, the version, and how many tables there are.
pub(super) fn identity(connection: &Connection) -> Result<(i64, i64, i64)> {
    let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    Ok((
        number("PRAGMA application_id")?,
        number("PRAGMA user_version")?,
        number("SELECT count(*) FROM sqlite_schema")?,
    ))
}

/// Whether the file has a table, which one of an earlier version may not have.
pub(super) fn has_table(connection: &Connection, name: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)";
    connection.query_row(sql, [name], |row| row.get(0))
}

/// Whether the file says which workers ran attempts; one of schema 2 does not.
pub(super) fn has_workers(connection: &Connection) -> bool {
    connection.prepare_cached("SELECT worker FROM attempts LIMIT 0").is_ok()
}

/// Refuses a file that is not one of ours, or newer.
pub(super) fn recognise(connection: &Connection) -> Result<()> {
    match identity(connection)? {
        (APPLICATION_ID, 1..=VERSION, _) => Ok(()),
        (APPLICATION_ID, other, _) => {
            bail!("its schema has version {other}, and this program knows {VERSION}")
        }
        _ => bail!("it is not a queue of this program"),
    }
}

fn create(connection: &mut Connection) -> Result<()> {
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit().context("creating its tables")
}

/// Brings the file from an older version to this one, in one transaction.
fn migrate(connection: &mut Connection, version: i64) -> Result<()> {
    let transaction = connection.transaction()?;
    for migration in MIGRATIONS.iter().skip(version as usize - 1) {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit().with_context(|| format!("bringing it from schema {version} to {VERSION}"))
}

//! Opens the file of a store at the start, and says what is wrong with it.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use framework_protocol::task::TaskId;

use super::checkpoint::Checkpoints;
use super::commit_counts::CommitCounts;
use super::inheritance::free_slots;
use super::journal::Journal;
use super::names::SharedNames;
use super::queue_lock::QueueLock;
use super::recovery::{Recovered, recover};
use super::reserve::Reserve;
use super::running_slots::{LastProcess, RunningSlots};
use super::write_error::WriteError;
use super::write_queue::WriteQueue;
use super::writer::Writer;
use super::{Sqlite, SqliteOptions, SqliteShared, SqliteState, log_check, repair, schema};
use crate::store::changes::RunningChanges;
use crate::store::index::TaskIndex;
use crate::store::wakeups::Wakeups;
use crate::store::{Rules, StoreOptions};

impl Sqlite {
    /// Opens the store, and makes it if it is not there; every task that had not ended waits again.
    ///
    /// # Errors
    /// When another process uses the file, when it is damaged, of another program or of a newer version, or
    /// when the disk does not let it be read and written. Nothing has been changed then.
    pub fn open(file: SqliteOptions, options: StoreOptions, rules: Arc<dyn Rules>) -> Result<Self> {
        let path = file.file.clone();
        Self::open_file(file, options, rules).map_err(|error| explain(error, &path))
    }

    fn open_file(options: SqliteOptions, store: StoreOptions, rules: Arc<dyn Rules>) -> Result<Self> {
        let SqliteOptions { file, durability, clock, vfs } = options;
        if repair::finished(&file).exists() {
            bail!("a repair of it was interrupted: run `think queue:repair` again, which goes on with it");
        }
        let vfs = vfs.as_deref();
        let lock = if vfs.is_none() { Some(QueueLock::take(&file)?) } else { None };
        // SQLite reads the log when it opens the file, and says nothing about a damage.
        let damage = lock.as_ref().and_then(|lock| log_check::find_damage(lock.resolved()));
        let mut connection = schema::open(&file, vfs, durability)?;
        // Not before it is known to be a queue.
        let (slots, last) = open_slots(lock.as_ref())?;
        let folder = file.parent().filter(|_| vfs.is_none()).map(Path::to_owned);
        let mut checkpoints = Checkpoints::of(&mut connection, folder)?;
        let names = SharedNames::default();
        let mut index = TaskIndex::new(store.clone(), store.hot_bytes, rules);
        let Recovered { retention, next_id, records, inherited } =
            recover(&connection, &mut index, &store, &names, &last, clock.now())?;
        let reserve = open_reserve(lock.as_ref())?;
        // A disk that is full from the beginning is treated like one that becomes full.
        let is_full = reserve.as_ref().is_some_and(|reserve| !reserve.is_held());
        if is_full {
            checkpoints.empty(&connection);
            tracing::error!("{}", WriteError::no_reserve().describe());
        }
        let (free_slots, free_remote_slots) = free_slots(slots.as_deref());
        let mut write_queue = WriteQueue::default();
        write_queue.note(records);
        let shared = Arc::new(SqliteShared {
            state: Mutex::new(SqliteState {
                index,
                write_queue,
                arriving: 0,
                changes: RunningChanges::default(),
                write_error: is_full.then(WriteError::no_reserve),
                damage: damage.or_else(|| missing_tasks(next_id, last.next_id)),
                checkpoint_error: None,
                read_error: Duration::ZERO,
                free_slots,
                free_remote_slots,
                inherited: Vec::new(),
            }),
            work: Condvar::new(),
            wakeups: Wakeups::new(store.groups.len()),
            clock,
            durability,
            names,
            reader: Mutex::new(schema::open_to_read(&file, vfs)?),
            queries: Mutex::new(schema::open_to_read(&file, vfs)?),
            slots,
            commits: CommitCounts::default(),
            lock,
        });
        shared.inherit(inherited);
        // No id is given twice, even if its first task is lost.
        let journal = Journal::new(
            connection,
            checkpoints,
            next_id.max(last.next_id).max(store.first_id),
            retention,
            &store,
        );
        let writer = Writer::new(shared.clone(), journal, reserve, store.change_chunk);
        let writer = std::thread::Builder::new().name("store".into()).spawn(move || writer.run())?;
        Ok(Self { shared, writer: Mutex::new(Some(writer)) })
    }
}

/// Opens the record of what was running; there is none without a lock.
fn open_slots(lock: Option<&QueueLock>) -> Result<(Option<Arc<RunningSlots>>, LastProcess)> {
    let Some(lock) = lock else { return Ok((None, LastProcess::default())) };
    lock.restrict()?;
    let (slots, last) = RunningSlots::open(lock.resolved())?;
    Ok((Some(Arc::new(slots)), last))
}

fn open_reserve(lock: Option<&QueueLock>) -> Result<Option<Reserve>> {
    lock.map(|lock| Reserve::open(lock.resolved())).transpose().context("taking room for ends")
}

/// What is wrong when the file's tasks end before the id that the last process was to give next, for people;
/// it is logged.
fn missing_tasks(found: TaskId, expected: TaskId) -> Option<String> {
    let last = expected.checked_sub(1).filter(|last| *last >= found)?;
    let damage = format!(
        "The tasks {found} to {last} were accepted and are not in the queue's file: its log (-wal) was removed, or an \
         earlier copy of the file was put in its place. New tasks are numbered from {expected}."
    );
    tracing::error!("{damage}");
    Some(damage)
}

/// Whether an error says that a value in the file is none that the program writes.
fn is_spoiled(error: &(dyn std::error::Error + 'static)) -> bool {
    use rusqlite::Error;
    matches!(
        error.downcast_ref::<Error>(),
        Some(
            Error::InvalidColumnType(..)
                | Error::FromSqlConversionFailure(..)
                | Error::IntegralValueOutOfRange(..)
                | Error::Utf8Error(..)
        )
    )
}

/// Adds the file's name and some advice to an error.
fn explain(error: anyhow::Error, file: &Path) -> anyhow::Error {
    let code = error.chain().find_map(|cause| cause.downcast_ref::<rusqlite::Error>()?.sqlite_error_code());
    let advice = match code {
        Some(rusqlite::ErrorCode::DatabaseCorrupt) => {
            "; `think queue:check` tells what is damaged, `think queue:repair` saves what can be read"
        }
        Some(rusqlite::ErrorCode::NotADatabase) => "; move it away, or choose another queue_file",
        Some(rusqlite::ErrorCode::CannotOpen | rusqlite::ErrorCode::ReadOnly) => {
            "; the file and its folder must be readable and writable"
        }
        None if error.chain().any(is_spoiled) => {
            "; a row is damaged: `think queue:check` names it, `think queue:repair` saves what can be read"
        }
        _ => "",
    };
    error.context(format!("the queue cannot be opened: {}{advice}", file.display()))
}

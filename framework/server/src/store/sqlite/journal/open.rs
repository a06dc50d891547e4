//! Opens the file at the start.

use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::{Result, bail};

use super::SqliteJournal;
use crate::store::StoreOptions;
use crate::store::durable::journal::OpenedJournal;
use crate::store::running_marks::{LastProcess, RunningMarks};
use crate::store::sqlite::checkpoint::Checkpoints;
use crate::store::sqlite::names::SharedNames;
use crate::store::sqlite::queue_lock::QueueLock;
use crate::store::sqlite::reader::SqliteReader;
use crate::store::sqlite::running_slots::RunningSlots;
use crate::store::sqlite::{SqliteOptions, log_check, repair, schema};

/// Opens the file of a store.
pub(super) fn open(options: SqliteOptions, store: &StoreOptions) -> Result<OpenedJournal<SqliteJournal>> {
    let SqliteOptions { file, durability, clock, vfs } = options;
    if repair::finished(&file).exists() {
        bail!("a repair of it was interrupted: run `think queue:repair` again, which goes on with it");
    }
    let vfs = vfs.as_deref();
    let lock = if vfs.is_none() { Some(Arc::new(QueueLock::take(&file)?)) } else { None };
    // SQLite reads the log when it opens the file, and says nothing about a damage.
    let damage = lock.as_ref().and_then(|lock| log_check::find_damage(lock.resolved()));
    let mut connection = schema::open(&file, vfs, durability)?;
    // Not before it is known to be a queue.
    let (slots, last) = open_slots(lock.as_deref())?;
    let folder = file.parent().filter(|_| vfs.is_none()).map(Path::to_owned);
    let checkpoints = Checkpoints::of(&mut connection, folder)?;
    let names = Arc::new(SharedNames::default());
    let connections = || Ok::<_, anyhow::Error>(Mutex::new(schema::open_to_read(&file, vfs)?));
    let (bodies, queries, searches) = (connections()?, connections()?, connections()?);
    let marks = slots.clone().map(|slots| slots as Arc<dyn RunningMarks>);
    let reader = SqliteReader { bodies, queries, searches, names: names.clone(), slots, lock: lock.clone() };
    let journal = SqliteJournal::new(connection, checkpoints, names, lock, store);
    Ok(OpenedJournal { journal, reader, clock, durability, marks, last, damage })
}

/// Opens the record of what was running; there is none without a lock.
fn open_slots(lock: Option<&QueueLock>) -> Result<(Option<Arc<RunningSlots>>, LastProcess)> {
    let Some(lock) = lock else { return Ok((None, LastProcess::default())) };
    lock.restrict()?;
    let (slots, last) = RunningSlots::open(lock.resolved())?;
    Ok((Some(Arc::new(slots)), last))
}

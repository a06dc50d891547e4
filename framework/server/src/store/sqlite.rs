//! A store in a SQLite file: acknowledged tasks survive the process, and a power cut.
//!
//! One thread writes. While it syncs a group to the disk, the next one gathers; when the sync is done, the
//! tasks of the group can be taken and every answer goes out. The order of work is in memory, as small as it
//! gets, and rebuilt by one scan at the start; the bodies of tasks are in memory too as long as there is
//! room, and otherwise read back when their turn comes. Ends of tasks are written with the next group, or by
//! themselves shortly after: a lost end means that its task runs again.

mod query;
mod bulk_insert;
mod admin;
mod queue_file;
mod write_queue;
mod journal;
mod names;
mod retention;
mod recovery;
mod repair;
mod row;
mod schema;
mod takers;
mod running_slots;
mod write_error;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use framework_protocol::task::{NewTask, TaskId};
use framework_protocol::views::AdminResult;
use framework_protocol::{Durability, ErrorCode, RequestError};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
pub use queue_file::{QueueFile, WaitingTask};
pub use repair::{LostRows, RepairReport, repair};
pub use running_slots::QueueLocked;
use rusqlite::Connection;
use rustc_hash::FxHashSet;

use self::journal::Journal;
use self::names::SharedNames;
use self::recovery::{Recovered, recover};
use self::running_slots::RunningSlots;
use self::write_error::WriteError;
use self::write_queue::{WriteQueue, WriteRequest};
use self::writer::Writer;
use super::index::TaskIndex;
use super::wakeups::Wakeups;
use super::{
    Accepted, AdminCommand, Clock, Lease, LeaseToken, OnAccepted, Query, QueryResult, Rules, Settlement,
    Store, StoreOptions, StoreStats, TerminatedTask,
};

/// The bytes of waiting tasks that are held in memory beside the disk.
const BODY_BYTES: usize = 64 * 1024 * 1024;

/// A store in a SQLite file.
#[derive(Debug)]
pub struct Sqlite {
    shared: Arc<SqliteShared>,
    /// `None` once the store is unlocked.
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// The options of a file that is opened.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// The file; its folder is made if it is not there.
    pub file: PathBuf,
    /// [`Durability::Fsync`] or [`Durability::Async`].
    pub durability: Durability,
    pub clock: Clock,
    /// The name of a registered SQLite VFS to reach the file by, for tests; `None` is the file system. Then
    /// there is no lock, and no record of what was running.
    pub vfs: Option<String>,
}

impl SqliteOptions {
    /// A file, with every answer on the disk.
    pub fn at(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), durability: Durability::Fsync, clock: Clock::machine(), vfs: None }
    }
}

/// The parts that callers and the thread that writes share.
#[derive(Debug)]
struct SqliteShared {
    state: Mutex<SqliteState>,
    /// Wakes the thread that writes.
    work: Condvar,
    wakeups: Wakeups,
    clock: Clock,
    durability: Durability,
    names: SharedNames,
    /// Reads the bodies of taken tasks.
    reader: Mutex<Connection>,
    /// Answers queries, which may take long.
    queries: Mutex<Connection>,
    slots: Option<Arc<RunningSlots>>,
}

/// The index, and the requests on their way to the disk.
#[derive(Debug)]
struct SqliteState {
    index: TaskIndex,
    write_queue: WriteQueue,
    /// The number of pushed tasks that are on their way to the disk.
    arriving: usize,
    write_error: Option<WriteError>,
    /// The slots in which attempts are marked as running, and those of them that are free.
    slots: Option<Arc<RunningSlots>>,
    free_slots: Vec<u32>,
}

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

    fn open_file(file: SqliteOptions, options: StoreOptions, rules: Arc<dyn Rules>) -> Result<Self> {
        let SqliteOptions { file, durability, clock, vfs } = file;
        let vfs = vfs.as_deref();
        let (slots, died) = match vfs {
            Some(_) => (None, Vec::new()),
            None => {
                if let Some(folder) = file.parent() {
                    std::fs::create_dir_all(folder)
                        .with_context(|| format!("making {}", folder.display()))?;
                }
                let (slots, died) = RunningSlots::open(&file)?;
                (Some(Arc::new(slots)), died)
            }
        };
        let connection = schema::open(&file, vfs, durability)?;
        let now = clock.now();
        let wakeups = Wakeups::new(options.groups.len());
        let names = SharedNames::default();
        let mut index = TaskIndex::new(options.clone(), BODY_BYTES, rules);
        let Recovered { retention, next_id, records } =
            recover(&connection, &mut index, &options, &names, &died, now)?;
        if vfs.is_none() {
            // A disk that is full from the beginning is treated like one that becomes full.
            let _ = schema::ballast(&connection);
        }
        let shared = Arc::new(SqliteShared {
            state: Mutex::new(SqliteState {
                index,
                write_queue: WriteQueue::default(),
                arriving: 0,
                write_error: None,
                slots: slots.clone(),
                free_slots: if slots.is_some() { RunningSlots::all() } else { Vec::new() },
            }),
            work: Condvar::new(),
            wakeups,
            clock,
            durability,
            names,
            reader: Mutex::new(schema::open_to_read(&file, vfs)?),
            queries: Mutex::new(schema::open_to_read(&file, vfs)?),
            slots,
        });
        let journal = Journal::new(connection, next_id, retention, &options);
        shared.state().write_queue.note(records);
        let writer = Writer::new(shared.clone(), journal, &file, vfs.is_none());
        let writer = std::thread::Builder::new().name("store".into()).spawn(move || writer.run())?;
        Ok(Self { shared, writer: Mutex::new(Some(writer)) })
    }
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
        _ => "",
    };
    error.context(format!("the queue cannot be opened: {}{advice}", file.display()))
}

impl Sqlite {
    /// Asks the thread that writes to write the requests on their way and to end; `None` if it was asked
    /// before.
    fn stop(&self) -> Option<JoinHandle<()>> {
        self.shared.state().write_queue.stop();
        self.shared.work.notify_one();
        self.writer.lock().expect("no one panics while holding the thread").take()
    }
}

impl Drop for Sqlite {
    /// Writes the requests on their way, as far as the disk lets them be.
    fn drop(&mut self) {
        let _ = self.stop().map(JoinHandle::join);
    }
}

fn closed() -> RequestError {
    RequestError::new(ErrorCode::ShuttingDown, "The store is closed.")
}

impl Store for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn durability(&self) -> Durability {
        self.shared.durability
    }

    fn push_observed(
        &self,
        tasks: Vec<NewTask>,
        on_accepted: OnAccepted,
    ) -> BoxFuture<'_, Vec<Result<Accepted, RequestError>>> {
        self.shared.push(tasks, on_accepted).boxed()
    }

    /// Without effect: the thread that writes wakes them itself, when a group is on the disk.
    fn wake_workers(&self) {}

    fn ready(&self, group: usize) -> BoxFuture<'_, bool> {
        let look = move || {
            let now = self.shared.clock.now();
            let mut state = self.shared.state();
            state.wake(now);
            let is_broken = state.write_error.as_ref().is_some_and(WriteError::is_final);
            let found = if state.index.is_closed() {
                Ok(false)
            } else if state.index.is_due(group, now) && !is_broken {
                Ok(true)
            } else {
                Err(state.index.next_due(group, now))
            };
            self.shared.unlock_and_wake(state);
            found
        };
        self.shared.wakeups.wait(group, look).boxed()
    }

    fn take(&self, group: usize, limit: usize) -> BoxFuture<'_, Vec<Lease>> {
        std::future::ready(self.shared.take(group, limit)).boxed()
    }

    fn renew(&self, leases: Vec<(TaskId, LeaseToken)>) -> BoxFuture<'_, Vec<bool>> {
        let now = self.shared.clock.now();
        let mut state = self.shared.state();
        let renewed = leases.into_iter().map(|(id, token)| state.index.renew(id, token, now)).collect();
        std::future::ready(renewed).boxed()
    }

    fn settle(&self, batch: Vec<Settlement>) -> BoxFuture<'_, Vec<bool>> {
        std::future::ready(self.shared.settle(batch)).boxed()
    }

    fn next_terminated(&self) -> BoxFuture<'_, Vec<TerminatedTask>> {
        let look = move || {
            let now = self.shared.clock.now();
            let mut state = self.shared.state();
            state.wake(now);
            let terminated = state.index.terminated();
            let found =
                if terminated.is_empty() { Err(state.index.next_expiry(now)) } else { Ok(terminated) };
            self.shared.unlock_and_wake(state);
            found
        };
        self.shared.wakeups.wait_terminated(look).boxed()
    }

    fn apply(&self, command: AdminCommand) -> BoxFuture<'_, Result<AdminResult, RequestError>> {
        let result = self.shared.request(|answer| WriteRequest::Command(command, answer));
        async { result.await.unwrap_or_else(|| Err(closed())) }.boxed()
    }

    fn query(&self, query: Query) -> BoxFuture<'_, Result<QueryResult, RequestError>> {
        let shared = self.shared.clone();
        async move {
            // All that happened before is on the disk then, where the answer is read.
            shared.request(WriteRequest::Barrier).await;
            let read = move || shared.query(query);
            tokio::task::spawn_blocking(read).await.unwrap_or_else(|_| Err(closed()))
        }
        .boxed()
    }

    fn counts(&self) -> BoxFuture<'_, StoreStats> {
        std::future::ready(self.shared.counts()).boxed()
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        self.shared.request(WriteRequest::Barrier).map(drop).boxed()
    }

    fn close(&self) {
        self.shared.state().index.close();
        self.shared.wakeups.notify_all();
    }

    fn unlock(&self) -> BoxFuture<'_, ()> {
        async {
            if let Some(writer) = self.stop() {
                let _ = tokio::task::spawn_blocking(|| writer.join()).await;
            }
            // Callers that wait for what a broken disk did not take are answered by that.
            self.shared.state().write_queue.clear();
            if let Some(slots) = &self.shared.slots {
                slots.release();
            }
        }
        .boxed()
    }
}

/// Ids as a set.
fn set(ids: &[TaskId]) -> FxHashSet<TaskId> {
    ids.iter().copied().collect()
}

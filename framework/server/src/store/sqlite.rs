//! Tasks in a SQLite file: what a client has been told survives the process, and a power cut.
//!
//! One thread writes. While it syncs a group to the disk, the next one gathers; when the sync is done, the tasks of
//! the group can be taken and every answer goes out. The order of work is in memory, as small as it gets, and
//! rebuilt by one scan at the start; the bodies of tasks are in memory too as long as there is room, and read back
//! when their turn comes otherwise. Ends of tasks ride along with the next group, or go by themselves shortly
//! after: to lose one is to run its task again.

mod query;
mod bulk_insert;
mod admin;
mod queue_file;
mod write_queue;
mod journal;
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
use framework_protocol::task::{Handlers, NewTask, TaskId, WaiterId};
use framework_protocol::views::AdminResult;
use framework_protocol::{Durability, ErrorCode, RequestError};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
pub use queue_file::{QueueFile, WaitingTask};
pub use repair::{LostRows, RepairReport, repair};
pub use running_slots::QueueLocked;
pub(super) use running_slots::RunningSlots;
use rusqlite::Connection;
use rustc_hash::FxHashSet;

use self::journal::Journal;
use self::recovery::{Recovered, recover};
use self::write_error::WriteError;
use self::write_queue::{WriteQueue, WriteRequest};
use self::writer::Writer;
use super::index::TaskIndex;
use super::wakeups::Wakeups;
use super::{
    Accepted, AdminCommand, Clock, Lease, LeaseToken, Query, QueryResult, Settlement, Store, StoreOptions,
    StoreStats, TerminatedTask,
};

/// Waiting tasks of up to so many bytes are held in memory beside the disk.
const HOT_BYTES: usize = 64 * 1024 * 1024;

/// A store in a SQLite file.
#[derive(Debug)]
pub struct Sqlite {
    shared: Arc<SqliteShared>,
    /// Until the store is released.
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// The file; its folder is made if it is not there.
    pub file: PathBuf,
    /// [`Durability::Fsync`] or [`Durability::Async`].
    pub durability: Durability,
    pub clock: Clock,
    /// The name of a registered SQLite VFS to reach the file by, for tests; `None` is the file system. Then there
    /// is no lock, and no record of what was running.
    pub vfs: Option<String>,
}

impl SqliteOptions {
    /// A file, with every answer on the disk.
    pub fn at(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), durability: Durability::Fsync, clock: Clock::machine(), vfs: None }
    }
}

/// What the takers, the askers and the thread that writes share.
#[derive(Debug)]
struct SqliteShared {
    state: Mutex<SqliteState>,
    /// Rung for the thread that writes.
    work: Condvar,
    wakeups: Wakeups,
    clock: Clock,
    durability: Durability,
    handlers: Arc<Handlers>,
    /// Reads the bodies of taken tasks.
    reader: Mutex<Connection>,
    /// Answers questions, which may take long.
    asker: Mutex<Connection>,
    slots: Option<Arc<RunningSlots>>,
}

/// The books, and what is on its way to the disk.
#[derive(Debug)]
struct SqliteState {
    index: TaskIndex,
    write_queue: WriteQueue,
    /// Tasks that are on their way to the disk and wait from then on.
    arriving: usize,
    write_error: Option<WriteError>,
    /// Where attempts are marked as running, and what is free of it.
    slots: Option<Arc<RunningSlots>>,
    free: Vec<u32>,
}

impl Sqlite {
    /// Opens the store, and makes it if it is not there; every task that had not ended waits again.
    ///
    /// # Errors
    /// When another process uses the file, when it is damaged, of another program or of a newer version, or when
    /// the disk does not let it be read and written. Nothing has been changed then.
    pub fn open(opening: SqliteOptions, policy: StoreOptions, handlers: Arc<Handlers>) -> Result<Self> {
        let file = opening.file.clone();
        Self::open_file(opening, policy, handlers).map_err(|error| explain(error, &file))
    }

    fn open_file(opening: SqliteOptions, policy: StoreOptions, handlers: Arc<Handlers>) -> Result<Self> {
        let SqliteOptions { file, durability, clock, vfs } = opening;
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
        let wakeups = Wakeups::new(policy.groups.len());
        let mut index = TaskIndex::new(policy.clone(), HOT_BYTES);
        let Recovered { kept, next_id, records } =
            recover(&connection, &mut index, &policy, &handlers, &died, now)?;
        if vfs.is_none() {
            // A disk that is full from the beginning is met like one that becomes full.
            drop(schema::ballast(&connection));
        }
        let shared = Arc::new(SqliteShared {
            state: Mutex::new(SqliteState {
                index,
                write_queue: WriteQueue::default(),
                arriving: 0,
                write_error: None,
                slots: slots.clone(),
                free: if slots.is_some() { RunningSlots::all() } else { Vec::new() },
            }),
            work: Condvar::new(),
            wakeups,
            clock,
            durability,
            handlers,
            reader: Mutex::new(schema::open_to_read(&file, vfs)?),
            asker: Mutex::new(schema::open_to_read(&file, vfs)?),
            slots,
        });
        let journal = Journal::new(connection, next_id, kept, &policy);
        shared.state().write_queue.note(records);
        let writer = Writer::new(shared.clone(), journal, &file, vfs.is_none());
        let writer = std::thread::Builder::new().name("store".into()).spawn(move || writer.run())?;
        Ok(Self { shared, writer: Mutex::new(Some(writer)) })
    }
}

/// What was wrong, with the file's name and what to do.
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
    /// Asks the thread that writes to write what is on its way and to end; `None` if that was asked before.
    fn stop(&self) -> Option<JoinHandle<()>> {
        self.shared.state().write_queue.stop();
        self.shared.work.notify_one();
        self.writer.lock().expect("no one panics while holding the thread").take()
    }
}

impl Drop for Sqlite {
    /// Writes what is on its way, as far as the disk lets it be.
    fn drop(&mut self) {
        drop(self.stop().map(JoinHandle::join));
    }
}

fn gone() -> RequestError {
    RequestError::new(ErrorCode::ShuttingDown, "The store is closed.")
}

impl Store for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn durability(&self) -> Durability {
        self.shared.durability
    }

    fn push(&self, batch: Vec<NewTask>) -> BoxFuture<'_, Vec<Result<Accepted, RequestError>>> {
        self.shared.push(batch).boxed()
    }

    /// The thread that writes rings itself, when a group is on the disk.
    fn wake_workers(&self) {}

    fn ready(&self, line: usize) -> BoxFuture<'_, bool> {
        let look = move || {
            let now = self.shared.clock.now();
            let mut state = self.shared.state();
            state.wake(now);
            let is_broken = state.write_error.as_ref().is_some_and(WriteError::is_final);
            let found = match state.index.is_due(line, now) && !is_broken {
                _ if state.index.is_closed() => Ok(false),
                true => Ok(true),
                false => Err(state.index.next_due(line, now)),
            };
            self.shared.unlock_and_wake(state);
            found
        };
        self.shared.wakeups.wait(line, look).boxed()
    }

    fn take(&self, line: usize, limit: usize) -> BoxFuture<'_, Vec<Lease>> {
        std::future::ready(self.shared.take(line, limit)).boxed()
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
            let departed = state.index.terminated();
            let found = match departed.is_empty() {
                true => Err(state.index.next_expiry(now)),
                false => Ok(departed),
            };
            self.shared.unlock_and_wake(state);
            found
        };
        self.shared.wakeups.wait_terminated(look).boxed()
    }

    fn apply(&self, change: AdminCommand) -> BoxFuture<'_, Result<AdminResult, RequestError>> {
        let ask = self.shared.ask(|answer| WriteRequest::Change(change, answer));
        async { ask.await.unwrap_or_else(|| Err(gone())) }.boxed()
    }

    fn query(&self, question: Query) -> BoxFuture<'_, Result<QueryResult, RequestError>> {
        let shared = self.shared.clone();
        async move {
            // What happened before is on the disk by then, where the answer is read.
            shared.ask(WriteRequest::Barrier).await;
            let find = move || shared.query(question);
            tokio::task::spawn_blocking(find).await.unwrap_or_else(|_| Err(gone()))
        }
        .boxed()
    }

    fn counts(&self) -> BoxFuture<'_, StoreStats> {
        std::future::ready(self.shared.counts()).boxed()
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        self.shared.ask(WriteRequest::Barrier).map(drop).boxed()
    }

    fn close(&self) {
        self.shared.state().index.close();
        self.shared.wakeups.notify_all();
    }

    fn unlock(&self) -> BoxFuture<'_, Vec<(TaskId, WaiterId)>> {
        async {
            let waiters = self.shared.state().index.waiters();
            if let Some(writer) = self.stop() {
                drop(tokio::task::spawn_blocking(|| writer.join()).await);
            }
            // Whoever waits for what a broken disk did not take is told by that.
            self.shared.state().write_queue.clear();
            if let Some(slots) = &self.shared.slots {
                slots.release();
            }
            waiters
        }
        .boxed()
    }
}

/// Ids as a set.
fn set(ids: &[TaskId]) -> FxHashSet<TaskId> {
    ids.iter().copied().collect()
}

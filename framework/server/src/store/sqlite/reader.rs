//! Reads the file beside the thread that writes it.

use std::fs;
use std::future::ready;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard};

use framework_protocol::task::TaskId;
use framework_protocol::views::Filter;
use rusqlite::Connection;
use rustc_hash::FxHashMap;

use super::load::{load, one};
use super::names::SharedNames;
use super::queue_lock::QueueLock;
use super::running_slots::RunningSlots;
use super::write_error::read_error;
use super::{listing, query};
use crate::store::durable::journal::{JournalReader, Listed, LoadedTask, ReadError};
use crate::store::{DiskFigures, Query, QueryResult};

/// The connections that read.
#[derive(Debug)]
pub struct SqliteReader {
    /// Reads the bodies of taken tasks.
    pub(super) bodies: Mutex<Connection>,
    /// Answers queries, which may take long.
    pub(super) queries: Mutex<Connection>,
    /// Answers those that look at many tasks, for which the others do not wait.
    pub(super) searches: Mutex<Connection>,
    pub(super) names: Arc<SharedNames>,
    pub(super) slots: Option<Arc<RunningSlots>>,
    /// The last field, because it has to be dropped last.
    pub(super) lock: Option<Arc<QueueLock>>,
}

fn connection(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().expect("no one panics while reading")
}

fn unread(error: rusqlite::Error) -> ReadError {
    ReadError(format!("{} See think queue:check.", read_error(&error)))
}

impl JournalReader for SqliteReader {
    const PLACE: &'static str = "the queue's file";

    /// Reads at once.
    fn tasks(
        &self,
        ids: &[TaskId],
        now_ms: u64,
    ) -> impl Future<Output = Result<Vec<LoadedTask>, ReadError>> + Send {
        let read = load(&connection(&self.bodies), &self.names, ids, now_ms);
        ready(read.map_err(|error| read_error(&error)))
    }

    /// Reads at once.
    fn accepted_ms(&self, ids: &[TaskId]) -> impl Future<Output = FxHashMap<TaskId, u64>> + Send {
        let file = connection(&self.bodies);
        let accepted_ms = |id: &TaskId| {
            let accepted = one::<i64>(&file, "SELECT accepted_ms FROM tasks WHERE id = ?1", *id);
            Some((*id, accepted.ok().flatten()?.unsigned_abs()))
        };
        ready(ids.iter().filter_map(accepted_ms).collect())
    }

    fn query(&self, query: &Query, now_ms: u64) -> Result<QueryResult, ReadError> {
        let file = if query.is_slow() { &self.searches } else { &self.queries };
        query::query(&connection(file), &self.names, query, now_ms).map_err(unread)
    }

    fn list(
        &self,
        filter: &Filter,
        visit: &mut dyn FnMut(Listed) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let file = if filter.is_search() { &self.searches } else { &self.queries };
        listing::list(&connection(file), &self.names, filter, visit).map_err(unread)
    }

    /// Asks the file system.
    fn measure(&self, figures: &mut DiskFigures) {
        if let Some(lock) = &self.lock {
            let length = |path| fs::metadata(path).map_or(0, |file| file.len());
            figures.file_bytes = length(lock.resolved());
            figures.log_bytes = length(lock.log());
            let room = rustix::fs::statvfs(lock.resolved()).ok();
            figures.free_bytes = room.map(|room| room.f_bavail.saturating_mul(room.f_frsize));
        }
    }

    fn release(&self) {
        if let Some(slots) = &self.slots {
            slots.release();
        }
        if let Some(lock) = &self.lock {
            lock.release();
        }
    }
}

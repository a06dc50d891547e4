//! A store in a SQLite file: acknowledged tasks survive the process, and a power cut.

mod attempts;
mod backlog;
mod batch_counts;
mod bulk_insert;
mod change;
mod checkpoint;
mod chosen;
mod ended_tasks;
mod failures;
mod figure_history;
mod group;
mod journal;
mod listing;
mod load;
mod log_check;
mod names;
mod open;
mod query;
mod queue_file;
mod queue_lock;
mod reader;
mod recovery;
mod repair;
mod reserve;
mod row;
mod running_slots;
mod schema;
mod selection;
mod write_error;

use std::path::PathBuf;

use framework_protocol::Durability;
pub use journal::SqliteJournal;
pub use queue_file::{QueueFile, WaitingTask};
pub use repair::{LostRows, RepairReport, repair};
pub use running_slots::{QueueLocked, RunningSlots};

use super::Clock;
use super::durable::DurableStore;

/// A store in a SQLite file.
pub type Sqlite = DurableStore<SqliteJournal>;

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

//! Errors of the disk, and the time for which they refuse pushes.
#![expect(unsafe_code, reason = "SQLite alone knows the error of the system behind its own")]

use std::path::Path;
use std::time::Duration;

use framework_protocol::{ErrorCode, RequestError};
use rusqlite::{Connection, ffi};
use rustix::io::Errno;

use crate::store::clock::Now;

/// The time for which pushes are refused without another write.
const PAUSE: Duration = Duration::from_millis(100);

/// The reason why nothing is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WriteError {
    kind: WriteErrorKind,
    message: String,
    until: Duration,
    is_reserve_used: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WriteErrorKind {
    /// There is no room.
    Full,
    /// Another program holds the file.
    Busy,
    /// A file of the queue is not at its path any more.
    Missing,
    /// A write or a sync failed: it is unknown what the disk has kept, so that nothing more is written to it.
    Failed,
}

/// Whether the system refused a write because a quota, or the limit on the size of a file, is reached, which
/// SQLite does not tell from a disk that failed. Nothing of such a write is needed, unlike one that cannot be
/// synced.
fn lacks_room(error: &rusqlite::Error, connection: &Connection) -> bool {
    let Some(error) = error.sqlite_error() else { return false };
    let is_write = matches!(error.extended_code, ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_SHMSIZE);
    // SAFETY: the connection is open, and this only reads a number of it.
    let number = unsafe { ffi::sqlite3_system_errno(connection.handle()) };
    // It may be 0, which is no `Errno`.
    is_write && [Errno::DQUOT, Errno::FBIG, Errno::NOSPC].iter().any(|known| known.raw_os_error() == number)
}

impl WriteError {
    /// The meaning of an error that the connection has just returned.
    pub(super) fn of(error: &rusqlite::Error, connection: &Connection, now: Now) -> Self {
        let kind = match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => WriteErrorKind::Full,
            Some(_) if lacks_room(error, connection) => WriteErrorKind::Full,
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
                WriteErrorKind::Busy
            }
            _ => WriteErrorKind::Failed,
        };
        Self { kind, message: error.to_string(), until: now.steady + PAUSE, is_reserve_used: false }
    }

    /// A file of the queue was removed or replaced.
    pub(super) fn missing(file: &Path, now: Now) -> Self {
        Self {
            kind: WriteErrorKind::Missing,
            message: file.display().to_string(),
            until: now.steady,
            is_reserve_used: false,
        }
    }

    /// Whether a file of the queue is not at its path any more.
    pub(super) fn is_missing(&self) -> bool {
        self.kind == WriteErrorKind::Missing
    }

    /// Whether only a new start ends it.
    pub(super) fn is_final(&self) -> bool {
        self.kind == WriteErrorKind::Failed
    }

    /// Whether there is no room.
    pub(super) fn is_full(&self) -> bool {
        self.kind == WriteErrorKind::Full
    }

    /// The same error, which is over only when there is room again.
    pub(super) fn until_there_is_room(self) -> Self {
        Self { is_reserve_used: self.is_full(), ..self }
    }

    /// Nothing was written: there is no room for the reserve.
    pub(super) fn no_reserve() -> Self {
        let message = "too little room is left for the ends of tasks".to_owned();
        Self { kind: WriteErrorKind::Full, message, until: Duration::ZERO, is_reserve_used: true }
    }

    /// Whether pushes are refused without another write: the reserve is for ends.
    pub(super) fn refuses_pushes(&self, now: Now) -> bool {
        self.is_reserve_used || self.refuses(now)
    }

    /// Whether nothing is written for a moment.
    pub(super) fn refuses(&self, now: Now) -> bool {
        self.is_final() || self.is_missing() || now.steady < self.until
    }

    pub(super) fn refusal(&self) -> RequestError {
        let code = match self.kind {
            WriteErrorKind::Full => ErrorCode::StorageFull,
            WriteErrorKind::Busy => ErrorCode::Busy,
            WriteErrorKind::Failed | WriteErrorKind::Missing => ErrorCode::StorageFailed,
        };
        let retry_after_ms = (!self.is_final()).then_some(1_000);
        RequestError { retry_after_ms, ..RequestError::new(code, self.describe()) }
    }

    /// The error as a sentence for people.
    pub(super) fn describe(&self) -> String {
        let message = &self.message;
        match self.kind {
            WriteErrorKind::Full => {
                format!("The disk is full, nothing is accepted until there is room: {message}.")
            }
            WriteErrorKind::Busy => format!("Another program holds the queue's file: {message}."),
            WriteErrorKind::Missing => format!(
                "The queue's file {message} was removed or replaced while the server uses it. Nothing is accepted \
                 until it is back at its place or the server is started again."
            ),
            WriteErrorKind::Failed => format!(
                "The disk failed, and nothing is accepted any more until the server is started again: {message}. \
                 What was acknowledged before stays acknowledged."
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_error(code: i32) -> WriteError {
        let connection = Connection::open_in_memory().unwrap();
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        WriteError::of(&error, &connection, Now::default())
    }

    #[test]
    fn failed_sync_refuses_tasks_for_ever_and_a_full_disk_for_a_moment() {
        let later = Now { steady: Duration::from_secs(365 * 24 * 60 * 60), ..Now::default() };
        let failed = write_error(ffi::SQLITE_IOERR_FSYNC);
        assert!(failed.is_final() && failed.refuses_pushes(later));
        assert_eq!(failed.refusal().code, ErrorCode::StorageFailed);
        assert_eq!(failed.refusal().retry_after_ms, None);
        for (code, refused) in
            [(ffi::SQLITE_FULL, ErrorCode::StorageFull), (ffi::SQLITE_BUSY, ErrorCode::Busy)]
        {
            let error = write_error(code);
            assert!(!error.is_final() && error.refuses_pushes(Now::default()));
            assert!(!error.refuses_pushes(later));
            assert_eq!(error.refusal().code, refused);
        }
        assert!(write_error(ffi::SQLITE_FULL).until_there_is_room().refuses_pushes(later));
    }
}

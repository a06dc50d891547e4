//! What an error of SQLite means for the queue.
#![expect(unsafe_code, reason = "SQLite alone knows the error of the system behind its own")]

use std::path::Path;

use rusqlite::{Connection, ffi};
use rustix::io::Errno;

use crate::store::durable::journal::{JournalError, JournalErrorKind, ReadError};

/// The meaning of an error with which the connection has refused to write.
pub(super) fn write_error(error: &rusqlite::Error, connection: &Connection) -> JournalError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => full(&error.to_string()),
        Some(_) if lacks_room(error, connection) => full(&error.to_string()),
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
            let message = format!("Another program holds the queue's file: {error}.");
            JournalError::new(JournalErrorKind::Busy, message)
        }
        // It is unknown what the disk has kept.
        _ => {
            let message = format!(
                "The disk failed, and nothing is accepted any more until the server is started again: {error}. \
                 What was acknowledged before stays acknowledged."
            );
            JournalError::new(JournalErrorKind::Failed, message)
        }
    }
}

/// There is no room, for this reason.
pub(super) fn full(reason: &str) -> JournalError {
    let message = format!("The disk is full, nothing is accepted until there is room: {reason}.");
    JournalError::new(JournalErrorKind::Full, message)
}

/// A file of the queue was removed or replaced.
pub(super) fn missing(file: &Path) -> JournalError {
    let message = format!(
        "The queue's file {} was removed or replaced while the server uses it. Nothing is accepted until it is \
         back at its place or the server is started again.",
        file.display()
    );
    JournalError::new(JournalErrorKind::Unavailable, message)
}

pub(super) fn read_error(error: &rusqlite::Error) -> ReadError {
    ReadError(format!("The queue's file cannot be read: {error}."))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_error_tells_a_failed_sync_from_a_full_disk_and_a_busy_file() {
        let connection = Connection::open_in_memory().unwrap();
        for (code, kind) in [
            (ffi::SQLITE_IOERR_FSYNC, JournalErrorKind::Failed),
            (ffi::SQLITE_FULL, JournalErrorKind::Full),
            (ffi::SQLITE_BUSY, JournalErrorKind::Busy),
        ] {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            assert_eq!(write_error(&error, &connection).kind, kind);
        }
    }
}

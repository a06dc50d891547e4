//! Errors of the disk, and the time for which they refuse pushes.

use std::time::Duration;

use framework_protocol::{ErrorCode, RequestError};

use crate::store::clock::Now;

/// The time for which pushes are refused without another write.
const PAUSE: Duration = Duration::from_millis(100);

/// The reason why nothing is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WriteError {
    kind: WriteErrorKind,
    message: String,
    until: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WriteErrorKind {
    /// There is no room.
    Full,
    /// Another program holds the file.
    Busy,
    /// A write or a sync failed: it is unknown what the disk has kept, so that nothing more is written to it.
    Failed,
}

impl WriteError {
    pub(super) fn of(error: &rusqlite::Error, now: Now) -> Self {
        let kind = match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => WriteErrorKind::Full,
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
                WriteErrorKind::Busy
            }
            _ => WriteErrorKind::Failed,
        };
        Self { kind, message: error.to_string(), until: now.steady + PAUSE }
    }

    /// Whether only a new start ends it.
    pub(super) fn is_final(&self) -> bool {
        self.kind == WriteErrorKind::Failed
    }

    /// Whether there is no room.
    pub(super) fn is_full(&self) -> bool {
        self.kind == WriteErrorKind::Full
    }

    /// Whether pushes are refused without another write.
    pub(super) fn refuses(&self, now: Now) -> bool {
        self.is_final() || now.steady < self.until
    }

    pub(super) fn refusal(&self) -> RequestError {
        let code = match self.kind {
            WriteErrorKind::Full => ErrorCode::StorageFull,
            WriteErrorKind::Busy => ErrorCode::Busy,
            WriteErrorKind::Failed => ErrorCode::StorageFailed,
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
            WriteErrorKind::Failed => format!(
                "The disk failed, and nothing is accepted any more until the server is started again: {message}. \
                 What was acknowledged before stays acknowledged."
            ),
        }
    }
}

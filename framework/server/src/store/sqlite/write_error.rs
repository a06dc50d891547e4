//! What the disk does not let us do, and until when.

use std::time::Duration;

use framework_protocol::{ErrorCode, RequestError};

use crate::store::clock::Now;

/// How long pushes are refused without asking the disk again.
const PAUSE: Duration = Duration::from_millis(100);

/// Why nothing is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WriteError {
    kind: Kind,
    message: String,
    until: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// There is no room.
    Full,
    /// Another program holds the file.
    Busy,
    /// A write or a sync failed: nobody knows what the disk has kept, so that no more is entrusted to it.
    Failed,
}

impl WriteError {
    pub(super) fn of(error: &rusqlite::Error, now: Now) -> Self {
        let kind = match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Kind::Full,
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => Kind::Busy,
            _ => Kind::Failed,
        };
        Self { kind, message: error.to_string(), until: now.steady + PAUSE }
    }

    /// Whether only a new start ends it.
    pub(super) fn is_final(&self) -> bool {
        self.kind == Kind::Failed
    }

    /// Whether there is no room.
    pub(super) fn is_full(&self) -> bool {
        self.kind == Kind::Full
    }

    /// Whether it makes no sense to ask the disk yet.
    pub(super) fn refuses(&self, now: Now) -> bool {
        self.is_final() || now.steady < self.until
    }

    pub(super) fn refusal(&self) -> RequestError {
        let code = match self.kind {
            Kind::Full => ErrorCode::StorageFull,
            Kind::Busy => ErrorCode::Busy,
            Kind::Failed => ErrorCode::StorageFailed,
        };
        let retry_after_ms = (!self.is_final()).then_some(1_000);
        RequestError { retry_after_ms, ..RequestError::new(code, self.describe()) }
    }

    /// For people.
    pub(super) fn describe(&self) -> String {
        let message = &self.message;
        match self.kind {
            Kind::Full => format!("The disk is full, nothing is accepted until there is room: {message}."),
            Kind::Busy => format!("Another program holds the queue's file: {message}."),
            Kind::Failed => format!(
                "The disk failed, and nothing is accepted any more until the server is started again: {message}. \
                 What was acknowledged before stays acknowledged."
            ),
        }
    }
}

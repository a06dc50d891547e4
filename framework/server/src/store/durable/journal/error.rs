//! Why a journal does not write or read.

use std::time::Duration;

const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why a journal has not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct JournalError {
    pub kind: JournalErrorKind,
    /// A sentence for people.
    pub message: String,
    /// When refused callers are to try again, unless that is never.
    pub retry_after: Duration,
}

/// What follows from an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalErrorKind {
    /// Nothing was written, for there is no room.
    Full,
    /// Nothing was written; another try may succeed.
    Busy,
    /// Nothing was written: the journal is not where it was, or cannot be reached.
    Unavailable,
    /// It is not known whether it was written. The same call is made again until it is.
    InDoubt,
    /// Nothing is written any more until a new start: it is not known what was kept of what was acknowledged,
    /// or the journal belongs to another process.
    Failed,
}

impl JournalError {
    pub fn new(kind: JournalErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: RETRY_AFTER }
    }

    #[must_use]
    pub fn with_retry_after(self, retry_after: Duration) -> Self {
        Self { retry_after, ..self }
    }
}

/// Why a journal cannot be read, as a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReadError(pub String);

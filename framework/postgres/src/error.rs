//! What an error of the database means for the queue.

use std::time::Duration;

use framework_server::store::durable::journal::{JournalError, JournalErrorKind, ReadError};
use tokio_postgres::error::SqlState;

/// Why a call has failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("{}", describe(.0))]
    Database(#[from] tokio_postgres::Error),
    #[error("it does not answer within {} s", .0.as_secs_f64())]
    TimedOut(Duration),
    #[error("{0}")]
    Connect(String),
}

/// An error of the database with its cause, in one line.
fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => format!("{} ({})", error.message(), error.code().code()),
        None => {
            let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
            format!("{error}{}", cause.unwrap_or_default())
        }
    }
}

impl CallError {
    fn code(&self) -> Option<&SqlState> {
        if let Self::Database(error) = self { error.code() } else { None }
    }

    /// Whether the server itself has refused a statement, so that its transaction is not there.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Database(error) if error.as_db_error().is_some())
    }

    /// The meaning of an error of which nothing was written.
    pub(crate) fn unwritten(&self) -> JournalError {
        let code = self.code();
        if code == Some(&SqlState::DIVISION_BY_ZERO) {
            return fenced();
        }
        if code == Some(&SqlState::DISK_FULL) {
            let message =
                format!("The database's disk is full, nothing is accepted until there is room: {self}.");
            return JournalError::new(JournalErrorKind::Full, message);
        }
        JournalError::new(JournalErrorKind::Busy, format!("The database does not write: {self}."))
    }

    /// The meaning of an error after which nobody knows what was written.
    pub(crate) fn in_doubt(&self) -> JournalError {
        let message = format!("It is not known whether the database has written: {self}. It is asked again.");
        JournalError::new(JournalErrorKind::InDoubt, message)
    }

    pub(crate) fn unread(&self) -> ReadError {
        ReadError(format!("The database cannot be read: {self}."))
    }
}

/// Another server writes there now, and this one never again.
pub(crate) fn fenced() -> JournalError {
    let message = "Another server has taken the queue over in the database; this one accepts and runs nothing any \
                   more until it is started again. What was acknowledged before stays acknowledged.";
    JournalError::new(JournalErrorKind::Failed, message)
}

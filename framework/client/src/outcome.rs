//! The end of a task.

use std::fmt;

use serde_json::value::RawValue;

/// The end of a task.
#[derive(Debug, Clone)]
pub enum TaskEnd {
    /// It succeeded with this result, as JSON.
    Done(Box<RawValue>),
    /// It failed with this error.
    Failed(String),
    /// It was cancelled, in the way that this text describes.
    Cancelled(String),
    /// It was not started in time; the text says when it expired.
    Expired(String),
}

impl fmt::Display for TaskEnd {
    /// Completes a sentence that begins with the task.
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Done(_) => formatter.write_str("is done"),
            Self::Failed(error) => write!(formatter, "has failed: {error}"),
            Self::Cancelled(reason) => write!(formatter, "was cancelled: {reason}"),
            Self::Expired(reason) => write!(formatter, "has expired: {reason}"),
        }
    }
}

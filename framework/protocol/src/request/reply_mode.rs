//! The replies that a client wants.

use serde::{Deserialize, Serialize};

/// The replies that a task request gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplyMode {
    /// The id, as soon as the task is accepted.
    #[default]
    Ack,
    /// The outcome, when the task has ended.
    Result,
    /// Both of them.
    Both,
    /// None, unless the request is refused.
    None,
}

impl ReplyMode {
    /// Whether the outcome is to be sent.
    pub fn awaits(self) -> bool {
        matches!(self, Self::Result | Self::Both)
    }
}

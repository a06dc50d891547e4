//! Why a request was refused: a code for programs, a sentence for people, a suggestion when one is near.

use framework_console::config::did_you_mean;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The reason of a [`RequestError`], as programs read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request is not understood: a field of the wrong type, or one that does not exist.
    BadRequest,
    /// The arguments do not fit the handler.
    BadArguments,
    /// No handler has this name.
    UnknownFunction,
    /// No wire command has this name.
    UnknownCommand,
    /// No queue has this name.
    UnknownQueue,
    /// There is no task, batch or schedule of this name, or it is not kept any more.
    UnknownTask,
    /// What was asked for makes no sense in the state that things are in.
    Conflict,
    /// The disk is full: nothing is accepted until there is room.
    StorageFull,
    /// The disk failed: nothing is accepted until somebody has looked at it and started the server again.
    StorageFailed,
    /// The message exceeds `package_max_length`.
    TooLong,
    /// The arguments are nested deeper than 127 levels.
    TooDeep,
    /// The queue is full; try again after `retry_after_ms`.
    Busy,
    /// The connection limit is reached.
    TooManyConnections,
    /// The server is shutting down and accepts nothing any more.
    ShuttingDown,
    /// The server wants a token, and none or a wrong one was shown.
    Unauthorized,
    /// The token does not give the right to do this.
    Forbidden,
    /// The listener does not speak the protocol of the first bytes.
    UnknownProtocol,
    /// The store or a callback failed; nothing was accepted.
    Internal,
}

/// A request that was not accepted: nothing of it was queued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}{}", self.suggestion.as_deref().map(|near| format!(" Did you mean \"{near}\"?")).unwrap_or_default())]
pub struct RequestError {
    /// For programs.
    pub code: ErrorCode,
    /// For people.
    #[serde(rename = "error")]
    pub message: String,
    /// What was probably meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// When trying again makes sense, in milliseconds from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl RequestError {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), suggestion: None, retry_after_ms: None }
    }

    /// Adds the nearest of `known` to `wrong`, if one is near enough.
    pub fn suggesting<'a>(mut self, wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        self.suggestion = did_you_mean(wrong, known).map(str::to_owned);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_reads_as_a_sentence_with_its_suggestion() {
        let refusal = RequestError::new(ErrorCode::UnknownFunction, "There is no function \"ehco\".");
        assert_eq!(
            refusal.suggesting("ehco", ["echo"]).to_string(),
            "There is no function \"ehco\". Did you mean \"echo\"?"
        );
    }
}

//! The error of a request: a code for programs, a sentence for people, and a suggestion if a known name is
//! near.

use std::fmt;

use framework_console::config::did_you_mean;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{BatchId, TaskId};

/// The code of a [`RequestError`], for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request is malformed: a field has the wrong type, or does not exist.
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
    /// The idempotency key belongs to a task with other arguments.
    KeyConflict,
    /// The request makes no sense in the present state of its subject.
    Conflict,
    /// Other workers have registered the function with another schema of its arguments.
    SchemaConflict,
    /// The disk is full: nothing is accepted until there is room.
    StorageFull,
    /// The disk failed: nothing is accepted until an operator has checked it and restarted the server.
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
    /// The server requires a token, and none or an invalid one was sent.
    Unauthorized,
    /// The token lacks the scope that the request needs.
    Forbidden,
    /// The listener does not accept the protocol of the first bytes.
    UnknownProtocol,
    /// The store or a callback failed; nothing was accepted.
    Internal,
}

/// The longest message of an error, and of one that serde wrote, in bytes: clients choose names in it.
const MESSAGE_MAX: usize = 4096;
const SERDE_MESSAGE_MAX: usize = 512;
/// The letters of a client's name that a message shows.
const NAME_MAX: usize = 64;

/// A name that a client chose, cut for a message: `"aaaa.."`, in quotes.
#[derive(Debug, Clone, Copy)]
pub struct ShownName<'a>(pub &'a str);

impl fmt::Display for ShownName<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self.0.char_indices().nth(NAME_MAX) {
            Some((end, _)) => write!(formatter, "\"{}..\"", &self.0[..end]),
            None => write!(formatter, "\"{}\"", self.0),
        }
    }
}

/// The text, without its middle if it is longer than `limit` bytes.
fn without_middle(text: String, limit: usize) -> String {
    if text.len() <= limit {
        return text;
    }
    let is_boundary = |index: &usize| text.is_char_boundary(*index);
    let head = (0..=limit / 2).rev().find(is_boundary).unwrap_or(0);
    let tail = (text.len() - limit / 2..=text.len()).find(is_boundary).unwrap_or(text.len());
    format!("{} .. {}", &text[..head], &text[tail..])
}

/// A request that was not accepted: nothing of it was queued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}{}", self.suggestion.as_deref().map(|near| format!(" Did you mean \"{near}\"?")).unwrap_or_default())]
pub struct RequestError {
    /// The reason, for programs.
    pub code: ErrorCode,
    /// The reason, as a sentence for people.
    #[serde(rename = "error")]
    pub message: String,
    /// The name that was probably meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// The time after which a retry makes sense, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl RequestError {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let message = without_middle(message.into(), MESSAGE_MAX);
        Self { code, message, suggestion: None, retry_after_ms: None }
    }

    /// A request that is malformed.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::BadRequest, message)
    }

    /// A message that was meant as JSON and is none: names the place where it breaks.
    pub(crate) fn broken_json(error: &serde_json::Error) -> Self {
        Self::bad_request(format!("The message is no valid JSON: {error}."))
    }

    /// A message that exceeds a limit of the server.
    pub fn too_long(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::TooLong, message)
    }

    /// The arguments do not fit the function: serde's message, with the nearest field where one is unknown.
    pub fn bad_arguments(function: &str, error: &serde_json::Error) -> Self {
        let message = error.to_string();
        if message.starts_with("recursion limit exceeded") {
            let message = format!("The arguments of \"{function}\" are nested deeper than 127 levels.");
            return Self::new(ErrorCode::TooDeep, message);
        }
        // "unknown field `tittle`, expected one of `to`, `title` at line 1 column 9": the wrong name, then the
        // right ones.
        let mut quoted = message.split('`').skip(1).step_by(2);
        let suggestion = if message.starts_with("unknown") {
            quoted.next().and_then(|wrong| did_you_mean(wrong, quoted)).map(str::to_owned)
        } else {
            None
        };
        let message = without_middle(message, SERDE_MESSAGE_MAX);
        let message = format!("The arguments do not fit the function \"{function}\": {message}.");
        Self { suggestion, ..Self::new(ErrorCode::BadArguments, message) }
    }

    /// The request names no function, and the server has no default.
    pub fn no_default_function() -> Self {
        Self::new(
            ErrorCode::UnknownFunction,
            "The request names no function and no default_function is set in config/server.toml.",
        )
    }

    /// No task has this id, or it is not kept any more.
    pub fn unknown_task(id: TaskId) -> Self {
        Self::new(ErrorCode::UnknownTask, format!("There is no task {id}, or it is not kept any more."))
    }

    /// No batch has this id, or it is not kept any more.
    pub fn unknown_batch(id: BatchId) -> Self {
        Self::new(ErrorCode::UnknownTask, format!("There is no batch {id}, or it is not kept any more."))
    }

    /// The server accepts nothing any more.
    pub fn shutting_down() -> Self {
        Self::new(ErrorCode::ShuttingDown, "The server is shutting down.")
    }

    /// Adds the nearest of `known` to `wrong`, if one is near enough.
    pub fn suggesting<'a>(mut self, wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        self.suggestion = did_you_mean(wrong, known).map(str::to_owned);
        self
    }
}

#[cfg(test)]
mod tests {
    use serde::de::Error as _;

    use super::*;

    #[test]
    fn request_error_displays_as_a_sentence_with_its_suggestion() {
        let refusal = RequestError::new(ErrorCode::UnknownFunction, "There is no function \"ehco\".");
        assert_eq!(
            refusal.suggesting("ehco", ["echo"]).to_string(),
            "There is no function \"ehco\". Did you mean \"echo\"?"
        );
    }

    #[test]
    fn message_shows_the_beginning_of_a_huge_name() {
        let huge = "\u{e4}".repeat(1 << 20);
        assert_eq!(ShownName(&huge).to_string(), format!("\"{}..\"", "\u{e4}".repeat(64)));
        let error = serde_json::Error::custom(format!("unknown field `{huge}`, expected `to` at line 1"));
        let refusal = RequestError::bad_arguments("mail", &error);
        assert!(refusal.message.len() < 700 && refusal.message.ends_with("expected `to` at line 1."));
        assert!(RequestError::bad_request(huge).message.len() <= 4096 + 4);
    }

    #[test]
    fn bad_arguments_that_are_nested_too_deeply_are_too_deep() {
        let nested = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let error = serde_json::from_str::<serde_json::Value>(&nested).unwrap_err();
        assert_eq!(RequestError::bad_arguments("any", &error).code, ErrorCode::TooDeep);
    }
}

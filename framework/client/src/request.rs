//! The request for a task, as it goes over the wire.

use std::borrow::Cow;
use std::time::Duration;

use framework_protocol::task::{BatchId, Tags, Task};
use framework_protocol::{ErrorCode, ReplyMode, RequestError};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::error::{ClientError, Result};

/// A request for a task. A field that is `None` is left to the handler's own options.
#[derive(Debug, Clone, Serialize)]
pub struct Request {
    /// The handler's name; `None` is the server's `default_function`.
    pub function: Option<String>,
    pub args: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "seconds")]
    pub delay: Option<Duration>,
    /// The earliest time at which it starts, instead of a delay: `2026-12-01T09:00:00+08:00`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// The latest time at which it starts: a span such as `1h`, or a time as in `at`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// The idempotency key, 1 to 256 bytes: a second task of the function with it is the first one
    /// again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The concurrency key, 1 to 256 bytes: tasks that share it take turns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<String>,
    /// The number of attempts that may fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// The longest an attempt may take.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "seconds")]
    pub timeout: Option<Duration>,
    /// The mean pause after the first failed attempt.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "seconds")]
    pub backoff: Option<Duration>,
    /// The open batch that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchId>,
    /// The functions to run one after the other when it is done, each with the result of the one before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub then: Vec<String>,
    /// What it is to be found by.
    #[serde(skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

/// A value that can be sent: a struct that derives `Task`, or a [`Request`].
pub trait IntoRequest<'a> {
    /// # Errors
    /// [`ClientError::Refused`] when it cannot be written as JSON.
    fn into_request(self) -> Result<Cow<'a, Request>>;
}

impl<'a> IntoRequest<'a> for Request {
    fn into_request(self) -> Result<Cow<'a, Request>> {
        Ok(Cow::Owned(self))
    }
}

impl<'a> IntoRequest<'a> for &'a Request {
    fn into_request(self) -> Result<Cow<'a, Request>> {
        Ok(Cow::Borrowed(self))
    }
}

impl<'a, T: Task> IntoRequest<'a> for T {
    fn into_request(self) -> Result<Cow<'a, Request>> {
        Request::of(&self).map(Cow::Owned)
    }
}

impl Request {
    /// A request for `function` with its handler's own options; `None` is the server's `default_function`.
    pub fn new(function: Option<String>, args: Box<RawValue>) -> Self {
        Self {
            function,
            args,
            queue: None,
            priority: None,
            delay: None,
            at: None,
            expires: None,
            key: None,
            concurrency_key: None,
            attempts: None,
            timeout: None,
            backoff: None,
            batch: None,
            then: Vec::new(),
            tags: Tags::default(),
        }
    }

    /// The request for a task as its struct describes it.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when it cannot be written as JSON.
    pub fn of<T: Task>(task: &T) -> Result<Self> {
        let args = to_raw_value(task).map_err(|error| {
            let message = format!("The arguments of \"{}\" cannot be written as JSON: {error}.", T::NAME);
            ClientError::Refused(RequestError::new(ErrorCode::BadArguments, message))
        })?;
        Ok(Self::new(Some(T::NAME.to_owned()), args))
    }

    /// The line that is sent. `auto_key` applies if the request has no key of its own.
    pub(crate) fn line(&self, id: u64, reply: ReplyMode, auto_key: Option<String>) -> Vec<u8> {
        let auto_key = if self.key.is_some() { None } else { auto_key };
        let mut line = Vec::with_capacity(128 + self.args.get().len());
        serde_json::to_writer(&mut line, &Envelope { id, reply, auto_key, request: self })
            .expect("a vector takes every byte, and requests are plain structs");
        close_line(&mut line);
        line
    }
}

/// Ends a line of JSON. Line ends within it are white space, because strings hold none unescaped; they become
/// spaces, as what follows them would be a request of its own.
pub(crate) fn close_line(json: &mut Vec<u8>) {
    blank_line_ends(json);
    json.push(b'\n');
}

pub(crate) fn blank_line_ends(json: &mut [u8]) {
    json.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
}

/// A request with the fields that the client adds.
#[derive(Serialize)]
pub(crate) struct Envelope<'a> {
    pub(crate) id: u64,
    pub(crate) reply: ReplyMode,
    #[serde(rename = "key", skip_serializing_if = "Option::is_none")]
    pub(crate) auto_key: Option<String>,
    #[serde(flatten)]
    pub(crate) request: &'a Request,
}

fn seconds<S: serde::Serializer>(
    span: &Option<Duration>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    span.map(|span| span.as_secs_f64()).serialize(serializer)
}

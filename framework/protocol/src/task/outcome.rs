//! The outcome of an attempt: a result, or an error that says whether another attempt makes sense.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use crate::one_line::into_one_line;

/// The outcome of an attempt.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The handler's result, as JSON.
    Done(Bytes),
    Failed(Failure),
}

/// The reason for which an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The whole chain of causes in one line; for a panic, its message and place.
    pub message: String,
    pub retry: Retry,
}

/// The retry that a failed attempt asks for; the task needs attempts left for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Retry {
    /// After the handler's backoff.
    #[default]
    Backoff,
    /// After this long.
    After(Duration),
    /// None: the same attempt would fail again.
    Never,
}

impl Outcome {
    /// The outcome of a handler that returned.
    pub fn from_result<T: Serialize>(result: anyhow::Result<T>) -> Self {
        match result.and_then(|value| Ok(to_json(&value)?)) {
            Ok(json) => Self::Done(json),
            Err(error) => Self::Failed(error.into()),
        }
    }

    pub fn failed(message: impl Into<String>, retry: Retry) -> Self {
        Self::Failed(Failure { message: message.into(), retry })
    }

    /// The result as people read it: a JSON string without its quotes, other JSON as it is; or the error.
    pub fn text(&self) -> String {
        match self {
            Self::Done(json) => {
                serde_json::from_slice(json).unwrap_or_else(|_| String::from_utf8_lossy(json).into_owned())
            }
            Self::Failed(failure) => failure.message.clone(),
        }
    }
}

fn to_json<T: Serialize>(value: &T) -> serde_json::Result<Bytes> {
    // Most handlers return nothing, which needs no memory.
    if size_of::<T>() == 0 {
        let mut small = [0; 8];
        let mut rest = &mut small[..];
        if serde_json::to_writer(&mut rest, value).is_ok() && rest.len() == 4 && small.starts_with(b"null") {
            return Ok(Bytes::from_static(b"null"));
        }
    }
    // A handler may return raw JSON with line ends.
    serde_json::to_vec(value).map(into_one_line)
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let retry = error.downcast_ref::<Advice>().map_or(Retry::default(), |advice| advice.retry);
        Self { message: format!("{error:#}"), retry }
    }
}

/// Marks an error as one that another attempt would only repeat.
pub fn no_retry(error: impl Into<anyhow::Error>) -> anyhow::Error {
    Advice { retry: Retry::Never, error: error.into() }.into()
}

/// Marks an error as one to try again after `delay`, whatever the handler's backoff says.
pub fn retry_after(delay: Duration, error: impl Into<anyhow::Error>) -> anyhow::Error {
    Advice { retry: Retry::After(delay), error: error.into() }.into()
}

/// An error with the handler's advice on it; reads as the error itself.
#[derive(Debug)]
struct Advice {
    retry: Retry,
    error: anyhow::Error,
}

impl fmt::Display for Advice {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        self.error.fmt(formatter)
    }
}

impl std::error::Error for Advice {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn failure_of_an_error_has_its_whole_chain_in_one_line() {
        let error = anyhow!("connection refused").context("sending to ada@example.com");
        let failure = Failure::from(error);
        assert_eq!(failure.message, "sending to ada@example.com: connection refused");
        assert_eq!(failure.retry, Retry::Backoff);
    }

    #[test]
    fn no_retry_survives_context_and_is_not_seen_in_the_text() {
        let refused = || Err::<(), _>(no_retry(anyhow!("550 no such user").context("sending")));
        let failure = Failure::from(refused().context("mail").unwrap_err());
        assert_eq!(failure.message, "mail: sending: 550 no such user");
        assert_eq!(failure.retry, Retry::Never);
        let later = retry_after(Duration::from_secs(5), anyhow!("busy"));
        assert_eq!(Failure::from(later).retry, Retry::After(Duration::from_secs(5)));
    }

    #[test]
    fn outcome_of_raw_json_is_one_line() {
        let raw = serde_json::value::RawValue::from_string("{\n  \"a\": 1\n}".to_owned()).unwrap();
        let Outcome::Done(result) = Outcome::from_result(Ok(raw)) else { panic!("it is a result") };
        assert_eq!(result, "{\"a\":1}");
    }

    #[test]
    fn outcome_text_is_the_result_without_quotes() {
        assert_eq!(Outcome::from_result(Ok("hello -> OK")).text(), "hello -> OK");
        assert_eq!(Outcome::from_result(Ok([1, 2])).text(), "[1,2]");
        assert_eq!(Outcome::from_result(Ok(())).text(), "null");
    }
}

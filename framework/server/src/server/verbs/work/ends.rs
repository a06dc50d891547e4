//! The ends of attempts, as workers write them in `settle`.

use std::time::Duration;

use framework_console::config::duration;
use framework_protocol::task::{NewTask, Outcome as AttemptOutcome, Retry};
use framework_protocol::{Message, RequestError};
use serde::Deserialize;
use serde::de::Deserializer;
use serde_json::value::RawValue;

use crate::server::service::Call;
use crate::server::worker::remote::{EndReport, WorkerEnd};

/// The end of an attempt, as a worker writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndFields<'a> {
    lease: String,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<String>,
    /// A time, or `false` for no further attempt.
    #[serde(default)]
    retry: Option<RetryField>,
    #[serde(default)]
    returned: bool,
    #[serde(default)]
    cancelled: bool,
    /// Tasks to accept together with the result.
    #[serde(borrow, default)]
    push: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RetryField {
    Wanted(bool),
    After(#[serde(with = "duration")] Duration),
}

/// A field that is there, if only as `null`.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads the end with this number among those of a message.
///
/// # Errors
/// It is none.
pub(super) fn read_end(call: &Call<'_>, number: usize, text: &RawValue) -> Result<WorkerEnd, RequestError> {
    let wrong = |what: &str| RequestError::bad_request(format!("\"ends\", number {number}: {what}."));
    let end: EndFields = serde_json::from_str(text.get()).map_err(|error| wrong(&error.to_string()))?;
    let follow = end.push.iter().map(|text| follow_up(call, text)).collect::<Result<Vec<_>, _>>();
    let report = match (end.result, end.error, end.returned, end.cancelled) {
        (Some(result), None, false, false) => match &follow {
            Ok(_) => EndReport::Ended(AttemptOutcome::from_result(Ok(result))),
            Err(error) => {
                let message = format!("A task that was to follow is not accepted: {error}");
                EndReport::Ended(AttemptOutcome::failed(message, Retry::Never))
            }
        },
        (None, Some(error), false, false) => {
            EndReport::Ended(AttemptOutcome::failed(error, retry(end.retry)))
        }
        (None, None, true, false) => EndReport::Returned,
        (None, None, false, true) => EndReport::Stopped,
        _ => {
            return Err(wrong(
                "it needs one of \"result\", \"error\", \"returned\":true and \"cancelled\":true",
            ));
        }
    };
    Ok(WorkerEnd { lease: end.lease, report, follow: follow.unwrap_or_default() })
}

fn retry(field: Option<RetryField>) -> Retry {
    match field {
        None | Some(RetryField::Wanted(true)) => Retry::Backoff,
        Some(RetryField::Wanted(false)) => Retry::Never,
        Some(RetryField::After(pause)) => Retry::After(pause),
    }
}

/// A task that follows an attempt, checked as one that a client sends.
fn follow_up(call: &Call<'_>, text: &RawValue) -> Result<NewTask, RequestError> {
    match Message::parse(text.get().as_bytes()).map_err(|error| error.refusal)? {
        Message::Task(request) => call.service.check_task(call.caller.access, &request),
        _ => {
            Err(RequestError::bad_request("\"push\" has tasks such as {\"function\":\"mail\",\"args\":{}}."))
        }
    }
}

//! Reads replies: a line, the id of an accepted task, the result of a command, the end of a task.

use framework_protocol::task::TaskId;
use framework_protocol::views::State;
use framework_protocol::{Reply, RequestError, Status};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::error::{ClientError, Result};
use crate::outcome::TaskEnd;

/// The first byte of a TLS alert record.
const ALERT: u8 = 0x15;
/// The number of bytes of an unexpected reply that an error shows.
const SHOWN: usize = 200;

/// Parses one line.
///
/// # Errors
/// When it is not a reply of a task server.
pub(crate) fn parse(address: &str, line: &[u8]) -> Result<Reply> {
    serde_json::from_slice(line).map_err(|_| foreign(address, line))
}

/// The error for bytes that are not those of a task server; it names the protocol where that can be
/// recognized.
pub(crate) fn foreign(address: &str, received: &[u8]) -> ClientError {
    match received {
        [ALERT, ..] => ClientError::WantsTls(address.to_owned()),
        _ if received.starts_with(b"HTTP/") => ClientError::Http(address.to_owned()),
        _ => {
            let shown = String::from_utf8_lossy(&received[..received.len().min(SHOWN)]);
            ClientError::unexpected_line(address, shown.trim_end())
        }
    }
}

/// The state of the earlier task whose key a request has, if its reply names one.
pub(crate) fn duplicate_state(reply: &Reply) -> Option<State> {
    reply.state.as_ref().filter(|_| reply.duplicate)?.parse().ok()
}

/// The id of the task that the reply accepts.
///
/// # Errors
/// The server's own when it did not accept the task.
pub(crate) fn accepted(reply: Reply) -> Result<TaskId, RequestError> {
    match (reply.status, reply.task_id) {
        (Status::Queued, Some(id)) => Ok(id),
        _ => Err(reply.refusal()),
    }
}

/// The result of a command.
///
/// # Errors
/// When the command was refused, or the reply is of another type.
pub(crate) fn result<T: DeserializeOwned>(address: &str, reply: Reply) -> Result<T> {
    match reply.result.as_ref().and_then(|result| serde_json::from_str(result.get()).ok()) {
        Some(result) => Ok(result),
        None if reply.code.is_some() => Err(ClientError::Refused(reply.refusal())),
        None => Err(ClientError::unexpected_reply(address, &reply)),
    }
}

/// The end of a task.
///
/// # Errors
/// When the reply is an error, or does not report an end.
pub(crate) fn task_end(address: &str, reply: Reply) -> Result<TaskEnd> {
    let error = || reply.error.clone().unwrap_or_default();
    Ok(match reply.status {
        Status::Done => TaskEnd::Done(reply.result.unwrap_or_else(|| RawValue::NULL.to_owned())),
        Status::Failed => TaskEnd::Failed(error()),
        Status::Cancelled => TaskEnd::Cancelled(error()),
        Status::Expired => TaskEnd::Expired(error()),
        Status::Error => return Err(ClientError::Refused(reply.refusal())),
        _ => return Err(ClientError::unexpected_reply(address, &reply)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_recognizes_tls_and_http_and_shows_the_rest() {
        assert!(matches!(foreign("a:1", &[ALERT, 3]), ClientError::WantsTls(_)));
        assert!(matches!(foreign("a:1", b"HTTP/1.1 400 Bad Request"), ClientError::Http(_)));
        let ClientError::UnexpectedReply { line, .. } = foreign("a:1", &[b'x'; 300]) else { panic!() };
        assert_eq!(line.len(), SHOWN);
    }

    #[test]
    fn parse_rejects_what_is_no_reply() {
        let error = parse("a:1", b"{\"hello\":1}").unwrap_err();
        assert!(error.to_string().contains("{\\\"hello\\\":1}"), "{error}");
    }
}

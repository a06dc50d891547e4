//! What a worker says to join, and what it is told then.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::reply::Status;
use crate::task::{Handler, Handlers, Registration, TaskId, TaskRecord, TimeSpan, now_ms};

/// The request to become a worker.
#[derive(Debug, Serialize)]
pub struct WorkRequest<'a> {
    pub command: &'static str,
    pub version: u32,
    pub worker: &'a str,
    pub language: &'a str,
    pub credit: u32,
    pub heartbeats: bool,
    pub functions: &'a [Registration],
    /// The only queues that it takes tasks from; empty is all.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub queues: &'a [String],
    /// A secret that stays the same across its connections.
    pub session: &'a str,
    /// The leases of earlier connections that it still has.
    pub resumes: &'a [&'a str],
}

/// The reply to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JoinReply {
    pub version: u32,
    /// The silence after which the worker is lost, if it sends heartbeats; any message counts as one.
    pub lease_ms: u64,
    /// The interval of heartbeats.
    pub heartbeat_ms: u64,
    /// The most tasks that a worker may have credit for.
    pub credit_max: u32,
    /// The longest message that a worker may send, in bytes.
    pub message_max: usize,
    /// The time within which a worker with a session has to be back after its connection was lost.
    #[serde(default)]
    pub resume_ms: u64,
    /// The leases that it has again.
    #[serde(default)]
    pub resumed: Vec<String>,
    /// Those that it has asked for and does not hold any more.
    #[serde(default)]
    pub unknown: Vec<String>,
}

/// The reply to a heartbeat that names leases.
#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RenewReply {
    /// The leases whose attempts are to stop.
    pub cancel: Vec<String>,
    /// The leases that the worker does not hold any more.
    pub stale: Vec<String>,
}

/// A message of the server to a worker: the union of the fields that [`ReplyWriter`](crate::ReplyWriter)
/// writes for workers. An error is a [`Reply`](crate::Reply), as every other client gets it.
#[derive(Debug, Deserialize)]
pub struct ServerMessage<'a> {
    pub status: Status,
    /// That of the message that is answered; the worker numbers them.
    #[serde(default)]
    pub id: Option<u64>,
    #[serde(borrow, default)]
    pub lease: Option<Text<'a>>,
    #[serde(default)]
    pub task_id: Option<TaskId>,
    #[serde(borrow, default)]
    pub function: Option<Text<'a>>,
    #[serde(default)]
    pub attempt: Option<u32>,
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    #[serde(default)]
    pub accepted_ms: Option<u64>,
    /// No other attempt follows if this one fails.
    #[serde(default)]
    pub last: bool,
    /// `None` is `null`.
    #[serde(borrow, default)]
    pub args: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub stale: Vec<Text<'a>>,
    #[serde(borrow, default)]
    pub why: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub result: Option<&'a RawValue>,
}

/// A text, borrowed where it has no escapes.
#[derive(Debug, Deserialize)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// A task that the server has handed out.
#[derive(Debug)]
pub struct AssignedTask {
    /// The name of its lease.
    pub lease: Box<str>,
    pub task: Arc<TaskRecord>,
    pub attempt: u32,
}

impl<'a> ServerMessage<'a> {
    /// Parses one line.
    ///
    /// # Errors
    /// When it is no message of a task server.
    pub fn parse(line: &'a [u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(line)
    }

    /// The task of a message of [`Status::Task`]; `None` when a field is missing.
    pub fn task(&self, handlers: &Handlers) -> Option<AssignedTask> {
        let (id, function) = (self.task_id?, self.function.as_ref()?);
        let args = self.args.map(|args| Bytes::copy_from_slice(args.get().as_bytes()));
        let args = args.unwrap_or_else(|| Bytes::from_static(b"null"));
        let mut new = handlers.task(&function.0, args);
        // Only whether another attempt follows is known here, and asked for.
        new.attempts = if self.last { 1 } else { u32::MAX };
        new.timeout = self.timeout_ms.map(Duration::from_millis);
        let task = TaskRecord::new(id, new, Instant::now(), self.accepted_ms.unwrap_or_else(now_ms));
        let attempt = self.attempt?;
        task.attempts.store(attempt.saturating_sub(1), Ordering::Relaxed);
        Some(AssignedTask { lease: self.lease.as_ref()?.0.as_ref().into(), task: Arc::new(task), attempt })
    }
}

/// What a worker registers of a function of this program.
pub fn registration(handler: &Handler) -> Registration {
    let options = &handler.options;
    Registration {
        name: handler.name.to_owned(),
        queue: Some(options.queue.to_owned()),
        priority: Some(options.priority),
        attempts: Some(options.attempts),
        timeout: options.timeout.map(TimeSpan),
        backoff: Some(TimeSpan(options.backoff)),
        concurrency: Some(options.concurrency),
        schema: Some(Value::from(handler.schema())),
        replaces: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn task_of_a_message_knows_whether_another_attempt_follows() {
        let handlers = Handlers::default();
        let task = |line: &str| ServerMessage::parse(line.as_bytes()).unwrap().task(&handlers);
        let of = |more: &str| {
            format!(r#"{{"status":"task","lease":"1.a","task_id":7,"function":"any","attempt":2{more}}}"#)
        };
        let assigned = task(&of(r#","timeout_ms":20,"accepted_ms":9,"last":true,"args":[1]"#)).unwrap();
        assert_eq!((&*assigned.lease, assigned.attempt, assigned.task.accepted_ms), ("1.a", 2, 9));
        assert_eq!((&assigned.task.new.args[..], assigned.task.new.attempts), (&b"[1]"[..], 1));
        assert_eq!(assigned.task.new.timeout, Some(Duration::from_millis(20)));
        let assigned = task(&of(r#","timeout_ms":null,"args":null"#)).unwrap();
        assert_eq!((&assigned.task.new.args[..], assigned.task.new.attempts), (&b"null"[..], u32::MAX));
        assert_eq!(assigned.task.new.timeout, None);
        assert!(task(r#"{"status":"task","lease":"1.a"}"#).is_none());
    }
}

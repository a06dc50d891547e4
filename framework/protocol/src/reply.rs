//! Replies: one JSON object per line, as the server writes and the client reads it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use strum::IntoStaticStr;

use crate::error::{ErrorCode, RequestError};
use crate::state::State;

/// The status of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The task is accepted, now or, as a duplicate, earlier.
    Queued,
    /// The task has ended with a result.
    Done,
    /// The task has ended with an error.
    Failed,
    /// The task was cancelled.
    Cancelled,
    /// The task was not started in time.
    Expired,
    /// The connection is subscribed to the task or the batch.
    Watching,
    /// The progress of the task, or the counts of the batch.
    Progress,
    /// All tasks of the batch have ended, in whatever state.
    Ended,
    /// A line of the task's log.
    Log,
    /// Lines that were dropped because they came faster than they were read.
    Missed,
    /// The command succeeded.
    Ok,
    /// The request was refused: nothing was accepted.
    Error,
    /// A task for a worker to run.
    Task,
    /// The ends that a worker has reported are settled.
    Settled,
    /// A worker does not hold a lease any more.
    Stale,
    /// A worker is to stop an attempt.
    Cancel,
    /// A worker is to take no further tasks.
    Quiet,
}

/// The failures that an accepted task survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Durability {
    /// Nothing: it is lost with the process.
    Memory,
    /// The end of the process, also by `kill -9`; a power cut may take the last tasks with it.
    Async,
    /// A power cut, too: it is on the disk.
    #[default]
    Fsync,
}

impl Durability {
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A task for a worker, as it is written.
#[derive(Debug)]
pub struct TaskMessage<'a> {
    pub task_id: u64,
    pub function: &'a str,
    pub attempt: u32,
    pub timeout_ms: Option<u64>,
    pub accepted_ms: u64,
    /// No other attempt follows if this one fails.
    pub is_last: bool,
    pub args: &'a [u8],
}

/// Writes replies. Every method appends one line.
#[derive(Debug)]
pub struct ReplyWriter<'a> {
    buffer: &'a mut Vec<u8>,
}

impl<'a> ReplyWriter<'a> {
    pub fn new(buffer: &'a mut Vec<u8>) -> Self {
        Self { buffer }
    }

    /// `{"id":..,"task_id":12,"status":"queued","durability":"fsync"}`: the task is accepted.
    pub fn queued(self, id: Option<&str>, task_id: u64, durability: Durability) {
        self.open(id).number("\"task_id\":", task_id).raw(match durability {
            Durability::Memory => b",\"status\":\"queued\",\"durability\":\"memory\"}\n",
            Durability::Async => b",\"status\":\"queued\",\"durability\":\"async\"}\n",
            Durability::Fsync => b",\"status\":\"queued\",\"durability\":\"fsync\"}\n",
        });
    }

    /// `{"id":..,"task_id":12,"status":"queued","duplicate":true,"state":"failed","durability":"fsync"}`: the
    /// key belongs to an earlier task, which is in this state.
    pub fn duplicate(self, id: Option<&str>, task_id: u64, state: State, durability: Durability) {
        let reply =
            self.about(id, task_id, Status::Queued).raw(b",\"duplicate\":true,\"state\":").json(&state);
        reply.raw(b",\"durability\":").json(&durability).raw(b"}\n");
    }

    /// Writes the reply `{"id":..,"task_id":12,"status":"done","result":..}`.
    pub fn done(self, id: Option<&str>, task_id: u64, result: &[u8]) {
        self.open(id)
            .number("\"task_id\":", task_id)
            .raw(b",\"status\":\"done\",\"result\":")
            .raw(result)
            .raw(b"}\n");
    }

    /// `{"id":..,"task_id":12,"status":"failed","error":".."}`; likewise for `cancelled` and `expired`.
    pub fn ended(self, id: Option<&str>, task_id: u64, status: Status, error: &str) {
        self.about(id, task_id, status).raw(b",\"error\":").json(&error).raw(b"}\n");
    }

    /// `{"id":..,"task_id":12,"status":"watching","state":"running"}`: the connection is subscribed.
    pub fn watching(self, id: Option<&str>, task_id: u64, state: &str) {
        self.about(id, task_id, Status::Watching).raw(b",\"state\":").json(&state).raw(b"}\n");
    }

    /// Writes the reply `{"id":..,"task_id":12,"status":"progress","percent":42.0,"text":".."}`.
    pub fn progress(self, id: Option<&str>, task_id: u64, percent: f64, text: &str) {
        let reply = self.about(id, task_id, Status::Progress).raw(b",\"percent\":").json(&percent);
        reply.raw(b",\"text\":").json(&text).raw(b"}\n");
    }

    /// Writes the reply `{"id":..,"task_id":12,"status":"log","attempt":1,"text":".."}`.
    pub fn log(self, id: Option<&str>, task_id: u64, attempt: u32, text: &str) {
        let reply = self.about(id, task_id, Status::Log).number(",\"attempt\":", attempt.into());
        reply.raw(b",\"text\":").json(&text).raw(b"}\n");
    }

    /// `{"id":..,"status":"progress","batch":{..}}`: the counts of a batch; likewise for `watching` and
    /// `ended`.
    pub fn batch(self, id: Option<&str>, status: Status, batch: &impl Serialize) {
        let reply = self.open(id).raw(b"\"status\":").json(&status);
        reply.raw(b",\"batch\":").json(batch).raw(b"}\n");
    }

    /// `{"status":"missed","count":17}`: so many lines were dropped because they came faster than they were
    /// read.
    pub fn missed(self, count: u64) {
        self.raw(b"{\"status\":\"missed\"").number(",\"count\":", count).raw(b"}\n");
    }

    /// `{"id":..,"status":"error","code":"busy","error":"..",..}`: the request was refused.
    pub fn refused(self, id: Option<&str>, refusal: &RequestError) {
        let reply = self.open(id).raw(b"\"status\":\"error\",");
        let start = reply.buffer.len();
        // The error is written as an object; its opening brace gives way to the fields before it.
        let reply = reply.json(refusal);
        reply.buffer.remove(start);
        reply.raw(b"\n");
    }

    /// `{"id":..,"status":"ok","result":..}`: the result of a command.
    pub fn ok(self, id: Option<&str>, result: &impl Serialize) {
        self.open(id).raw(b"\"status\":\"ok\",\"result\":").json(result).raw(b"}\n");
    }

    /// `{"status":"task","lease":"..","task_id":12,"function":"..","attempt":1,"timeout_ms":..,
    /// "accepted_ms":..,"args":..}`: a task for a worker; with `"last":true` when no other attempt follows if
    /// this one fails. The name of the lease is written by `lease` and needs no escapes.
    pub fn task(self, lease: impl FnOnce(&mut Vec<u8>), task: &TaskMessage) {
        let reply = self.raw(b"{\"status\":\"task\",\"lease\":\"");
        lease(reply.buffer);
        let reply = reply.raw(b"\"").number(",\"task_id\":", task.task_id);
        let reply = reply.raw(b",\"function\":").json(&task.function);
        let reply = reply.number(",\"attempt\":", task.attempt.into()).raw(b",\"timeout_ms\":");
        let reply = match task.timeout_ms {
            Some(timeout_ms) => reply.number("", timeout_ms),
            None => reply.raw(b"null"),
        };
        let reply = reply.number(",\"accepted_ms\":", task.accepted_ms);
        let reply = if task.is_last { reply.raw(b",\"last\":true") } else { reply };
        reply.raw(b",\"args\":").raw(task.args).raw(b"}\n");
    }

    /// `{"id":..,"status":"settled","stale":["..",..]}`: the ends of a worker are settled, but for those of
    /// leases that it does not hold.
    pub fn settled(self, id: Option<&str>, stale: &[String]) {
        self.open(id).raw(b"\"status\":\"settled\",\"stale\":").json(&stale).raw(b"}\n");
    }

    /// `{"id":..,"status":"stale","lease":".."}`: the worker does not hold the lease.
    pub fn stale(self, id: Option<&str>, lease: &str) {
        self.open(id).raw(b"\"status\":\"stale\",\"lease\":").json(&lease).raw(b"}\n");
    }

    /// `{"status":"cancel","lease":"..","why":"timeout"}`: the worker is to stop the attempt.
    pub fn cancel(self, lease: &str, why: &str) {
        let reply = self.raw(b"{\"status\":\"cancel\",\"lease\":").json(&lease);
        reply.raw(b",\"why\":").json(&why).raw(b"}\n");
    }

    /// `{"status":"quiet","why":"shutdown"}`: the worker gets no further tasks.
    pub fn quiet(self, why: &str) {
        self.raw(b"{\"status\":\"quiet\",\"why\":").json(&why).raw(b"}\n");
    }

    fn open(self, id: Option<&str>) -> Self {
        match id {
            Some(id) => self.raw(b"{\"id\":").raw(id.as_bytes()).raw(b","),
            None => self.raw(b"{"),
        }
    }

    fn about(self, id: Option<&str>, task_id: u64, status: Status) -> Self {
        self.open(id).number("\"task_id\":", task_id).raw(b",\"status\":").json(&status)
    }

    fn raw(self, bytes: &[u8]) -> Self {
        self.buffer.extend_from_slice(bytes);
        self
    }

    fn number(self, name: &str, value: u64) -> Self {
        self.raw(name.as_bytes()).raw(itoa::Buffer::new().format(value).as_bytes())
    }

    fn json(self, value: &impl Serialize) -> Self {
        serde_json::to_writer(&mut *self.buffer, value)
            .expect("a vector takes every byte, and no reply holds a map with odd keys");
        self
    }
}

/// A reply as a client reads it: the union of the fields that [`ReplyWriter`] writes.
#[derive(Debug, Deserialize)]
pub struct Reply {
    /// The request's own `id`, as this crate's client numbers its requests.
    #[serde(default)]
    pub id: Option<u64>,
    pub status: Status,
    #[serde(default)]
    pub task_id: Option<u64>,
    #[serde(default)]
    pub durability: Option<Durability>,
    /// The result of a handler or a command. A result of `null` is `None`.
    #[serde(default)]
    pub result: Option<Box<RawValue>>,
    /// Whether the key of the task belongs to an earlier one, which `task_id` is.
    #[serde(default)]
    pub duplicate: bool,
    /// The state of a task that is followed, or that a duplicate names.
    #[serde(default)]
    pub state: Option<String>,
    /// The counts of a batch that is followed.
    #[serde(default)]
    pub batch: Option<Box<RawValue>>,
    #[serde(default)]
    pub percent: Option<f64>,
    #[serde(default)]
    pub attempt: Option<u32>,
    #[serde(default)]
    pub text: Option<String>,
    #[serde(default)]
    pub code: Option<ErrorCode>,
    #[serde(default)]
    pub error: Option<String>,
    #[serde(default)]
    pub suggestion: Option<String>,
    #[serde(default)]
    pub retry_after_ms: Option<u64>,
}

impl Reply {
    /// The error that a reply of [`Status::Error`] carries.
    pub fn refusal(self) -> RequestError {
        RequestError {
            code: self.code.unwrap_or(ErrorCode::Internal),
            message: self.error.unwrap_or_else(|| "The server gave no reason.".into()),
            suggestion: self.suggestion,
            retry_after_ms: self.retry_after_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(ReplyWriter)) -> String {
        let mut buffer = Vec::new();
        write(ReplyWriter::new(&mut buffer));
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn reply_writer_writes_one_line_of_json_per_reply() {
        let id = Some("\"a\"");
        assert_eq!(
            written(|reply| reply.queued(id, 12, Durability::Fsync)),
            "{\"id\":\"a\",\"task_id\":12,\"status\":\"queued\",\"durability\":\"fsync\"}\n"
        );
        assert_eq!(
            written(|reply| reply.duplicate(None, 12, State::Failed, Durability::Async)),
            "{\"task_id\":12,\"status\":\"queued\",\"duplicate\":true,\"state\":\"failed\",\
             \"durability\":\"async\"}\n"
        );
        assert_eq!(
            written(|reply| reply.done(None, 0, b"[1]")),
            "{\"task_id\":0,\"status\":\"done\",\"result\":[1]}\n"
        );
        assert_eq!(
            written(|reply| reply.ended(None, 1, Status::Failed, "no \"route\"\n")),
            "{\"task_id\":1,\"status\":\"failed\",\"error\":\"no \\\"route\\\"\\n\"}\n"
        );
        assert_eq!(
            written(|reply| reply.watching(id, 1, "running")),
            "{\"id\":\"a\",\"task_id\":1,\"status\":\"watching\",\"state\":\"running\"}\n"
        );
        assert_eq!(
            written(|reply| reply.progress(None, 1, 42.5, "half")),
            "{\"task_id\":1,\"status\":\"progress\",\"percent\":42.5,\"text\":\"half\"}\n"
        );
        assert_eq!(
            written(|reply| reply.log(None, 1, 2, "sent")),
            "{\"task_id\":1,\"status\":\"log\",\"attempt\":2,\"text\":\"sent\"}\n"
        );
        assert_eq!(
            written(|reply| reply.batch(id, Status::Ended, &[3])),
            "{\"id\":\"a\",\"status\":\"ended\",\"batch\":[3]}\n"
        );
        let refusal =
            RequestError { retry_after_ms: Some(100), ..RequestError::new(ErrorCode::Busy, "Full.") };
        assert_eq!(
            written(|reply| reply.refused(Some("7"), &refusal)),
            "{\"id\":7,\"status\":\"error\",\"code\":\"busy\",\"error\":\"Full.\",\"retry_after_ms\":100}\n"
        );
        assert_eq!(written(|reply| reply.ok(None, &[1])), "{\"status\":\"ok\",\"result\":[1]}\n");
    }
}

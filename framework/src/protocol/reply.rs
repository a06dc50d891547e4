//! What the server answers: one JSON object a line.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::refusal::{Code, Refusal};

/// What a reply says of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The task is accepted.
    Queued,
    /// The task has ended with a result.
    Done,
    /// The task has ended with an error.
    Failed,
    /// The answer to a command.
    Ok,
    /// Nothing was accepted.
    Error,
}

/// A reply as the server writes it. Every method appends one line.
#[derive(Debug)]
pub struct Reply<'a> {
    buffer: &'a mut Vec<u8>,
}

impl<'a> Reply<'a> {
    pub fn new(buffer: &'a mut Vec<u8>) -> Self {
        Self { buffer }
    }

    /// `{"id":..,"task_id":12,"status":"queued"}`: the task is accepted.
    pub fn queued(self, id: Option<&str>, task_id: u64) {
        self.open(id).number("\"task_id\":", task_id).raw(b",\"status\":\"queued\"}\n");
    }

    /// `{"id":..,"task_id":12,"status":"done","result":..}`.
    pub fn done(self, id: Option<&str>, task_id: u64, result: &[u8]) {
        self.open(id)
            .number("\"task_id\":", task_id)
            .raw(b",\"status\":\"done\",\"result\":")
            .raw(result)
            .raw(b"}\n");
    }

    /// `{"id":..,"task_id":12,"status":"failed","error":".."}`.
    pub fn failed(self, id: Option<&str>, task_id: u64, error: &str) {
        self.open(id)
            .number("\"task_id\":", task_id)
            .raw(b",\"status\":\"failed\",\"error\":")
            .json(&error)
            .raw(b"}\n");
    }

    /// `{"id":..,"status":"error","code":"busy","error":"..",..}`: nothing was accepted.
    pub fn refused(self, id: Option<&str>, refusal: &Refusal) {
        let reply = self.open(id).raw(b"\"status\":\"error\",");
        let start = reply.buffer.len();
        // The refusal writes an object of its own; its opening brace makes way for the fields before it.
        let reply = reply.json(refusal);
        reply.buffer.remove(start);
        reply.raw(b"\n");
    }

    /// `{"id":..,"status":"ok","result":..}`: the answer to a command.
    pub fn ok(self, id: Option<&str>, result: &impl Serialize) {
        self.open(id).raw(b"\"status\":\"ok\",\"result\":").json(result).raw(b"}\n");
    }

    fn open(self, id: Option<&str>) -> Self {
        match id {
            Some(id) => self.raw(b"{\"id\":").raw(id.as_bytes()).raw(b","),
            None => self.raw(b"{"),
        }
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

/// A reply as a client reads it: the union of what [`Reply`] writes.
#[derive(Debug, Deserialize)]
pub struct Answer {
    /// The request's own `id`, as this crate's client numbers its requests.
    #[serde(default)]
    pub id: Option<u64>,
    pub status: Status,
    #[serde(default)]
    pub task_id: Option<u64>,
    /// The handler's result, or what a command asked for. A result of `null` is `None`.
    #[serde(default)]
    pub result: Option<Box<RawValue>>,
    #[serde(default)]
    pub code: Option<Code>,
    #[serde(default)]
    pub error: Option<String>,
    #[serde(default)]
    pub suggestion: Option<String>,
    #[serde(default)]
    pub retry_after_ms: Option<u64>,
}

impl Answer {
    /// The refusal that an answer of [`Status::Error`] carries.
    pub fn refusal(self) -> Refusal {
        Refusal {
            code: self.code.unwrap_or(Code::Internal),
            message: self.error.unwrap_or_else(|| "The server gave no reason.".into()),
            suggestion: self.suggestion,
            retry_after_ms: self.retry_after_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(Reply)) -> String {
        let mut buffer = Vec::new();
        write(Reply::new(&mut buffer));
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn every_reply_is_one_line_of_json() {
        let id = Some("\"a\"");
        assert_eq!(
            written(|reply| reply.queued(id, 12)),
            "{\"id\":\"a\",\"task_id\":12,\"status\":\"queued\"}\n"
        );
        assert_eq!(
            written(|reply| reply.done(None, 0, b"[1]")),
            "{\"task_id\":0,\"status\":\"done\",\"result\":[1]}\n"
        );
        assert_eq!(
            written(|reply| reply.failed(None, 1, "no \"route\"\n")),
            "{\"task_id\":1,\"status\":\"failed\",\"error\":\"no \\\"route\\\"\\n\"}\n"
        );
        let refusal = Refusal { retry_after_ms: Some(100), ..Refusal::new(Code::Busy, "Full.") };
        assert_eq!(
            written(|reply| reply.refused(Some("7"), &refusal)),
            "{\"id\":7,\"status\":\"error\",\"code\":\"busy\",\"error\":\"Full.\",\"retry_after_ms\":100}\n"
        );
        assert_eq!(written(|reply| reply.ok(None, &[1])), "{\"status\":\"ok\",\"result\":[1]}\n");
    }
}

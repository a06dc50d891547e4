//! Writes the reports of a worker, and the ends of its attempts.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::task::{Due, Handlers, NewTask, Outcome, Retry, TimeSpan};

/// The longest time that a request may name.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
/// A message is sent once it is about so long, in bytes.
const MESSAGE_TARGET: usize = 128 * 1024;

/// What a running attempt reports.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    Progress { percent: f64, text: String },
    Line(String),
}

impl Report {
    /// Appends the message about the attempt of this lease.
    pub fn write(&self, buffer: &mut Vec<u8>, lease: &str) {
        #[derive(Serialize)]
        struct Message<'a> {
            command: &'static str,
            lease: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            percent: Option<f64>,
            text: &'a str,
        }
        let message = match self {
            Self::Progress { percent, text } => {
                Message { command: "progress", lease, percent: Some(*percent), text }
            }
            Self::Line(text) => Message { command: "log", lease, percent: None, text },
        };
        json(buffer, &message);
        buffer.push(b'\n');
    }
}

/// Writes messages `settle`, with as many ends in each as make it worth a message.
#[derive(Debug)]
pub struct EndsWriter<'a> {
    buffer: &'a mut Vec<u8>,
    handlers: &'a Handlers,
    /// The longest message, in bytes.
    message_max: usize,
    /// The number of all messages, which their replies name.
    id: u64,
    messages: u32,
    /// Where the current message begins; `None` between two.
    start: Option<usize>,
    /// The end that is written at the moment.
    end: Vec<u8>,
}

impl<'a> EndsWriter<'a> {
    /// A writer that appends to `buffer`; a message has at most `message_max` bytes, and all have this `id`.
    pub fn new(buffer: &'a mut Vec<u8>, handlers: &'a Handlers, message_max: usize, id: u64) -> Self {
        Self { buffer, handlers, message_max, id, messages: 0, start: None, end: Vec::new() }
    }

    /// The attempt of this lease has ended so; with a result, the tasks are accepted that follow it. One that
    /// is too long for a message fails for good.
    pub fn end(&mut self, lease: &str, outcome: Option<&Outcome>, follow: &[NewTask]) {
        let mut end = std::mem::take(&mut self.end);
        end.clear();
        write_end(&mut end, self.handlers, self.message_max, lease, (outcome, follow));
        let most = end_max(self.message_max);
        self.add(&end, most);
        self.end = end;
    }

    /// The attempt of this lease was not begun.
    pub fn returned(&mut self, lease: &str) {
        let mut end = b"{\"lease\":".to_vec();
        json(&mut end, lease);
        end.extend_from_slice(b",\"returned\":true}");
        self.add(&end, usize::MAX);
    }

    /// Ends the last message, with credit for so many tasks more; returns the number of messages with ends,
    /// each of which gets a reply.
    pub fn finish(mut self, credit: u32) -> u32 {
        if self.start.is_none() && credit > 0 {
            self.buffer.extend_from_slice(b"{\"command\":\"credit\",\"credit\":");
            json(self.buffer, &credit);
            self.buffer.extend_from_slice(b"}\n");
        }
        self.close(credit);
        self.messages
    }

    fn add(&mut self, end: &[u8], most: usize) {
        let length = self.start.map_or(0, |start| self.buffer.len() - start);
        if length + end.len() > most.min(MESSAGE_TARGET) {
            self.close(0);
        }
        match self.start {
            Some(_) => self.buffer.push(b','),
            None => {
                self.start = Some(self.buffer.len());
                self.messages += 1;
                self.buffer.extend_from_slice(b"{\"command\":\"settle\",\"id\":");
                json(self.buffer, &self.id);
                self.buffer.extend_from_slice(b",\"ends\":[");
            }
        }
        self.buffer.extend_from_slice(end);
    }

    fn close(&mut self, credit: u32) {
        if self.start.take().is_some() {
            self.buffer.extend_from_slice(b"],\"credit\":");
            json(self.buffer, &credit);
            self.buffer.extend_from_slice(b"}\n");
        }
    }
}

/// The longest end of a message with at most so many bytes: with room for what stands around it.
fn end_max(message_max: usize) -> usize {
    message_max.saturating_sub(128)
}

/// Appends the end of the attempt of a lease, an element of `ends` of a message with at most `message_max`
/// bytes; one that is too long for that becomes a failure for good. With a result, the tasks are accepted
/// that follow it.
pub fn write_end(
    buffer: &mut Vec<u8>,
    handlers: &Handlers,
    message_max: usize,
    lease: &str,
    (outcome, follow): (Option<&Outcome>, &[NewTask]),
) {
    let start = buffer.len();
    write_outcome(buffer, handlers, lease, outcome, follow);
    let length = buffer.len() - start;
    if length > end_max(message_max) {
        let message = format!(
            "The end of the attempt takes {length} bytes, and the server takes messages of {message_max} (package_max_length)."
        );
        buffer.truncate(start);
        write_outcome(buffer, handlers, lease, Some(&Outcome::failed(message, Retry::Never)), &[]);
    }
}

fn write_outcome(
    end: &mut Vec<u8>,
    handlers: &Handlers,
    lease: &str,
    outcome: Option<&Outcome>,
    follow: &[NewTask],
) {
    end.extend_from_slice(b"{\"lease\":");
    json(end, lease);
    match outcome {
        None => end.extend_from_slice(b",\"cancelled\":true"),
        Some(Outcome::Done(result)) => {
            end.extend_from_slice(b",\"result\":");
            end.extend_from_slice(result);
            write_follow(end, handlers, follow);
        }
        Some(Outcome::Failed(failure)) => {
            end.extend_from_slice(b",\"error\":");
            json(end, &failure.message);
            match failure.retry {
                Retry::Backoff => {}
                Retry::Never => end.extend_from_slice(b",\"retry\":false"),
                Retry::After(pause) => {
                    end.extend_from_slice(b",\"retry\":");
                    json(end, &span(pause));
                }
            }
        }
    }
    end.push(b'}');
}

fn write_follow(end: &mut Vec<u8>, handlers: &Handlers, follow: &[NewTask]) {
    for (index, task) in follow.iter().enumerate() {
        end.extend_from_slice(if index == 0 { b",\"push\":[" } else { b"," });
        json(end, &Push::of(task, handlers));
    }
    if !follow.is_empty() {
        end.push(b']');
    }
}

/// A task that follows, as a request; without what its function's own options say.
#[derive(Serialize)]
struct Push<'a> {
    function: &'a str,
    args: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay: Option<TimeSpan>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<TimeSpan>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backoff: Option<TimeSpan>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<u64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    then: &'a [Box<str>],
}

/// A time span, or a point in time.
#[derive(Serialize)]
#[serde(untagged)]
enum Moment {
    After(TimeSpan),
    At(String),
}

impl<'a> Push<'a> {
    fn of(task: &'a NewTask, handlers: &Handlers) -> Self {
        let own = handlers.task(&task.function, bytes::Bytes::new());
        let extra = task.extra.as_deref();
        let after = |due: Due| match due {
            Due::After(delay) => Some(span(delay)),
            Due::At(_) | Due::Now => None,
        };
        let at = |due: Due| match due {
            Due::At(at_ms) => {
                Timestamp::from_millisecond(at_ms.try_into().ok()?).ok().map(|at| at.to_string())
            }
            Due::After(_) | Due::Now => None,
        };
        let expires = extra.and_then(|extra| extra.expires);
        Self {
            function: &task.function,
            args: serde_json::from_slice(&task.args).unwrap_or(RawValue::NULL),
            queue: (task.queue != own.queue).then_some(&*task.queue),
            priority: (task.priority != own.priority).then_some(task.priority),
            delay: after(task.due),
            at: at(task.due),
            attempts: (task.attempts != own.attempts).then_some(task.attempts),
            timeout: (task.timeout != own.timeout).then(|| span(task.timeout.unwrap_or(LONGEST))),
            backoff: (task.backoff_ms != own.backoff_ms).then(|| span(task.backoff())),
            expires: expires.and_then(|expires| match after(expires) {
                Some(after) => Some(Moment::After(after)),
                None => at(expires).map(Moment::At),
            }),
            key: extra.and_then(|extra| extra.key.as_deref()),
            concurrency_key: extra.and_then(|extra| extra.concurrency_key.as_deref()),
            batch: extra.and_then(|extra| extra.batch),
            then: extra.map(|extra| &*extra.then).unwrap_or_default(),
        }
    }
}

/// A time span as requests write it.
fn span(span: Duration) -> TimeSpan {
    TimeSpan(span.min(LONGEST))
}

fn json(buffer: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    serde_json::to_writer(buffer, value).expect("a vector takes every byte, and these are plain structs");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Failure;

    fn written(message_max: usize, write: impl FnOnce(&mut EndsWriter), credit: u32) -> Vec<String> {
        let (mut buffer, handlers) = (Vec::new(), Handlers::default());
        let mut writer = EndsWriter::new(&mut buffer, &handlers, message_max, 5);
        write(&mut writer);
        writer.finish(credit);
        String::from_utf8(buffer).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn ends_of_one_hand_off_are_one_message_with_the_credit_they_free() {
        let mut mail = NewTask::without_handler("mail", "{\"to\":1}".into());
        mail.priority = 9;
        mail.due = Due::After(Duration::from_millis(1_500));
        mail.extra_mut().then = vec!["next".into()];
        let failed = |retry| Outcome::Failed(Failure { message: "no \"luck\"".to_owned(), retry });
        let lines = written(
            1 << 20,
            |ends| {
                ends.end("1.a", Some(&Outcome::Done("[1]".into())), &[mail]);
                ends.end("1.b", Some(&failed(Retry::After(Duration::from_secs(90)))), &[]);
                ends.end("1.c", Some(&failed(Retry::Never)), &[]);
                ends.end("1.d", None, &[]);
                ends.returned("1.e");
            },
            4,
        );
        assert_eq!(
            lines,
            [concat!(
                r#"{"command":"settle","id":5,"ends":[{"lease":"1.a","result":[1],"push":[{"function":"mail","#,
                r#""args":{"to":1},"priority":9,"delay":"1s 500ms","then":["next"]}]},"#,
                r#"{"lease":"1.b","error":"no \"luck\"","retry":"1m 30s"},"#,
                r#"{"lease":"1.c","error":"no \"luck\"","retry":false},{"lease":"1.d","cancelled":true},"#,
                r#"{"lease":"1.e","returned":true}],"credit":4}"#
            )]
        );
        assert_eq!(written(1 << 20, |_| (), 3), [r#"{"command":"credit","credit":3}"#]);
        assert_eq!(written(1 << 20, |_| (), 0), [""; 0]);
    }

    #[test]
    fn ends_that_do_not_fit_one_message_are_several_and_one_that_fits_none_fails() {
        let result = |length: usize| Outcome::Done(format!("\"{}\"", "x".repeat(length)).into());
        let lines = written(1_000, |ends| (0..4).for_each(|_| ends.end("1.a", Some(&result(400)), &[])), 4);
        assert_eq!(lines.len(), 4);
        assert!(lines.iter().all(|line| line.len() <= 1_000) && lines[3].ends_with("\"credit\":4}"));
        let lines = written(1_000, |ends| ends.end("1.a", Some(&result(2_000)), &[]), 1);
        assert!(lines[0].contains("package_max_length") && lines[0].contains("\"retry\":false"), "{lines:?}");
    }
}

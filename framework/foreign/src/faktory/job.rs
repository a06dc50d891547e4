//! A job as its client sends it, and as a task.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use framework_protocol::task::{Due, NewTask, TaskRecord};
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

use super::FUNCTION;

/// The schema of the arguments.
pub(super) const SCHEMA: &str = r#"{
    "type": "object",
    "description": "A job of Faktory",
    "properties": {
        "jid": {"type": "string", "minLength": 1},
        "jobtype": {"type": "string", "minLength": 1},
        "args": {"type": "array"}
    },
    "required": ["jid", "jobtype", "args"]
}"#;

/// The queue of a job that names none.
const QUEUE: &str = "default";
const PRIORITY: u8 = 5;
const RETRY: i64 = 25;
const RETRY_MAX: i64 = 999_999;
/// The time for which a job is reserved, in seconds: at least, by default and at most.
const RESERVE: (u64, u64, u64) = (60, 1_800, 86_400);
/// The longest names, in bytes.
const NAME_MAX: usize = 256;

/// A job that is checked.
#[derive(Debug)]
pub(super) struct FaktoryJob {
    pub(super) queue: String,
    priority: u8,
    retry: i64,
    reserve: Duration,
    due: Due,
    /// The whole job, as JSON in one line.
    args: Bytes,
}

/// The fields of a job that the server reads.
#[derive(Deserialize)]
struct Fields {
    jid: String,
    jobtype: String,
    args: Box<RawValue>,
    #[serde(default)]
    queue: Option<String>,
    #[serde(default)]
    priority: Option<i64>,
    #[serde(default)]
    at: Option<String>,
    #[serde(default)]
    retry: Option<i64>,
    #[serde(default)]
    reserve_for: Option<u64>,
}

/// The parts of a stored job that its end needs.
#[derive(Deserialize)]
struct Kept<'a> {
    #[serde(borrow, default)]
    jid: std::borrow::Cow<'a, str>,
    #[serde(default)]
    retry: Option<i64>,
}

impl FaktoryJob {
    /// Checks a job, and adds what its client has left out.
    ///
    /// # Errors
    /// A sentence for the client.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let invalid = |error: serde_json::Error| format!("Invalid JSON: {error}");
        let fields: Fields = serde_json::from_slice(text).map_err(invalid)?;
        let mut all: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(text).map_err(invalid)?;
        let is_name = |name: &str| (1..=NAME_MAX).contains(&name.len());
        if fields.jid.len() < 8 || !is_name(&fields.jid) {
            return Err("All jobs must have a reasonable jid parameter, of 8 to 256 bytes".to_owned());
        }
        if !is_name(&fields.jobtype) {
            return Err("All jobs must have a jobtype parameter, of at most 256 bytes".to_owned());
        }
        if !fields.args.get().starts_with('[') {
            return Err("All jobs must have an args parameter, which is an array".to_owned());
        }
        let queue = fields.queue.filter(|queue| !queue.is_empty()).unwrap_or_else(|| QUEUE.to_owned());
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        if !is_name(&queue) || !queue.bytes().all(is_letter) {
            return Err("Queue names have up to 256 letters, digits, \"_\", \"-\" and \".\"".to_owned());
        }
        let retry = fields.retry.unwrap_or(RETRY);
        if !(-1..=RETRY_MAX).contains(&retry) {
            return Err(format!("\"retry\" has to be a number from -1 to {RETRY_MAX}"));
        }
        let due = fields.at.as_deref().filter(|at| !at.is_empty()).map_or(Ok(Due::Now), due)?;
        let now = to_raw_value(&humantime::format_rfc3339_millis(SystemTime::now()).to_string());
        let now = now.map_err(invalid)?;
        all.entry("created_at".to_owned()).or_insert_with(|| now.clone());
        all.insert("enqueued_at".to_owned(), now);
        all.insert("queue".to_owned(), to_raw_value(&queue).map_err(invalid)?);
        all.insert("retry".to_owned(), to_raw_value(&retry).map_err(invalid)?);
        let (least, usual, most) = RESERVE;
        let reserve = fields.reserve_for.filter(|seconds| *seconds > 0).unwrap_or(usual).clamp(least, most);
        Ok(Self {
            queue,
            priority: u8::try_from(fields.priority.unwrap_or(0).clamp(0, 9)).unwrap_or(PRIORITY),
            retry,
            reserve: Duration::from_secs(reserve),
            due,
            args: serde_json::to_vec(&all).map_err(invalid)?.into(),
        })
    }

    /// The task of the job.
    pub(super) fn task(self) -> NewTask {
        let Self { queue, priority, retry, reserve, due, args } = self;
        NewTask {
            queue: queue.into(),
            priority: if priority == 0 { PRIORITY } else { priority },
            due,
            attempts: u32::try_from(retry.max(0)).unwrap_or(0) + 1,
            timeout: Some(reserve),
            ..NewTask::without_handler(FUNCTION, args)
        }
    }
}

/// A time such as `2026-01-31T12:00:00Z`; one that has passed is now.
fn due(at: &str) -> Result<Due, String> {
    let wrong = || {
        format!(
            "\"at\" has to be a time such as 2026-01-31T12:00:00.5Z, not {:?}",
            at.chars().take(40).collect::<String>()
        )
    };
    let at = at.parse::<jiff::Timestamp>().map_err(|_| wrong())?;
    let at_ms = u64::try_from(at.as_millisecond()).unwrap_or(0);
    Ok(if at_ms <= now_ms() { Due::Now } else { Due::At(at_ms) })
}

pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The client's id of a job. One of another function has that of its task.
pub(super) fn jid(task: &TaskRecord) -> String {
    let kept = (*task.new.function == *FUNCTION).then(|| serde_json::from_slice::<Kept>(&task.new.args).ok());
    let jid = kept.flatten().map(|kept| kept.jid.into_owned()).filter(|jid| !jid.is_empty());
    jid.unwrap_or_else(|| format!("task-{}", task.id))
}

/// Whether a job is forgotten when it fails.
pub(super) fn is_discarded(task: &TaskRecord) -> bool {
    let kept = serde_json::from_slice::<Kept>(&task.new.args).ok();
    *task.new.function == *FUNCTION && kept.and_then(|kept| kept.retry) == Some(0)
}

/// A task as the job that a worker is sent. One of another function is a job of that type, with its
/// arguments.
pub(super) fn document(task: &TaskRecord) -> Vec<u8> {
    let new = &task.new;
    if *new.function == *FUNCTION {
        return new.args.to_vec();
    }
    let text = |text: &str| serde_json::to_string(text).unwrap_or_default();
    let mut job = format!(
        "{{\"jid\":{},\"jobtype\":{},\"queue\":{},\"args\":[",
        text(&jid(task)),
        text(&new.function),
        text(&new.queue)
    )
    .into_bytes();
    job.extend_from_slice(&new.args);
    job.extend_from_slice(b"]}");
    job
}

/// The pause before the next attempt of a job that has failed so often before: about that of Faktory.
pub(super) fn retry_pause(failures: u32) -> Duration {
    let count = u64::from(failures.min(1_000));
    let spread = now_ms() % 30;
    Duration::from_secs(count.pow(4) + 15 + spread * (count + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(fields: &str) -> Result<NewTask, String> {
        let job = format!("{{\"jid\":\"12345678\",\"jobtype\":\"mail\",\"args\":[1.50]{fields}}}");
        FaktoryJob::parse(job.as_bytes()).map(FaktoryJob::task)
    }

    #[test]
    fn job_has_the_defaults_of_faktory() {
        let task = parse("").unwrap();
        assert_eq!((&*task.queue, task.priority, task.attempts), ("default", 5, 26));
        assert_eq!((task.timeout, task.due), (Some(Duration::from_secs(1_800)), Due::Now));
        let args = std::str::from_utf8(&task.args).unwrap();
        assert!(args.contains("\"args\":[1.50]") && args.contains("\"retry\":25"), "{args}");
    }

    #[test]
    fn job_takes_its_fields_within_their_bounds() {
        let task =
            parse(r#","queue":"mails","priority":9,"retry":-1,"reserve_for":7,"custom":{"a":[1]}"#).unwrap();
        assert_eq!((&*task.queue, task.priority, task.attempts), ("mails", 9, 1));
        assert_eq!(task.timeout, Some(Duration::from_secs(60)));
        let task = parse(r#","at":"2100-01-01T00:00:00.123456789Z""#).unwrap();
        assert_eq!(task.due, Due::At(4_102_444_800_123));
        assert_eq!(parse(r#","at":"2001-01-01T00:00:00+01:00""#).unwrap().due, Due::Now);
    }

    #[test]
    fn job_that_is_none_is_refused_with_the_field() {
        for (job, field) in [
            (r#"{"jobtype":"a","args":[]}"#, "jid"),
            (r#"{"jid":"1","jobtype":"a","args":[]}"#, "jid"),
            (r#"{"jid":"12345678","jobtype":"","args":[]}"#, "jobtype"),
            (r#"{"jid":"12345678","jobtype":"a","args":{}}"#, "args"),
            (r#"{"jid":"12345678","jobtype":"a","args":[],"queue":"a b"}"#, "Queue"),
            (r#"{"jid":"12345678","jobtype":"a","args":[],"at":"soon"}"#, "at"),
            (r#"{"jid":"12345678","jobtype":"a","args":[],"retry":-2}"#, "retry"),
            ("[]", "JSON"),
            ("", "JSON"),
        ] {
            let error = FaktoryJob::parse(job.as_bytes()).unwrap_err();
            assert!(error.contains(field), "{error}");
        }
    }

    #[test]
    fn retry_pause_grows_with_the_fourth_power() {
        assert!(retry_pause(0) < Duration::from_secs(46) && retry_pause(3) >= Duration::from_secs(96));
    }
}

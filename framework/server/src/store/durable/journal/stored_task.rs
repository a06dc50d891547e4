//! A task as journals write it, and how it is read back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use framework_protocol::task::{Due, ExtraOptions, NewTask, Tags, TaskId, TaskOptions, TaskRecord};
use serde::{Deserialize, Serialize};

/// A task as a journal has it.
#[derive(Debug)]
pub struct StoredTask {
    pub id: TaskId,
    pub function: Arc<str>,
    pub queue: Arc<str>,
    pub priority: u8,
    pub accepted_ms: u64,
    pub due_ms: Option<u64>,
    pub batch: Option<u64>,
    pub options: StoredOptions,
    pub args: Bytes,
    /// The numbers of attempts behind it, of those that failed, and of those in which the process died.
    pub attempts: u32,
    pub failures: u32,
    pub crashes: u32,
}

/// A task that was read.
#[derive(Debug)]
pub struct LoadedTask {
    pub record: TaskRecord,
    /// What is wrong with what the journal has. The record has as much of it as can be read, and must not
    /// run.
    pub damage: Option<String>,
}

impl LoadedTask {
    /// A task that cannot be read at all.
    pub fn unreadable(id: TaskId, damage: String) -> Self {
        let new = NewTask::without_handler("", "null".into());
        Self { record: TaskRecord::new(id, new, Instant::now(), 0), damage: Some(damage) }
    }
}

impl StoredTask {
    /// The task as it runs.
    pub fn into_record(self, now_ms: u64) -> TaskRecord {
        let Self { options, due_ms, batch, accepted_ms, .. } = self;
        let own = &TaskOptions::DEFAULT;
        let new = NewTask {
            function: self.function,
            args: self.args,
            queue: self.queue,
            priority: self.priority,
            due: match (due_ms, options.delay_ms) {
                (None, _) => Due::Now,
                (Some(_), Some(delay)) => Due::After(Duration::from_millis(delay)),
                (Some(at_ms), None) => Due::At(at_ms),
            },
            attempts: options.attempts.unwrap_or(own.attempts),
            timeout: match options.timeout_ms {
                None => own.timeout,
                Some(0) => None,
                Some(timeout) => Some(Duration::from_millis(timeout)),
            },
            backoff_ms: options.backoff_ms.unwrap_or_else(default_backoff_ms),
            concurrency: options.concurrency(),
            extra: extra_options(options, batch),
        };
        let age = Duration::from_millis(now_ms.saturating_sub(accepted_ms));
        let now = Instant::now();
        let record = TaskRecord::new(self.id, new, now.checked_sub(age).unwrap_or(now), accepted_ms);
        record.attempts.store(self.attempts, Ordering::Relaxed);
        record.failures.store(self.failures, Ordering::Relaxed);
        record.crashes.store(self.crashes, Ordering::Relaxed);
        record
    }
}

/// The options of a task as JSON: those that differ from [`TaskOptions::DEFAULT`], and those that only few
/// tasks have.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct StoredOptions {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    /// 0 is for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backoff_ms: Option<u32>,
    /// The delay of a task; one that waits for a time of the clock has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// The time from its acceptance until it expires; one that expires at a time of the clock has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<Box<str>>,
    /// How many tasks of the concurrency key may run at once; only in rows that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    concurrency: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    then: Vec<Box<str>>,
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    tags: Tags,
}

/// Writes the options of many tasks; those that most tasks of a function have in common are written once.
#[derive(Debug, Default)]
pub struct OptionsEncoder {
    common: Option<(CommonOptions, Option<String>)>,
    other: String,
}

/// The options of every task, of which the tasks of a function mostly have the same.
type CommonOptions = (u32, Option<Duration>, u32);

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn default_backoff_ms() -> u32 {
    TaskOptions::DEFAULT.backoff.as_millis() as u32
}

impl OptionsEncoder {
    /// The options of a task; `None` for one that has the default options, as most have.
    pub fn encode(&mut self, new: &NewTask, accepted_ms: u64) -> Option<&str> {
        let options = (new.attempts, new.timeout, new.backoff_ms);
        if new.extra.is_some() || matches!(new.due, Due::After(_)) {
            self.other = StoredOptions::of(new, accepted_ms).to_json();
            return Some(&self.other);
        }
        if self.common.as_ref().is_none_or(|(known, _)| *known != options) {
            let own = &TaskOptions::DEFAULT;
            let is_default = options == (own.attempts, own.timeout, default_backoff_ms());
            let text = (!is_default).then(|| StoredOptions::of(new, accepted_ms).to_json());
            self.common = Some((options, text));
        }
        self.common.as_ref().and_then(|(_, text)| text.as_deref())
    }
}

impl StoredOptions {
    fn of(new: &NewTask, accepted_ms: u64) -> Self {
        let own = &TaskOptions::DEFAULT;
        let extra = new.extra.as_deref().cloned().unwrap_or_default();
        let (expires_ms, expires_in_ms) = match extra.expires {
            None => (None, None),
            Some(Due::Now) => (Some(accepted_ms), Some(0)),
            Some(Due::After(time)) => (Some(accepted_ms.saturating_add(ms(time))), Some(ms(time))),
            Some(Due::At(at_ms)) => (Some(at_ms), None),
        };
        let delay_ms = match new.due {
            Due::After(pause) => Some(ms(pause)),
            Due::Now | Due::At(_) => None,
        };
        let has_key = extra.concurrency_key.is_some();
        Self {
            attempts: (new.attempts != own.attempts).then_some(new.attempts),
            timeout_ms: (new.timeout != own.timeout).then(|| new.timeout.map_or(0, ms)),
            backoff_ms: (new.backoff_ms != default_backoff_ms()).then_some(new.backoff_ms),
            delay_ms,
            expires_ms,
            expires_in_ms,
            key: extra.key,
            concurrency_key: extra.concurrency_key,
            concurrency: (has_key && new.concurrency != own.concurrency).then_some(new.concurrency),
            then: extra.then,
            tags: extra.tags,
        }
    }

    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts are JSON")
    }

    pub fn concurrency(&self) -> u32 {
        self.concurrency.unwrap_or(TaskOptions::DEFAULT.concurrency)
    }
}

fn extra_options(options: StoredOptions, batch: Option<u64>) -> Option<Box<ExtraOptions>> {
    let StoredOptions { expires_ms, expires_in_ms, key, concurrency_key, then, tags, .. } = options;
    let expires = match (expires_ms, expires_in_ms) {
        (_, Some(time)) => Some(Due::After(Duration::from_millis(time))),
        (Some(at_ms), None) => Some(Due::At(at_ms)),
        (None, None) => None,
    };
    let extra = ExtraOptions { expires, key, concurrency_key, batch, then, tags };
    (extra != ExtraOptions::default()).then(|| Box::new(extra))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoder_writes_what_differs_from_the_defaults_and_nothing_for_most_tasks() {
        let mut encoder = OptionsEncoder::default();
        let mut new = NewTask::without_handler("any", "null".into());
        assert_eq!(encoder.encode(&new, 0), None);
        new.attempts = 3;
        assert_eq!(encoder.encode(&new, 0), Some(r#"{"attempts":3}"#));
        assert_eq!(encoder.encode(&new, 0), Some(r#"{"attempts":3}"#));
        new.extra_mut().concurrency_key = Some("user-7".into());
        new.concurrency = 2;
        let text = r#"{"attempts":3,"concurrency_key":"user-7","concurrency":2}"#;
        assert_eq!(encoder.encode(&new, 0), Some(text));
        assert_eq!(serde_json::from_str::<StoredOptions>(text).unwrap().concurrency(), 2);
        assert_eq!(StoredOptions::default().concurrency(), 1);
    }
}

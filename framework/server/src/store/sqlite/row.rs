//! A task as a row, and a row as a task.

use std::borrow::Cow;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use framework_protocol::task::{Due, ExtraOptions, NewTask, TaskId, TaskOptions, TaskRecord};
use rusqlite::Row;
use rusqlite::types::ValueRef;
use serde::{Deserialize, Serialize};

use super::names::SharedNames;

/// The column `options`: the options that differ from [`TaskOptions::DEFAULT`], and those that only few tasks
/// have.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct RowOptions {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    /// 0 is for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backoff_ms: Option<u32>,
    /// The delay of a task; one that waits for a time of the clock has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) delay_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires_ms: Option<u64>,
    /// The time from its acceptance until it expires; one that expires at a time of the clock has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires_in_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) concurrency_key: Option<Box<str>>,
    /// How many tasks of the concurrency key may run at once; only in rows that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    concurrency: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    then: Vec<Box<str>>,
}

/// Writes the options of many tasks; those that most tasks of a function have in common are written once.
#[derive(Debug, Default)]
pub(super) struct OptionsEncoder {
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
    /// The column of a task; `None` for one that has the default options, as most have.
    pub(super) fn encode(&mut self, new: &NewTask, accepted_ms: u64) -> Option<&str> {
        let options = (new.attempts, new.timeout, new.backoff_ms);
        if new.extra.is_some() || matches!(new.due, Due::After(_)) {
            self.other = RowOptions::of(new, accepted_ms).to_json();
            return Some(&self.other);
        }
        if self.common.as_ref().is_none_or(|(known, _)| *known != options) {
            let own = &TaskOptions::DEFAULT;
            let is_default = options == (own.attempts, own.timeout, default_backoff_ms());
            let text = (!is_default).then(|| RowOptions::of(new, accepted_ms).to_json());
            self.common = Some((options, text));
        }
        self.common.as_ref().and_then(|(_, text)| text.as_deref())
    }
}

impl RowOptions {
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
        }
    }

    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts are JSON")
    }

    pub(super) fn concurrency(&self) -> u32 {
        self.concurrency.unwrap_or(TaskOptions::DEFAULT.concurrency)
    }
}

/// The columns of [`task`].
pub(super) const COLUMNS: &str = "t.id, t.function, t.queue, t.priority, t.accepted_ms, t.due_ms, t.batch, \
    t.options, t.args, r.attempts, r.failures, r.crashes";

/// A task as its row has it.
#[derive(Debug)]
pub(super) struct LoadedTask {
    pub(super) record: TaskRecord,
    /// What is wrong with the row. The record has as much of it as can be read, and must not run.
    pub(super) damage: Option<String>,
}

impl LoadedTask {
    /// A task whose row cannot be read at all.
    pub(super) fn unreadable(id: TaskId, damage: String) -> Self {
        let new = NewTask::without_handler("", "null".into());
        Self { record: TaskRecord::new(id, new, Instant::now(), 0), damage: Some(damage) }
    }
}

/// Reads a row of [`COLUMNS`].
pub(super) fn task(row: &Row, names: &SharedNames, now_ms: u64) -> rusqlite::Result<LoadedTask> {
    let id = row.get::<_, i64>(0)?.unsigned_abs();
    let mut columns = Columns::of(row);
    let function = names.get(&columns.text(1, "function"));
    let queue = names.get(&columns.text(2, "queue"));
    let priority = columns.priority(3);
    let accepted_ms = columns.number(4, "accepted_ms").unwrap_or(0);
    let due_ms = columns.number(5, "due_ms");
    let batch = columns.number(6, "batch");
    let options = columns.options(7);
    let args = columns.args(8);
    let damage = columns.damage;
    let own = &TaskOptions::DEFAULT;
    let new = NewTask {
        function,
        args,
        queue,
        priority,
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
    let record = TaskRecord::new(id, new, now.checked_sub(age).unwrap_or(now), accepted_ms);
    let counter = |index| number(row, index).and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
    record.attempts.store(counter(9), Ordering::Relaxed);
    record.failures.store(counter(10), Ordering::Relaxed);
    record.crashes.store(counter(11), Ordering::Relaxed);
    Ok(LoadedTask { record, damage })
}

/// Reads columns that may be damaged: each has a value all the same.
pub(super) struct Columns<'r, 's> {
    row: &'r Row<'s>,
    /// The first thing that is wrong.
    pub(super) damage: Option<String>,
}

impl<'r, 's> Columns<'r, 's> {
    pub(super) fn of(row: &'r Row<'s>) -> Self {
        Self { row, damage: None }
    }

    fn note(&mut self, column: &str, what: &str) {
        self.damage.get_or_insert_with(|| format!("its column {column} {what}"));
    }

    pub(super) fn text(&mut self, index: usize, column: &str) -> Cow<'r, str> {
        let value = self.row.get_ref(index).unwrap_or(ValueRef::Null);
        let (ValueRef::Text(bytes) | ValueRef::Blob(bytes)) = value else {
            self.note(column, "is no text");
            return Cow::Borrowed("");
        };
        let text = String::from_utf8_lossy(bytes);
        if matches!(text, Cow::Owned(_)) {
            self.note(column, "is not in UTF-8");
        }
        text
    }

    /// A number or nothing.
    pub(super) fn number(&mut self, index: usize, column: &str) -> Option<u64> {
        match self.row.get_ref(index) {
            Ok(ValueRef::Integer(number)) => Some(number.unsigned_abs()),
            Ok(ValueRef::Null) => None,
            _ => {
                self.note(column, "is no number");
                None
            }
        }
    }

    pub(super) fn priority(&mut self, index: usize) -> u8 {
        let priority = self.number(index, "priority").and_then(|number| u8::try_from(number).ok());
        priority.filter(|priority| *priority <= 9).unwrap_or_else(|| {
            self.note("priority", "is not a number from 0 to 9");
            0
        })
    }

    pub(super) fn options(&mut self, index: usize) -> RowOptions {
        if matches!(self.row.get_ref(index), Ok(ValueRef::Null)) {
            return RowOptions::default();
        }
        let text = self.text(index, "options");
        serde_json::from_str(&text).unwrap_or_else(|_| {
            self.note("options", "is not what the program writes there");
            RowOptions::default()
        })
    }

    /// The arguments, as they are in the file.
    fn args(&mut self, index: usize) -> Bytes {
        let value = self.row.get_ref(index).unwrap_or(ValueRef::Null);
        let (ValueRef::Text(bytes) | ValueRef::Blob(bytes)) = value else {
            self.note("args", "is no text");
            return Bytes::from_static(b"null");
        };
        if std::str::from_utf8(bytes).is_err() {
            self.note("args", "is not in UTF-8");
        }
        Bytes::copy_from_slice(bytes)
    }
}

/// A number that is there and can be read.
pub(super) fn number(row: &Row, index: usize) -> Option<u64> {
    row.get_ref(index).ok()?.as_i64().ok().map(i64::unsigned_abs)
}

/// A text that is there, as far as it is in UTF-8.
pub(super) fn text(row: &Row, index: usize) -> Option<String> {
    let bytes = row.get_ref(index).ok()?.as_bytes().ok()?;
    Some(String::from_utf8_lossy(bytes).into_owned())
}

fn extra_options(options: RowOptions, batch: Option<u64>) -> Option<Box<ExtraOptions>> {
    let RowOptions { expires_ms, expires_in_ms, key, concurrency_key, then, .. } = options;
    let expires = match (expires_ms, expires_in_ms) {
        (_, Some(time)) => Some(Due::After(Duration::from_millis(time))),
        (Some(at_ms), None) => Some(Due::At(at_ms)),
        (None, None) => None,
    };
    let extra = ExtraOptions { expires, key, concurrency_key, batch, then };
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
        assert_eq!(serde_json::from_str::<RowOptions>(text).unwrap().concurrency(), 2);
        assert_eq!(RowOptions::default().concurrency(), 1);
    }
}

//! A task as a row, and a row as a task.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use framework_protocol::task::{Due, ExtraOptions, Handlers, NewTask, TaskRecord};
use rusqlite::Row;
use serde::{Deserialize, Serialize};

use crate::store::intern::{intern, missing_handler};

/// The column `options`: what differs from the handler's own, and what only few tasks have.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct RowOptions {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    /// 0 is for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backoff_ms: Option<u64>,
    /// How long the task was delayed; one that waits for a time of the clock has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) delay_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires_ms: Option<u64>,
    /// How long after its acceptance it expires; one that expires at a time of the clock has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires_in_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) concurrency_key: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    then: Vec<Box<str>>,
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl RowOptions {
    /// `None` for a task that has nothing of the kind, which is the rule.
    pub(super) fn of(new: &NewTask, accepted_ms: u64) -> Option<String> {
        let own = &new.handler.options;
        let delay_ms = match new.due {
            Due::After(pause) => Some(ms(pause)),
            Due::Now | Due::At(_) => None,
        };
        let differs = new.attempts != own.attempts || new.timeout != own.timeout;
        if !differs && delay_ms.is_none() && new.extra.is_none() {
            return None;
        }
        let rare = new.extra.as_deref().cloned().unwrap_or_default();
        let (expires_ms, expires_in_ms) = match rare.expires {
            None => (None, None),
            Some(Due::Now) => (Some(accepted_ms), Some(0)),
            Some(Due::After(time)) => (Some(accepted_ms.saturating_add(ms(time))), Some(ms(time))),
            Some(Due::At(at_ms)) => (Some(at_ms), None),
        };
        let options = Self {
            attempts: (new.attempts != own.attempts).then_some(new.attempts),
            timeout_ms: (new.timeout != own.timeout).then(|| new.timeout.map_or(0, ms)),
            backoff_ms: rare.backoff.map(ms),
            delay_ms,
            expires_ms,
            expires_in_ms,
            key: rare.key,
            concurrency_key: rare.concurrency_key,
            then: rare.then,
        };
        Some(serde_json::to_string(&options).expect("numbers and texts are JSON"))
    }

    /// What a damaged row has is read as nothing.
    pub(super) fn read(text: Option<&str>) -> Self {
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }
}

/// The columns of [`task`].
pub(super) const COLUMNS: &str = "t.id, t.function, t.queue, t.priority, t.accepted_ms, t.due_ms, t.batch, \
    t.options, t.args, r.attempts, r.failures, r.crashes";

/// Reads a row of [`COLUMNS`].
pub(super) fn task(row: &Row, handlers: &Handlers, now_ms: u64) -> rusqlite::Result<TaskRecord> {
    let text = |index| row.get_ref(index).and_then(|value| Ok(value.as_str()?));
    let function = text(1)?;
    let handler = handlers.find(function).unwrap_or_else(|_| missing_handler(function));
    let queue = text(2)?;
    let queue = if queue == handler.options.queue { handler.options.queue } else { intern(queue) };
    let accepted_ms: u64 = row.get::<_, i64>(4)?.unsigned_abs();
    let due_ms = row.get::<_, Option<i64>>(5)?.map(i64::unsigned_abs);
    let options = match row.get_ref(7)?.as_str_or_null()? {
        None => RowOptions::default(),
        some => RowOptions::read(some),
    };
    let own = &handler.options;
    let batch = row.get::<_, Option<i64>>(6)?.map(i64::unsigned_abs);
    let new = NewTask {
        handler,
        args: Bytes::copy_from_slice(text(8)?.as_bytes()),
        queue,
        priority: row.get::<_, u8>(3)?.min(9),
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
        waiter: None,
        extra: rare(options, batch),
    };
    let age = Duration::from_millis(now_ms.saturating_sub(accepted_ms));
    let now = Instant::now();
    let task = TaskRecord::new(
        row.get::<_, i64>(0)?.unsigned_abs(),
        new,
        now.checked_sub(age).unwrap_or(now),
        accepted_ms,
    );
    task.attempts.store(row.get::<_, Option<u32>>(9)?.unwrap_or(0), Ordering::Relaxed);
    task.failures.store(row.get::<_, Option<u32>>(10)?.unwrap_or(0), Ordering::Relaxed);
    task.crashes.store(row.get::<_, Option<u32>>(11)?.unwrap_or(0), Ordering::Relaxed);
    Ok(task)
}

fn rare(options: RowOptions, batch: Option<u64>) -> Option<Box<ExtraOptions>> {
    let RowOptions { backoff_ms, expires_ms, expires_in_ms, key, concurrency_key, then, .. } = options;
    let expires = match (expires_ms, expires_in_ms) {
        (_, Some(time)) => Some(Due::After(Duration::from_millis(time))),
        (Some(at_ms), None) => Some(Due::At(at_ms)),
        (None, None) => None,
    };
    let rare = ExtraOptions {
        backoff: backoff_ms.map(Duration::from_millis),
        expires,
        key,
        concurrency_key,
        batch,
        then,
    };
    (rare != ExtraOptions::default()).then(|| Box::new(rare))
}

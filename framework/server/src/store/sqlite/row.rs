//! Rows of tasks, of which any column may be damaged.

use std::borrow::Cow;

use bytes::Bytes;
use rusqlite::Row;
use rusqlite::types::ValueRef;

use super::names::SharedNames;
use crate::store::durable::journal::{LoadedTask, StoredOptions, StoredTask};

/// The columns of [`task`].
pub(super) const COLUMNS: &str = "t.id, t.function, t.queue, t.priority, t.accepted_ms, t.due_ms, t.batch, \
    t.options, t.args, r.attempts, r.failures, r.crashes";

/// Reads a row of [`COLUMNS`].
pub(super) fn task(row: &Row, names: &SharedNames, now_ms: u64) -> rusqlite::Result<LoadedTask> {
    let id = row.get::<_, i64>(0)?.unsigned_abs();
    let mut columns = Columns::of(row);
    let counter = |index| number(row, index).and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
    let stored = StoredTask {
        id,
        function: names.get(&columns.text(1, "function")),
        queue: names.get(&columns.text(2, "queue")),
        priority: columns.priority(3),
        accepted_ms: columns.number(4, "accepted_ms").unwrap_or(0),
        due_ms: columns.number(5, "due_ms"),
        batch: columns.number(6, "batch"),
        options: columns.options(7),
        args: columns.args(8),
        attempts: counter(9),
        failures: counter(10),
        crashes: counter(11),
    };
    Ok(LoadedTask { damage: columns.damage, record: stored.into_record(now_ms) })
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

    pub(super) fn options(&mut self, index: usize) -> StoredOptions {
        if matches!(self.row.get_ref(index), Ok(ValueRef::Null)) {
            return StoredOptions::default();
        }
        let text = self.text(index, "options");
        serde_json::from_str(&text).unwrap_or_else(|_| {
            self.note("options", "is not what the program writes there");
            StoredOptions::default()
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

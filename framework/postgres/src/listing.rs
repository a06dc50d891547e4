//! Lists the tasks of a filter, the newest first.

use std::ops::ControlFlow;

use framework_protocol::task::TaskId;
use framework_protocol::views::{Filter, State};
use framework_server::store::durable::journal::Listed;
use rustc_hash::FxHashMap;

use crate::error::CallError;
use crate::link::{Call, Link};
use crate::recovery::id;
use crate::views::summaries;

/// The number of tasks that are looked at in one statement, and of those whose summaries are read together.
const PAGE: i64 = 1_000;
const CHUNK: usize = 100;

/// A statement that looks at the next tasks of this source: their ids, and whether the filter lets them pass.
/// The planner is not to guess which of the conditions hold.
macro_rules! statement {
    ($source:literal) => {
        concat!(
            "SELECT s.id, coalesce(($3::text IS NULL OR t.queue = $3) \
             AND ($4::text IS NULL OR t.function = $4) AND ($5::bigint IS NULL OR t.batch = $5) \
             AND ($6::text IS NULL OR CASE $6 WHEN 'waiting' THEN e.task IS NULL ELSE e.state = $6 END) \
             AND ($7::bigint IS NULL OR t.accepted_ms >= $7) AND ($8::bigint IS NULL OR t.accepted_ms < $8) \
             AND NOT EXISTS (SELECT 1 FROM unnest($9::text[], $10::text[]) w(name, value) WHERE NOT EXISTS \
             (SELECT 1 FROM tags x WHERE x.name = w.name AND x.value = w.value AND x.task = s.id)) \
             AND ($11::text IS NULL OR t.args ILIKE $11 OR t.function ILIKE $11 OR e.error ILIKE $11), false) \
             FROM (",
            $source,
            ") s LEFT JOIN tasks t ON t.id = s.id LEFT JOIN ends e ON e.task = s.id ORDER BY s.id DESC"
        )
    };
}

const OF_TAG: &str = statement!(
    "SELECT task AS id FROM tags WHERE name = ($9::text[])[1] AND value = ($10::text[])[1] AND task < $1 \
     ORDER BY task DESC LIMIT $2"
);
const FAILED: &str = statement!(
    "SELECT task AS id FROM ends WHERE state = 'failed' AND task < $1 ORDER BY task DESC LIMIT $2"
);
const ENDED: &str = statement!("SELECT task AS id FROM ends WHERE task < $1 ORDER BY task DESC LIMIT $2");
const OF_BATCH: &str =
    statement!("SELECT id FROM tasks WHERE batch = $5 AND id < $1 ORDER BY id DESC LIMIT $2");
const ALL: &str = statement!("SELECT id FROM tasks WHERE id < $1 ORDER BY id DESC LIMIT $2");

/// Calls `visit` with the tasks of a filter and with others that were looked at, until it breaks.
pub(crate) async fn list(
    link: &Link,
    filter: &Filter,
    mut visit: impl FnMut(Listed) -> ControlFlow<()>,
) -> Result<(), CallError> {
    let mut before = signed(filter.before).unwrap_or(i64::MAX);
    loop {
        let rows = link.query(page(filter, before)).await?;
        for chunk in rows.chunks(CHUNK) {
            let passing = chunk.iter().filter(|row| row.get(1)).map(|row| id(row, 0));
            let passing: Vec<_> = passing.collect();
            let found = if passing.is_empty() { Vec::new() } else { summaries(link, &passing).await? };
            let mut found: FxHashMap<TaskId, _> = found.into_iter().map(|task| (task.id, task)).collect();
            for row in chunk {
                let task = id(row, 0);
                let listed = found.remove(&task).map_or(Listed::Other(task), Listed::Task);
                if visit(listed).is_break() {
                    return Ok(());
                }
            }
        }
        match rows.last() {
            Some(last) if rows.len() == PAGE as usize => before = last.get(0),
            _ => return Ok(()),
        }
    }
}

fn page(filter: &Filter, before: i64) -> Call<'_> {
    let sql = match filter.state {
        _ if !filter.tags.is_empty() => OF_TAG,
        Some(State::Failed) => FAILED,
        _ if filter.batch.is_some() => OF_BATCH,
        Some(state) if state.is_terminal() => ENDED,
        _ => ALL,
    };
    let (names, values): (Vec<_>, Vec<_>) = filter.tags.iter().unzip();
    Call::new(sql)
        .with(before)
        .with(PAGE)
        .with(&filter.queue)
        .with(&filter.function)
        .with(signed(filter.batch))
        .with(filter.state.map(State::name))
        .with(signed(filter.since_ms))
        .with(signed(filter.until_ms))
        .with(names)
        .with(values)
        .with(filter.text.as_deref().map(like_pattern))
}

fn signed(number: Option<u64>) -> Option<i64> {
    number.map(|number| i64::try_from(number).unwrap_or(i64::MAX))
}

/// The pattern of ILIKE for a text anywhere, without the one character that the database does not take.
fn like_pattern(text: &str) -> String {
    let mut pattern = String::from("%");
    for letter in text.chars().filter(|letter| *letter != '\0') {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    pattern
}

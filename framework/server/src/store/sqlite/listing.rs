//! Lists the tasks of a filter, the newest first.

use std::ops::ControlFlow;

use framework_protocol::views::{Filter, State};
use rusqlite::types::Value;
use rusqlite::{Connection, Result, params_from_iter};

use super::names::SharedNames;
use super::query::read_summary;
use crate::store::durable::journal::Listed;

/// Calls `visit` with the tasks of a filter and with others that were looked at, until it breaks.
pub(super) fn list(
    file: &Connection,
    names: &SharedNames,
    filter: &Filter,
    visit: &mut dyn FnMut(Listed) -> ControlFlow<()>,
) -> Result<()> {
    let Listing { sql, values } = Listing::of(filter);
    let mut read = file.prepare_cached(&sql)?;
    let mut rows = read.query(params_from_iter(values))?;
    while let Some(row) = rows.next()? {
        let id = row.get::<_, i64>(0)?.unsigned_abs();
        let summary = if row.get(1)? { read_summary(file, names, id)? } else { None };
        if visit(summary.map_or(Listed::Other(id), Listed::Task)).is_break() {
            break;
        }
    }
    Ok(())
}

/// The statement of a list: ids, and whether the filter lets the task pass. What has an index is a condition
/// of its rows, so that others are not looked at; whoever reads the rows can stop after any of them.
struct Listing {
    sql: String,
    values: Vec<Value>,
}

impl Listing {
    fn of(filter: &Filter) -> Self {
        let mut listing = Self { sql: String::new(), values: Vec::new() };
        let (from, id, mut rows) = listing.source(filter);
        if let Some(batch) = filter.batch {
            rows.push(format!("t.batch = {}", listing.bind(batch as i64)));
        }
        if let Some(before) = filter.before {
            rows.push(format!("{id} < {}", listing.bind(i64::try_from(before).unwrap_or(i64::MAX))));
        }
        let passes = listing.passes(filter);
        let rows = if rows.is_empty() { String::new() } else { format!(" WHERE {}", rows.join(" AND ")) };
        listing.sql = format!("SELECT {id}, {passes} FROM {from}{rows} ORDER BY {id} DESC");
        listing
    }

    /// The place of a value in the statement.
    fn bind(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("?{}", self.values.len())
    }

    /// The tables, the column with the id, and the conditions that have an index.
    fn source(&mut self, filter: &Filter) -> (&'static str, &'static str, Vec<String>) {
        if let Some((name, value)) = filter.tags.iter().next() {
            let tag = format!(
                "g.name = {} AND g.value = {}",
                self.bind(name.to_owned()),
                self.bind(value.to_owned())
            );
            return (
                "tags g CROSS JOIN tasks t ON t.id = g.task LEFT JOIN ends e ON e.task = t.id",
                "g.task",
                vec![tag],
            );
        }
        match filter.state {
            // From the ends, which may be few, to their tasks.
            Some(state) if state.is_terminal() => {
                let failed = (state == State::Failed).then(|| "e.state = 'failed'".to_owned());
                ("ends e CROSS JOIN tasks t ON t.id = e.task", "e.task", failed.into_iter().collect())
            }
            _ => ("tasks t LEFT JOIN ends e ON e.task = t.id", "t.id", Vec::new()),
        }
    }

    /// Whether a row is one of the list.
    fn passes(&mut self, filter: &Filter) -> String {
        let mut conditions = Vec::new();
        match filter.state {
            Some(State::Waiting) => conditions.push("e.task IS NULL".to_owned()),
            Some(state) => conditions.push(format!("e.state = {}", self.bind(state.name().to_owned()))),
            None => {}
        }
        for (column, text) in [("t.queue", &filter.queue), ("t.function", &filter.function)] {
            conditions.extend(text.clone().map(|text| format!("{column} = {}", self.bind(text))));
        }
        for (column, time) in [("t.accepted_ms >=", filter.since_ms), ("t.accepted_ms <", filter.until_ms)] {
            let time = time.map(|time| i64::try_from(time).unwrap_or(i64::MAX));
            conditions.extend(time.map(|time| format!("{column} {}", self.bind(time))));
        }
        for (name, value) in filter.tags.iter().skip(1) {
            let (name, value) = (self.bind(name.to_owned()), self.bind(value.to_owned()));
            conditions.push(format!(
                "EXISTS (SELECT 1 FROM tags WHERE name = {name} AND value = {value} AND task = t.id)"
            ));
        }
        if let Some(text) = &filter.text {
            let pattern = self.bind(like_pattern(text));
            let has = ["t.args", "t.function", "coalesce(e.error, '')"]
                .map(|column| format!("{column} LIKE {pattern} ESCAPE '\\'"));
            conditions.push(format!("({})", has.join(" OR ")));
        }
        if conditions.is_empty() {
            "1".to_owned()
        } else {
            format!("coalesce({}, 0)", conditions.join(" AND "))
        }
    }
}

/// The pattern of LIKE for a text anywhere.
fn like_pattern(text: &str) -> String {
    let mut pattern = String::from("%");
    for letter in text.chars() {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    pattern
}

//! The history of figures in the file.

use framework_protocol::views::{HistoryFigures, HistoryFilter, HistoryPoint, HistoryRow};
use rusqlite::{Connection, OptionalExtension, Result, params};

use crate::store::figure_history::{STEPS, first_step, merge, points};

/// The table; made where it is missing.
pub(super) const HISTORY: &str = "
    CREATE TABLE IF NOT EXISTS history (
        -- the length of the step in milliseconds, and its number since 1970
        step_ms INTEGER NOT NULL,
        step INTEGER NOT NULL,
        function TEXT NOT NULL,
        queue TEXT NOT NULL,
        -- JSON
        figures TEXT NOT NULL,
        PRIMARY KEY (step_ms, step, function, queue)
    ) WITHOUT ROWID;
";

/// Adds rows, and deletes what is too old.
pub(super) fn record(file: &Connection, rows: &[HistoryRow], now_ms: u64) -> Result<()> {
    let read =
        "SELECT figures FROM history WHERE step_ms = ?1 AND step = ?2 AND function = ?3 AND queue = ?4";
    let write = "INSERT OR REPLACE INTO history VALUES (?1, ?2, ?3, ?4, ?5)";
    for HistoryRow { at_ms, function, queue, figures } in rows {
        for (step_ms, _) in STEPS {
            let key = params![step_ms as i64, (at_ms / step_ms) as i64, function, queue];
            let kept = file.prepare_cached(read)?.query_row(key, |row| row.get::<_, String>(0)).optional()?;
            let mut sum = kept.map(|kept| parse(&kept)).unwrap_or_default();
            merge(&mut sum, figures);
            let sum = serde_json::to_string(&sum).unwrap_or_default();
            let row = params![step_ms as i64, (at_ms / step_ms) as i64, function, queue, sum];
            file.prepare_cached(write)?.execute(row)?;
        }
    }
    for (step_ms, hours) in STEPS {
        let old = params![step_ms as i64, first_step(step_ms, hours, now_ms) as i64];
        file.prepare_cached("DELETE FROM history WHERE step_ms = ?1 AND step < ?2")?.execute(old)?;
    }
    Ok(())
}

pub(super) fn query(file: &Connection, filter: &HistoryFilter, now_ms: u64) -> Result<Vec<HistoryPoint>> {
    let step_ms = filter.step_ms();
    let first = first_step(step_ms, filter.hours, now_ms);
    let sql = "SELECT step, figures FROM history WHERE step_ms = ?1 AND step >= ?2 \
               AND (?3 IS NULL OR function = ?3) AND (?4 IS NULL OR queue = ?4) ORDER BY step";
    let mut read = file.prepare_cached(sql)?;
    let row = params![step_ms as i64, first as i64, filter.function, filter.queue];
    let rows =
        read.query_map(row, |row| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, String>(1)?)))?;
    let rows = rows.collect::<Result<Vec<_>>>()?;
    Ok(points(step_ms, rows.into_iter().map(|(step, figures)| (step, parse(&figures)))))
}

/// What cannot be read counts as nothing: it is only a figure.
fn parse(figures: &str) -> HistoryFigures {
    serde_json::from_str(figures).unwrap_or_default()
}

//! Sets of tasks that statements name, so that a few statements change many tasks.

use framework_protocol::task::TaskId;
use rusqlite::{Connection, Result, Row, params_from_iter};

use super::bulk_insert::BulkInsert;

/// So many neighbours and more are named by the range of their ids, which costs one search and not one each.
const RANGE_MIN: usize = 8;

/// A set of tasks. It is valid until another one is made.
#[derive(Debug)]
pub(super) struct ChosenTasks<'f> {
    file: &'f Connection,
    ranges: Vec<[i64; 2]>,
    /// Whether there are others, which are in the table `chosen`.
    has_others: bool,
}

/// Makes the table of tasks that are no neighbours, for the connection alone.
pub(super) fn create(file: &Connection) -> Result<()> {
    file.pragma_update(None, "temp_store", "MEMORY")?;
    file.execute_batch("CREATE TEMP TABLE IF NOT EXISTS chosen (id INTEGER PRIMARY KEY)")
}

impl<'f> ChosenTasks<'f> {
    pub(super) fn new(file: &'f Connection, mut ids: Vec<TaskId>) -> Result<Self> {
        ids.sort_unstable();
        ids.dedup();
        let (mut ranges, mut others) = (Vec::new(), Vec::new());
        for run in ids.chunk_by(|a, b| a + 1 == *b) {
            match run {
                [first, .., last] if run.len() >= RANGE_MIN => ranges.push([*first as i64, *last as i64]),
                _ => others.extend_from_slice(run),
            }
        }
        if !others.is_empty() {
            file.prepare_cached("DELETE FROM chosen")?.execute([])?;
            BulkInsert::of("chosen", 1).insert(file, &others, |statement, first, id| {
                statement.raw_bind_parameter(first, *id as i64)
            })?;
        }
        Ok(Self { file, ranges, has_others: !others.is_empty() })
    }

    /// Executes a statement for all of them. `{chosen}` in it stands behind the column of their ids.
    pub(super) fn execute(&self, sql: &str) -> Result<()> {
        for (condition, values) in self.parts() {
            self.file
                .prepare_cached(&sql.replace("{chosen}", condition))?
                .execute(params_from_iter(values))?;
        }
        Ok(())
    }

    /// Reads rows by a statement likewise.
    pub(super) fn query<T>(
        &self,
        sql: &str,
        mut read: impl FnMut(&Row) -> Result<T>,
        found: &mut impl Extend<T>,
    ) -> Result<()> {
        for (condition, values) in self.parts() {
            let mut statement = self.file.prepare_cached(&sql.replace("{chosen}", condition))?;
            let mut rows = statement.query(params_from_iter(values))?;
            while let Some(row) = rows.next()? {
                found.extend([read(row)?]);
            }
        }
        Ok(())
    }

    /// Deletes all that is kept of them.
    pub(super) fn delete(&self) -> Result<()> {
        for (table, column) in [
            ("tasks", "id"),
            ("ends", "task"),
            ("attempts", "task"),
            ("retries", "task"),
            ("notes", "task"),
            ("cancels", "task"),
            ("keys", "task"),
            ("tags", "task"),
        ] {
            self.execute(&format!("DELETE FROM {table} WHERE {column} {{chosen}}"))?;
        }
        Ok(())
    }

    fn parts(&self) -> impl Iterator<Item = (&'static str, &[i64])> {
        let ranges = self.ranges.iter().map(|range| ("BETWEEN ?1 AND ?2", &range[..]));
        let others = self.has_others.then_some(("IN (SELECT id FROM chosen)", &[][..]));
        ranges.chain(others)
    }
}

//! Inserts many rows with few statements: starting a statement costs more than inserting a row.

use rusqlite::{CachedStatement, Connection, Result};

/// The number of rows that one statement inserts.
const ROWS: usize = 16;

/// The statements that insert into one table.
#[derive(Debug)]
pub(super) struct BulkInsert {
    columns: usize,
    many: String,
    one: String,
}

impl BulkInsert {
    /// The statements of a table with this number of columns.
    pub(super) fn of(table: &str, columns: usize) -> Self {
        let row = format!("({})", vec!["?"; columns].join(", "));
        let sql = |rows| format!("INSERT INTO {table} VALUES {}", vec![row.as_str(); rows].join(", "));
        Self { columns, many: sql(ROWS), one: sql(1) }
    }

    /// Inserts rows in their order; `bind` fills in one, whose first parameter has the number it is given.
    pub(super) fn insert<T>(
        &self,
        connection: &Connection,
        rows: &[T],
        mut bind: impl FnMut(&mut CachedStatement, usize, &T) -> Result<()>,
    ) -> Result<()> {
        let (many, few) = rows.split_at(rows.len() - rows.len() % ROWS);
        for (rows, sql, count) in [(many, &self.many, ROWS), (few, &self.one, 1)] {
            if rows.is_empty() {
                continue;
            }
            let mut statement = connection.prepare_cached(sql)?;
            for chunk in rows.chunks(count) {
                for (index, row) in chunk.iter().enumerate() {
                    bind(&mut statement, index * self.columns + 1, row)?;
                }
                statement.raw_execute()?;
            }
        }
        Ok(())
    }
}

//! Inserts many rows with few statements: starting a statement costs more than inserting a row.

use rusqlite::{CachedStatement, Connection, Result};

/// The numbers of rows that one statement inserts, from the most to one.
const ROWS: [usize; 3] = [64, 8, 1];

/// The statements that insert into one table.
#[derive(Debug)]
pub(super) struct BulkInsert {
    columns: usize,
    statements: [String; ROWS.len()],
}

impl BulkInsert {
    /// The statements of a table with this number of columns. A row that cannot be inserted ends the whole
    /// transaction, so that SQLite need not keep a copy of each page that a statement changes.
    pub(super) fn of(table: &str, columns: usize) -> Self {
        let row = format!("({})", vec!["?"; columns].join(", "));
        let sql =
            |rows| format!("INSERT OR ROLLBACK INTO {table} VALUES {}", vec![row.as_str(); rows].join(", "));
        Self { columns, statements: ROWS.map(sql) }
    }

    /// Inserts rows in their order; `bind` fills in one, whose first parameter has the number it is given.
    pub(super) fn insert<T>(
        &self,
        connection: &Connection,
        mut rows: &[T],
        mut bind: impl FnMut(&mut CachedStatement, usize, &T) -> Result<()>,
    ) -> Result<()> {
        for (sql, count) in self.statements.iter().zip(ROWS) {
            let (now, rest) = rows.split_at(rows.len() - rows.len() % count);
            rows = rest;
            if now.is_empty() {
                continue;
            }
            let mut statement = connection.prepare_cached(sql)?;
            for chunk in now.chunks(count) {
                for (index, row) in chunk.iter().enumerate() {
                    bind(&mut statement, index * self.columns + 1, row)?;
                }
                statement.raw_execute()?;
            }
        }
        Ok(())
    }
}

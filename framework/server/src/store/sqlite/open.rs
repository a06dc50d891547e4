//! Opens the store, and says what is wrong with its file.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;

use super::{Sqlite, SqliteOptions};
use crate::store::{Rules, StoreOptions};

impl Sqlite {
    /// Opens the store, and makes it if it is not there; every task that had not ended waits again.
    ///
    /// # Errors
    /// When another process uses the file, when it is damaged, of another program or of a newer version, or
    /// when the disk does not let it be read and written. Nothing has been changed then.
    pub fn open(file: SqliteOptions, options: StoreOptions, rules: Arc<dyn Rules>) -> Result<Self> {
        let path = file.file.clone();
        Self::start(file, options, rules).map_err(|error| explain(error, &path))
    }
}

/// Whether an error says that a value in the file is none that the program writes.
fn is_spoiled(error: &(dyn std::error::Error + 'static)) -> bool {
    use rusqlite::Error;
    matches!(
        error.downcast_ref::<Error>(),
        Some(
            Error::InvalidColumnType(..)
                | Error::FromSqlConversionFailure(..)
                | Error::IntegralValueOutOfRange(..)
                | Error::Utf8Error(..)
        )
    )
}

/// Adds the file's name and some advice to an error.
fn explain(error: anyhow::Error, file: &Path) -> anyhow::Error {
    let code = error.chain().find_map(|cause| cause.downcast_ref::<rusqlite::Error>()?.sqlite_error_code());
    let advice = match code {
        Some(rusqlite::ErrorCode::DatabaseCorrupt) => {
            "; `think queue:check` tells what is damaged, `think queue:repair` saves what can be read"
        }
        Some(rusqlite::ErrorCode::NotADatabase) => "; move it away, or choose another queue_file",
        Some(rusqlite::ErrorCode::CannotOpen | rusqlite::ErrorCode::ReadOnly) => {
            "; the file and its folder must be readable and writable"
        }
        None if error.chain().any(is_spoiled) => {
            "; a row is damaged: `think queue:check` names it, `think queue:repair` saves what can be read"
        }
        _ => "",
    };
    error.context(format!("the queue cannot be opened: {}{advice}", file.display()))
}

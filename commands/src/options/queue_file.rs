//! The path of the file in which tasks are stored.

use std::path::PathBuf;

use framework::prelude::*;
use framework::server::ServerSettings;
use framework::store::sqlite::QueueFile;

/// The option of every command that reads the file itself, with or without a running server.
#[derive(Debug, Clone, Args)]
pub(crate) struct QueuePath {
    /// The queue file [default: queue_file of config/server.toml]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl QueuePath {
    /// The path of the file.
    pub(crate) fn resolve(&self, app: &App) -> Result<PathBuf> {
        if let Some(file) = &self.file {
            if file.metadata().is_ok_and(|found| !found.is_file()) {
                return Err(Exit::Usage.error(format!("{} is not a regular file", file.display())));
            }
            return Ok(file.clone());
        }
        let config = app.config()?;
        let settings: ServerSettings = config.section()?;
        if settings.store_location(config)?.is_some() {
            return Err(Exit::Usage.error(
                "the queue is in a database (store of config/server.toml), and this command reads a queue file: name \
                 one with --file",
            ));
        }
        Ok(config.path(settings.queue_file))
    }

    /// Opens the file for reading, also while a server uses it.
    pub(crate) fn open(&self, app: &App) -> Result<QueueFile> {
        QueueFile::open(self.resolve(app)?)
    }
}

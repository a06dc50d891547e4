//! Where the file is that tasks survive in.

use std::path::PathBuf;

use framework::prelude::*;
use framework::server::ServerSettings;
use framework::store::sqlite::QueueFile;

/// The option of every command that reads the file itself, whether a server runs or not.
#[derive(Debug, Clone, Args)]
pub(crate) struct QueuePath {
    /// The file [default: queue_file of config/server.toml]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl QueuePath {
    pub(crate) fn resolve(&self, app: &App) -> Result<PathBuf> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        let config = app.config()?;
        let settings: ServerSettings = config.section()?;
        Ok(config.root().join(settings.queue_file))
    }

    /// Opens it for reading, also while a server uses it.
    pub(crate) fn open(&self, app: &App) -> Result<QueueFile> {
        QueueFile::open(self.resolve(app)?)
    }
}

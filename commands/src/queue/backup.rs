//! `queue:backup`: copies the queue file.

use std::path::PathBuf;

use framework::prelude::*;
use serde_json::json;

use crate::options::queue_file::QueuePath;

/// Back up the queue file, also while the server is running
///
/// The copy is a consistent snapshot: a server can be started with it as queue_file.
#[derive(Args, Command)]
#[command(name = "queue:backup")]
struct Backup {
    /// Path of the copy; an existing file is not overwritten
    to: PathBuf,
    #[command(flatten)]
    queue: QueuePath,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

impl Execute for Backup {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        self.queue.open(app)?.backup(&self.to)?;
        let bytes =
            std::fs::metadata(&self.to).with_context(|| format!("reading {}", self.to.display()))?.len();
        if self.json {
            output.json(&json!({ "file": self.to, "bytes": bytes }))?;
        } else {
            output.success(format_args!("Wrote {}, {bytes} bytes.", self.to.display()));
        }
        Ok(())
    }
}

//! `queue:backup`: copies the file that tasks survive in, also while the server runs.

use std::path::PathBuf;

use framework::prelude::*;
use serde_json::json;

use super::queue_file::QueuePath;

/// Copy the queue as it is at one moment, also while the server runs
///
/// The copy is a queue like the first one: a server can be started with it as queue_file.
#[derive(Args, Command)]
#[command(name = "queue:backup")]
struct Backup {
    /// Where to write the copy; nothing is written over
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
        match self.json {
            true => output.json(&json!({ "file": self.to, "bytes": bytes }))?,
            false => output.success(format_args!("{} is written, {bytes} bytes.", self.to.display())),
        }
        Ok(())
    }
}

//! `queue:check`: checks the integrity of the queue file.

use framework::config::called;
use framework::output::escape_control;
use framework::prelude::*;
use serde_json::json;

use crate::format::pluralize;
use crate::options::queue_file::QueuePath;

/// Check the integrity of the queue file
///
/// Reads all of it without changes, also while the server is running. The exit code is 1 if the file is
/// damaged; queue:repair then recovers what can be read.
#[derive(Args, Command)]
#[command(name = "queue:check")]
struct Check {
    #[command(flatten)]
    queue: QueuePath,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

impl Execute for Check {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let path = self.queue.resolve(app)?;
        let findings = self.queue.open(app)?.check()?;
        if self.json {
            output.json(&json!({ "file": path, "findings": findings }))?;
        } else {
            for finding in &findings {
                output.line(escape_control(finding));
            }
        }
        if findings.is_empty() {
            output.success(format_args!("{} is intact.", path.display()));
            return Ok(());
        }
        let found = pluralize(findings.len() as u64, "finding");
        let file = path.display();
        Err(Exit::Failed.error(format!(
            "{file} is damaged: {found}. Stop the server and run: {} queue:repair, which keeps the old file",
            called()
        )))
    }
}

//! `queue:check`: whether the file that tasks survive in is in order.

use framework::prelude::*;
use serde_json::json;

use super::queue_file::QueuePath;
use crate::format::pluralize;

/// Check the file that tasks survive in
///
/// Reads all of it and changes nothing, also while the server runs. The exit code is 1 if something is wrong with it;
/// queue:repair saves what can be read then.
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
                output.line(finding);
            }
        }
        if findings.is_empty() {
            output.success(format_args!("{} is in order.", path.display()));
            return Ok(());
        }
        let found = pluralize(findings.len() as u64, "finding");
        let file = path.display();
        Err(Exit::Failed.error(format!(
            "{file} is damaged: {found}. Stop the server and run: ./think queue:repair, which keeps the old file"
        )))
    }
}

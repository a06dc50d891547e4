//! `schedule:run`: creates the task of a schedule now.

use framework::prelude::*;
use serde_json::json;

use crate::options::server_address::{ServerAddress, exit_error};

/// Run a schedule now
///
/// Creates one task, even if the schedule is paused or disabled, and prints the id of the task. The next runs
/// do not change.
#[derive(Args, Command)]
#[command(name = "schedule:run")]
struct Run {
    /// The name of the schedule, as in schedule:list
    name: String,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerAddress,
}

impl Execute for Run {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let id = self.server.connect(app).await?.run_schedule(&self.name).await.map_err(exit_error)?;
        if self.json {
            output.json(&json!({ "schedule": self.name, "task_id": id }))?;
        } else {
            output.line(id);
        }
        Ok(())
    }
}

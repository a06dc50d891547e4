//! `schedule:run`: makes a task of a schedule now.

use framework::prelude::*;
use serde_json::json;

use crate::task::server_address::{ServerAddress, exit_error};

/// Run a schedule now
///
/// Makes one task of it, also if it is paused or switched off, and prints the task's id. Its times stay as they are.
#[derive(Args, Command)]
#[command(name = "schedule:run")]
struct Run {
    /// The schedule, as schedule:list calls it
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
        match self.json {
            true => output.json(&json!({ "schedule": self.name, "task_id": id }))?,
            false => output.line(id),
        }
        Ok(())
    }
}

//! `schedule:resume`: ends the pause of a schedule.

use framework::prelude::*;
use serde_json::json;

use crate::task::server_address::{ServerAddress, exit_error};

/// Make tasks of a paused schedule again
///
/// From its next time on: those that have passed meanwhile are skipped.
#[derive(Args, Command)]
#[command(name = "schedule:resume")]
struct Resume {
    /// The schedule, as schedule:list calls it
    name: String,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerAddress,
}

impl Execute for Resume {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        self.server.connect(app).await?.resume_schedule(&self.name).await.map_err(exit_error)?;
        match self.json {
            true => output.json(&json!({ "schedule": self.name, "paused": false }))?,
            false => output.success(format_args!("The schedule {} is not paused any more.", self.name)),
        }
        Ok(())
    }
}

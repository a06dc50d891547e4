//! `schedule:pause`: the clock makes no task of a schedule for a while.

use framework::prelude::*;
use serde_json::json;

use crate::task::server_address::{ServerAddress, exit_error};

/// Stop making tasks of a schedule
///
/// Tasks that it has made go on. The pause survives a restart; schedule:resume ends it, and the times that have passed
/// by then are skipped.
#[derive(Args, Command)]
#[command(name = "schedule:pause")]
struct Pause {
    /// The schedule, as schedule:list calls it
    name: String,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerAddress,
}

impl Execute for Pause {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        self.server.connect(app).await?.pause_schedule(&self.name).await.map_err(exit_error)?;
        match self.json {
            true => output.json(&json!({ "schedule": self.name, "paused": true }))?,
            false => {
                output.success(format_args!("The schedule {} is paused; schedule:resume ends it.", self.name))
            }
        }
        Ok(())
    }
}

//! `queue:resume`: ends the pause of a queue.

use framework::prelude::*;
use serde_json::json;

use crate::task::server_address::{ServerAddress, exit_error};

/// Take tasks from a paused queue again
///
/// Also ends a pause from before the last restart.
#[derive(Args, Command)]
#[command(name = "queue:resume")]
struct Resume {
    /// The queue
    queue: String,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerAddress,
}

impl Execute for Resume {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        self.server.connect(app).await?.resume(&self.queue).await.map_err(exit_error)?;
        match self.json {
            true => output.json(&json!({ "queue": self.queue, "paused": false }))?,
            false => output.success(format_args!("The queue {} is not paused any more.", self.queue)),
        }
        Ok(())
    }
}

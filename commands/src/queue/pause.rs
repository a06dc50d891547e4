//! `queue:pause`: nothing is taken from a queue for a while.

use framework::prelude::*;
use serde_json::json;

use crate::task::server_address::{ServerAddress, exit_error};

/// Stop taking tasks from a queue
///
/// What runs goes on, and tasks are accepted as before. The pause survives a restart; queue:resume ends it.
#[derive(Args, Command)]
#[command(name = "queue:pause")]
struct Pause {
    /// The queue
    queue: String,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerAddress,
}

impl Execute for Pause {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        self.server.connect(app).await?.pause(&self.queue).await.map_err(exit_error)?;
        match self.json {
            true => output.json(&json!({ "queue": self.queue, "paused": true }))?,
            false => {
                output.success(format_args!("The queue {} is paused; queue:resume ends it.", self.queue))
            }
        }
        Ok(())
    }
}

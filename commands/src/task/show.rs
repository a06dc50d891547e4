//! `task:show`: the whole story of a task, or of a batch.

mod batch;
mod task;

use framework::prelude::*;
use framework::task::{BatchId, TaskId};

use super::server_address::{ServerAddress, exit_error};

/// Show the whole story of a task
///
/// Every attempt: when, where, how long, and why it failed; its progress, its log and its result. With --batch, how
/// far a batch is.
#[derive(Args, Command)]
#[command(name = "task:show")]
struct Show {
    /// The task
    #[arg(required_unless_present = "batch", conflicts_with = "batch")]
    id: Option<TaskId>,
    /// A batch instead
    #[arg(short, long, value_name = "ID")]
    batch: Option<BatchId>,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerAddress,
}

impl Execute for Show {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let client = self.server.connect(app).await?;
        match (self.id, self.batch) {
            (_, Some(id)) => {
                let story = client.batch(id).await.map_err(exit_error)?;
                match self.json {
                    true => output.json(&story)?,
                    false => batch::print(&story, output),
                }
            }
            (Some(id), None) => {
                let story = client.show(id).await.map_err(exit_error)?;
                match self.json {
                    true => output.json(&story)?,
                    false => task::print(&story, output),
                }
            }
            (None, None) => return Err(Exit::Usage.error("which task?")),
        }
        Ok(())
    }
}

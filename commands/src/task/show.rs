//! `task:show`: the details of a task, or of a batch.

mod batch;
mod task;

use framework::prelude::*;
use framework::task::{BatchId, TaskId};

use crate::options::server_address::{ServerAddress, exit_error};

/// Show the details of a task
///
/// Its options, every attempt with its time, duration and error, its progress, log and result. With --batch,
/// the state of a batch.
#[derive(Args, Command)]
#[command(name = "task:show")]
struct Show {
    /// Id of the task
    #[arg(required_unless_present = "batch", conflicts_with = "batch")]
    id: Option<TaskId>,
    /// Id of a batch instead
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
                let info = client.batch(id).await.map_err(exit_error)?;
                if self.json {
                    output.json(&info)?;
                } else {
                    batch::print(&info, output);
                }
            }
            (Some(id), None) => {
                let details = client.show(id).await.map_err(exit_error)?;
                if self.json {
                    output.json(&details)?;
                } else {
                    task::print(&details, output);
                }
            }
            (None, None) => {
                return Err(Exit::Usage.error("give the id of a task, or --batch and the id of a batch"));
            }
        }
        Ok(())
    }
}

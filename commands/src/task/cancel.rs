//! `task:cancel`: ends what waits, and asks what runs to stop.

use framework::prelude::*;
use framework::task::{BatchId, TaskId};
use framework::views::Cancelled;
use serde_json::json;

use super::report_each::{ItemOutcome, ItemReport};
use super::server_address::{ServerAddress, exit_error};
use crate::format::count_tasks;

/// Cancel tasks, or a batch
///
/// A waiting task ends at once. The attempt of a running one is dropped where it stands; one that blocks its thread is
/// asked to stop, and goes on until it looks. The answer tells which of these happened.
#[derive(Args, Command)]
#[command(name = "task:cancel")]
struct Cancel {
    /// The tasks
    #[arg(required_unless_present = "batch", conflicts_with = "batch")]
    ids: Vec<TaskId>,
    /// All tasks of this batch that have not ended
    #[arg(short, long, value_name = "ID")]
    batch: Option<BatchId>,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerAddress,
}

impl Execute for Cancel {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let client = self.server.connect(app).await?;
        if let Some(batch) = self.batch {
            let count = client.cancel_batch(batch).await.map_err(exit_error)?;
            match self.json {
                true => output.json(&json!({ "batch": batch, "tasks": count }))?,
                false => output.line(format_args!("batch {batch}: {} cancelled", count_tasks(count))),
            }
            return Ok(());
        }
        let mut each = ItemReport::new(self.json, "cancelled");
        for &id in &self.ids {
            each.add(id, client.cancel(id).await, told, output)?;
        }
        each.finish(output)
    }
}

fn told(cancelled: &Cancelled) -> ItemOutcome {
    ItemOutcome::Worked(match cancelled {
        Cancelled::AtOnce => "cancelled",
        Cancelled::Aborted => "was running; its attempt is dropped",
        Cancelled::Requested => "is asked to stop; it blocks its thread and goes on until it looks",
    })
}

//! `task:cancel`: cancels tasks, or a batch.

use framework::prelude::*;
use framework::task::{BatchId, TaskId};
use framework::views::{Cancelled, ChangeKind};
use serde_json::json;

use crate::format::count_tasks;
use crate::options::bulk_change::BulkChange;
use crate::options::report_each::{ItemOutcome, ItemReport};
use crate::options::server_address::ServerAddress;

/// Cancel tasks, or a batch
///
/// A waiting task is cancelled at once. A running one is aborted; a blocking one is only asked to stop, and
/// goes on until its handler checks for it. The output says which of these happened.
///
/// Many tasks of a batch are cancelled in steps, between which other tasks are sent and run. Ctrl-C ends it
/// after a step: what is cancelled by then stays so, and the rest runs. A batch that was not sealed is always
/// cancelled as a whole, also if the server dies meanwhile: none of its tasks runs.
#[derive(Args, Command)]
#[command(name = "task:cancel")]
struct Cancel {
    /// Ids of tasks
    #[arg(required_unless_present = "batch", conflicts_with = "batch")]
    ids: Vec<TaskId>,
    /// Cancel the tasks of this batch that have not ended
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
            let cancel = BulkChange { kind: ChangeKind::Cancel, batch: Some(batch), queue: None };
            let count = cancel.run(client.cancel_batch(batch), &self.server, app, output).await?;
            if self.json {
                output.json(&json!({ "batch_id": batch, "tasks": count }))?;
            } else {
                output.line(format_args!("batch {batch}: {} cancelled", count_tasks(count)));
            }
            return Ok(());
        }
        let mut report = ItemReport::new(self.json, "cancelled");
        for &id in &self.ids {
            report.add(id, client.cancel(id).await, outcome, output)?;
        }
        report.finish(output)
    }
}

fn outcome(cancelled: &Cancelled) -> ItemOutcome {
    ItemOutcome::Changed(match cancelled {
        Cancelled::AtOnce => "cancelled",
        Cancelled::Aborted => "was running and is aborted",
        Cancelled::Requested => "is blocking: asked to stop, and goes on until its handler checks for it",
    })
}

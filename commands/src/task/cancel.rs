//! `task:cancel`: cancels tasks, or a batch.

use framework::prelude::*;
use framework::task::{BatchId, TaskId};
use framework::views::{Cancelled, ChangeKind, FailureFilter};
use serde_json::json;

use crate::format::count_tasks;
use crate::options::bulk_change::{BulkChange, print_preview};
use crate::options::report_each::{ItemOutcome, ItemReport};
use crate::options::server_address::{ServerAddress, exit_error};

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
    /// With --batch: only say how many tasks would be cancelled, and which are the oldest and the newest
    #[arg(long, requires = "batch")]
    dry_run: bool,
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
            if self.dry_run {
                let preview = client.preview_cancel_batch(batch).await.map_err(exit_error)?;
                return print_preview(&preview, "cancelled", self.json, output);
            }
            let filter = FailureFilter::default();
            let cancel = BulkChange { kind: ChangeKind::Cancel, batch: Some(batch), filter };
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

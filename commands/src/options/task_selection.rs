//! The tasks that a command is about: by their ids, by their batch, or all that have failed.

use framework::client::{Client, ClientError};
use framework::prelude::*;
use framework::task::{BatchId, TaskId};
use framework::views::TaskSelector;
use serde_json::json;

use super::report_each::{ItemOutcome, ItemReport};
use super::server_address::exit_error;
use crate::format::count_tasks;

/// The options of a command that is about ended tasks.
#[derive(Debug, Clone, Args)]
pub(super) struct TaskSelection {
    /// The tasks
    #[arg(required_unless_present_any = ["batch", "failed"], conflicts_with_all = ["batch", "failed"])]
    ids: Vec<TaskId>,
    /// All tasks of this batch
    #[arg(short, long, value_name = "ID", conflicts_with = "failed")]
    batch: Option<BatchId>,
    /// All tasks that have failed
    #[arg(long)]
    failed: bool,
    /// Only the failed ones of this queue
    #[arg(long, requires = "failed")]
    queue: Option<String>,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

/// What is done to them.
#[derive(Debug, Clone, Copy)]
pub(super) enum BulkAction {
    Retry,
    Forget,
}

impl TaskSelection {
    /// Does it, one by one for ids, else in one go, and tells how many it was.
    pub(super) async fn change(self, verb: BulkAction, client: &Client, output: &mut Output) -> Result<()> {
        if !self.ids.is_empty() {
            let mut each = ItemReport::new(self.json, "tasks");
            for &id in &self.ids {
                let answer = verb.ask(client, &TaskSelector::Task(id)).await;
                each.add(id, answer, |count| verb.told(*count), output)?;
            }
            return each.finish(output);
        }
        let target = match self.batch {
            Some(batch) => TaskSelector::Batch(batch),
            None => TaskSelector::Failed { queue: self.queue },
        };
        let count = verb.ask(client, &target).await.map_err(exit_error)?;
        match self.json {
            true => output.json(&json!({ "tasks": count }))?,
            false => output.line(format_args!("{}: {}", verb.past(), count_tasks(count))),
        }
        Ok(())
    }
}

impl BulkAction {
    async fn ask(self, client: &Client, tasks: &TaskSelector) -> Result<u64, ClientError> {
        match self {
            Self::Retry => client.retry(tasks).await,
            Self::Forget => client.forget(tasks).await,
        }
    }

    fn past(self) -> &'static str {
        match self {
            Self::Retry => "retried",
            Self::Forget => "forgotten",
        }
    }

    fn told(self, count: u64) -> ItemOutcome {
        match (self, count) {
            (Self::Retry, 0) => ItemOutcome::Nothing("is not one that failed, expired or was cancelled"),
            (Self::Retry, _) => ItemOutcome::Worked("waits again"),
            (Self::Forget, 0) => ItemOutcome::Nothing("has not ended: cancel it first"),
            (Self::Forget, _) => ItemOutcome::Worked("forgotten"),
        }
    }
}

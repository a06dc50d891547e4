//! The selection of ended tasks: by id, by batch, or all failed ones.

use framework::client::{Client, ClientError};
use framework::prelude::*;
use framework::task::{BatchId, TaskId};
use framework::views::{ChangeKind, ChangePreview, FailureCause, FailureFilter, TaskSelector};
use serde_json::json;

use super::bulk_change::{BulkChange, print_preview};
use super::report_each::{ItemOutcome, ItemReport};
use super::server_address::{ServerAddress, exit_error};
use crate::format::count_tasks;

/// The options of a command that changes ended tasks.
#[derive(Debug, Clone, Args)]
pub(crate) struct TaskSelection {
    /// Ids of tasks
    #[arg(conflicts_with_all = ["batch", "failed", "cause"])]
    ids: Vec<TaskId>,
    /// All tasks of this batch
    #[arg(short, long, value_name = "ID", conflicts_with_all = ["failed", "cause"])]
    batch: Option<BatchId>,
    /// All failed tasks
    #[arg(long)]
    failed: bool,
    /// With --failed: only those of this queue
    #[arg(long, requires = "failed")]
    queue: Option<String>,
    /// With --failed: only those of this function
    #[arg(short, long, requires = "failed")]
    function: Option<String>,
    /// All failed tasks of this cause, as task:failures shows it
    #[arg(short, long)]
    cause: Option<FailureCause>,
    /// Only say how many tasks would be changed, and which are the oldest and the newest of them
    #[arg(long, conflicts_with = "ids")]
    dry_run: bool,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

/// An action on the selected tasks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum BulkAction {
    Retry,
    Forget,
}

impl TaskSelection {
    /// # Errors
    /// No task is selected.
    pub(crate) fn check(&self) -> Result<()> {
        if self.ids.is_empty() && self.batch.is_none() && !self.failed && self.cause.is_none() {
            return Err(Exit::Usage.error(
                "which tasks? Name them by their ids, take those of a batch (--batch ID), all failed ones (--failed), or those \
                 of a cause (--cause ID)",
            ));
        }
        Ok(())
    }

    /// The tasks of a selection that names no ids.
    fn selector(&self) -> TaskSelector {
        match self.batch {
            Some(batch) => TaskSelector::Batch(batch),
            None => TaskSelector::Failed(FailureFilter {
                queue: self.queue.clone(),
                function: self.function.clone(),
                cause: self.cause,
            }),
        }
    }

    /// Asks somebody at a terminal whether many tasks are to be removed.
    ///
    /// # Errors
    /// When they are not.
    pub(crate) async fn confirm_removal(
        &self,
        client: &Client,
        app: &App,
        output: &mut Output,
    ) -> Result<()> {
        if !self.ids.is_empty() || self.dry_run || !app.input().is_interactive(output) {
            return Ok(());
        }
        let count = client.preview_forget(&self.selector()).await.map_err(exit_error)?.tasks;
        let question = format!("Remove {} with their results, errors and logs?", count_tasks(count));
        if app.input().confirm(output, &question, false)? {
            return Ok(());
        }
        Err(Exit::Failed.error("no task was removed; --force skips the confirmation"))
    }

    /// Applies an action, one by one for ids, else in one request, and prints the number of changed tasks.
    pub(crate) async fn apply(
        self,
        action: BulkAction,
        client: &Client,
        server: &ServerAddress,
        app: &App,
        output: &mut Output,
    ) -> Result<()> {
        if !self.ids.is_empty() {
            let mut report = ItemReport::new(self.json, "tasks");
            for &id in &self.ids {
                let count = action.request(client, &TaskSelector::Task(id)).await;
                report.add(id, count, |count| action.outcome(*count), output)?;
            }
            return report.finish(output);
        }
        let selector = self.selector();
        if self.dry_run {
            let preview = action.preview(client, &selector).await.map_err(exit_error)?;
            return print_preview(&preview, action.past_tense(), self.json, output);
        }
        let filter =
            if let TaskSelector::Failed(filter) = &selector { filter.clone() } else { Default::default() };
        let change = BulkChange { kind: action.kind(), batch: self.batch, filter };
        let count = change.run(action.request(client, &selector), server, app, output).await?;
        if self.json {
            output.json(&json!({ "tasks": count }))?;
        } else {
            output.line(format_args!("{}: {}", action.past_tense(), count_tasks(count)));
        }
        Ok(())
    }
}

impl BulkAction {
    async fn request(self, client: &Client, tasks: &TaskSelector) -> Result<u64, ClientError> {
        match self {
            Self::Retry => client.retry(tasks).await,
            Self::Forget => client.forget(tasks).await,
        }
    }

    async fn preview(self, client: &Client, tasks: &TaskSelector) -> Result<ChangePreview, ClientError> {
        match self {
            Self::Retry => client.preview_retry(tasks).await,
            Self::Forget => client.preview_forget(tasks).await,
        }
    }

    fn kind(self) -> ChangeKind {
        match self {
            Self::Retry => ChangeKind::Retry,
            Self::Forget => ChangeKind::Forget,
        }
    }

    fn past_tense(self) -> &'static str {
        match self {
            Self::Retry => "retried",
            Self::Forget => "forgotten",
        }
    }

    fn outcome(self, count: u64) -> ItemOutcome {
        match (self, count) {
            (Self::Retry, 0) => ItemOutcome::Unchanged("has not failed, expired or been cancelled"),
            (Self::Retry, _) => ItemOutcome::Changed("waits again"),
            (Self::Forget, 0) => ItemOutcome::Unchanged("has not ended: cancel it first"),
            (Self::Forget, _) => ItemOutcome::Changed("forgotten"),
        }
    }
}

//! Queries and administrative commands.

use framework_protocol::task::{BatchId, HandlerInfo, TaskId, moment_text};
use framework_protocol::views::{
    AdminResult, BatchInfo, Cancelled, ChangeId, ChangeInfo, ChangePreview, ConnectionInfo, FailureFilter,
    FailureReport, Filter, QueueInfo, ScheduleInfo, SearchResult, ServerStatus, TaskDetails, TaskSelector,
    TaskSummary, WorkerInfo,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::channel::{OutgoingRequest, RetrySafety};
use crate::client::Client;
use crate::error::{ClientError, Result};
use crate::replies;

impl Client {
    /// The server's status: its load, its limits, its ledger.
    ///
    /// # Errors
    /// When the connection fails, or what listens there is something else.
    pub async fn status(&self) -> Result<ServerStatus> {
        self.query("status", json!({})).await
    }

    /// The connections of the server, the oldest first: those after the one of this number, at most 1000 at a
    /// time. The one of this client is among them.
    ///
    /// # Errors
    /// When `limit` is 0 or above 1000, or the token lacks the scope `inspect`.
    pub async fn connections(&self, after: Option<u64>, limit: usize) -> Result<Vec<ConnectionInfo>> {
        self.query("connections", json!({ "after": after, "limit": limit })).await
    }

    /// The workers outside of the server that are connected, in the order of their names.
    ///
    /// # Errors
    /// When the token lacks the scope `inspect`.
    pub async fn workers(&self) -> Result<Vec<WorkerInfo>> {
        self.query("workers", json!({})).await
    }

    /// Gives the workers of this name no further tasks; the number of them.
    ///
    /// # Errors
    /// When there is none of this name, or the token lacks the scope `admin`.
    pub async fn drain_worker(&self, name: &str) -> Result<u64> {
        self.change("drain", json!({ "worker": name })).await
    }

    /// All details of a task.
    ///
    /// # Errors
    /// When there is none of this id, or it is not kept any more.
    pub async fn show(&self, task: TaskId) -> Result<TaskDetails> {
        self.query("show", json!({ "task": task })).await
    }

    /// The tasks that match, the newest first; at most 1000 at a time.
    ///
    /// # Errors
    /// When the filter names an unknown queue, or its limit is 0 or above 1000.
    pub async fn list(&self, filter: &Filter) -> Result<Vec<TaskSummary>> {
        self.query("list", filter).await
    }

    /// The tasks that match, the newest first, as far as they are found in about a second; at most 1000 at a
    /// time. A search that is not complete goes on with [`SearchResult::before`].
    ///
    /// # Errors
    /// When the filter names an unknown queue, its limit is 0 or above 1000, or its text is too long.
    pub async fn search(&self, filter: &Filter) -> Result<SearchResult> {
        let mut fields = serde_json::to_value(filter).unwrap_or_default();
        for (name, ms) in [("since", filter.since_ms), ("until", filter.until_ms)] {
            if let (Some(ms), Some(fields)) = (ms, fields.as_object_mut()) {
                fields.remove(&format!("{name}_ms"));
                fields.insert(name.to_owned(), moment_text(ms).into());
            }
        }
        self.query("search", fields).await
    }

    /// The failed tasks by their causes, the causes with most tasks first; at most 1000 causes.
    ///
    /// # Errors
    /// When the filter names an unknown queue, or its limit is 0 or above 1000.
    pub async fn failures(&self, filter: &FailureFilter, limit: usize) -> Result<FailureReport> {
        let FailureFilter { queue, function, cause } = filter;
        let fields = json!({ "queue": queue, "function": function, "cause": cause, "limit": limit });
        self.query("failures", fields).await
    }

    /// The tasks that [`Client::retry`] would queue again at the moment.
    ///
    /// # Errors
    /// When there is no such queue.
    pub async fn preview_retry(&self, tasks: &TaskSelector) -> Result<ChangePreview> {
        self.query("retry", dry_run(selector(tasks))).await
    }

    /// The tasks that [`Client::forget`] would remove at the moment.
    ///
    /// # Errors
    /// When there is no such queue.
    pub async fn preview_forget(&self, tasks: &TaskSelector) -> Result<ChangePreview> {
        self.query("forget", dry_run(selector(tasks))).await
    }

    /// The tasks that [`Client::cancel_batch`] would cancel at the moment.
    ///
    /// # Errors
    /// When the token lacks the scope `admin`.
    pub async fn preview_cancel_batch(&self, batch: BatchId) -> Result<ChangePreview> {
        self.query("cancel", dry_run(selector(&TaskSelector::Batch(batch)))).await
    }

    /// The tasks that [`Client::flush`] would cancel at the moment.
    ///
    /// # Errors
    /// When there is no such queue.
    pub async fn preview_flush(&self, queue: Option<&str>) -> Result<ChangePreview> {
        self.query("flush", dry_run(json!({ "queue": queue }))).await
    }

    /// Cancels a task: one that waits ends at once, one that runs is asked to stop. The result says which it
    /// was.
    ///
    /// # Errors
    /// When there is none of this id, or it has ended.
    pub async fn cancel(&self, task: TaskId) -> Result<Cancelled> {
        match self.change("cancel", selector(&TaskSelector::Task(task))).await? {
            AdminResult::Cancelled(cancelled) => Ok(cancelled),
            other => Err(self.unexpected_result(other)),
        }
    }

    /// Cancels all tasks of a batch that have not ended; the number of them.
    ///
    /// # Errors
    /// When there is none of this id.
    pub async fn cancel_batch(&self, batch: BatchId) -> Result<u64> {
        self.change_tasks("cancel", selector(&TaskSelector::Batch(batch))).await
    }

    /// Queues ended tasks again, except those that are done; the number of them.
    ///
    /// # Errors
    /// When there is no such task, batch or queue.
    pub async fn retry(&self, tasks: &TaskSelector) -> Result<u64> {
        self.change_tasks("retry", selector(tasks)).await
    }

    /// Removes ended tasks with all that is kept of them; the number of them.
    ///
    /// # Errors
    /// When there is no such task, batch or queue.
    pub async fn forget(&self, tasks: &TaskSelector) -> Result<u64> {
        self.change_tasks("forget", selector(tasks)).await
    }

    /// Cancels the waiting tasks of this queue, or of all queues; the number of them.
    ///
    /// # Errors
    /// When there is no such queue.
    pub async fn flush(&self, queue: Option<&str>) -> Result<u64> {
        self.change_tasks("flush", json!({ "queue": queue })).await
    }

    /// The changes of many tasks that are under way, the oldest first. The connection of a change is busy
    /// until its end: this needs another client.
    ///
    /// # Errors
    /// When the connection fails, or the token lacks the scope `inspect`.
    pub async fn changes(&self) -> Result<Vec<ChangeInfo>> {
        self.query("changes", json!({})).await
    }

    /// Lets a change of many tasks end soon; what is changed by then stays so.
    ///
    /// # Errors
    /// When there is no such change any more, or it has to be carried to its end.
    pub async fn stop_change(&self, change: ChangeId) -> Result<()> {
        self.change("stop_change", json!({ "change": change })).await.map(|_: AdminResult| ())
    }

    /// The queues and their depths.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn queues(&self) -> Result<Vec<QueueInfo>> {
        self.query("queues", json!({})).await
    }

    /// Pauses a queue: none of its tasks starts until [`Client::resume`], also after a restart of the server.
    ///
    /// # Errors
    /// When there is no such queue.
    pub async fn pause(&self, queue: &str) -> Result<()> {
        self.change("pause", json!({ "queue": queue })).await.map(|_: AdminResult| ())
    }

    /// Ends the pause of a queue.
    ///
    /// # Errors
    /// When there is no such queue.
    pub async fn resume(&self, queue: &str) -> Result<()> {
        self.change("resume", json!({ "queue": queue })).await.map(|_: AdminResult| ())
    }

    /// Opens a batch, whose tasks are held back until it is sealed; `then` is the function that runs when the
    /// last of them has ended.
    ///
    /// # Errors
    /// When there is no such function, or `then` does not take the result of a batch.
    pub async fn open_batch(&self, name: &str, function: &str, then: Option<&str>) -> Result<BatchId> {
        let fields = json!({ "name": name, "function": function, "then": then });
        match self.change("open_batch", fields).await? {
            AdminResult::Batch(id) => Ok(id),
            other => Err(self.unexpected_result(other)),
        }
    }

    /// Seals a batch: it is complete, and its tasks may run.
    ///
    /// # Errors
    /// When there is none of this id.
    pub async fn seal_batch(&self, batch: BatchId) -> Result<()> {
        self.change("seal_batch", json!({ "batch": batch })).await.map(|_: AdminResult| ())
    }

    /// A batch with its counts.
    ///
    /// # Errors
    /// When there is none of this id.
    pub async fn batch(&self, batch: BatchId) -> Result<BatchInfo> {
        self.query("batch", json!({ "batch": batch })).await
    }

    /// The last batches, the newest first; at most 1000.
    ///
    /// # Errors
    /// When `limit` is 0 or above 1000.
    pub async fn batches(&self, limit: usize) -> Result<Vec<BatchInfo>> {
        self.query("batches", json!({ "limit": limit })).await
    }

    /// The functions that the server runs: the one of this name, or all of them.
    ///
    /// # Errors
    /// When there is no such function.
    pub async fn functions(&self, function: Option<&str>) -> Result<Vec<HandlerInfo>> {
        self.query("functions", json!({ "function": function })).await
    }

    /// The schedules with their last runs.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn schedules(&self) -> Result<Vec<ScheduleInfo>> {
        self.query("schedules", json!({})).await
    }

    /// Runs a schedule now, in addition to its regular times; the id of the task.
    ///
    /// # Errors
    /// When there is no such schedule, or the task is refused.
    pub async fn run_schedule(&self, schedule: &str) -> Result<TaskId> {
        #[derive(Deserialize)]
        struct Made {
            task_id: TaskId,
        }
        self.change("run_schedule", json!({ "schedule": schedule })).await.map(|made: Made| made.task_id)
    }

    /// Pauses a schedule: it does not run until [`Client::resume_schedule`], also after a restart of the
    /// server.
    ///
    /// # Errors
    /// When there is no such schedule.
    pub async fn pause_schedule(&self, schedule: &str) -> Result<()> {
        self.change("pause_schedule", json!({ "schedule": schedule })).await.map(|_: AdminResult| ())
    }

    /// Ends the pause of a schedule; the times that passed meanwhile are skipped.
    ///
    /// # Errors
    /// When there is no such schedule.
    pub async fn resume_schedule(&self, schedule: &str) -> Result<()> {
        self.change("resume_schedule", json!({ "schedule": schedule })).await.map(|_: AdminResult| ())
    }

    /// Sends a command that changes tasks; the number of them.
    async fn change_tasks(&self, command: &str, fields: Value) -> Result<u64> {
        match self.change(command, fields).await? {
            AdminResult::Tasks(count) => Ok(count),
            other => Err(self.unexpected_result(other)),
        }
    }

    fn unexpected_result(&self, result: AdminResult) -> ClientError {
        ClientError::unexpected_line(self.address(), format!("{result:?}"))
    }

    /// Sends a command that changes nothing.
    async fn query<T: DeserializeOwned>(&self, command: &str, fields: impl Serialize) -> Result<T> {
        self.command(command, fields, RetrySafety::ReadOnly).await
    }

    /// Sends a command that changes something, and is not sent a second time.
    async fn change<T: DeserializeOwned>(&self, command: &str, fields: impl Serialize) -> Result<T> {
        self.command(command, fields, RetrySafety::Unsafe).await
    }

    async fn command<T: DeserializeOwned>(
        &self,
        command: &str,
        fields: impl Serialize,
        safety: RetrySafety,
    ) -> Result<T> {
        #[derive(Serialize)]
        struct Command<'a, F> {
            command: &'a str,
            id: u64,
            #[serde(flatten)]
            fields: F,
        }
        let id = self.pool.next_id();
        let mut line = serde_json::to_vec(&Command { command, id, fields })
            .expect("a vector takes every byte, and commands are plain structs");
        line.push(b'\n');
        let reply = self.pool.send(OutgoingRequest::once(id, line, safety)).await.reply().await?;
        replies::result(self.address(), reply)
    }
}

/// The fields by which a command selects tasks.
/// The fields of a change that is only to say what it would change.
fn dry_run(mut fields: Value) -> Value {
    fields["dry_run"] = Value::from(true);
    fields
}

fn selector(tasks: &TaskSelector) -> Value {
    match tasks {
        TaskSelector::Task(task) => json!({ "task": task }),
        TaskSelector::Batch(batch) => json!({ "batch": batch }),
        TaskSelector::Failed(FailureFilter { queue, function, cause }) => {
            json!({ "failed": true, "queue": queue, "function": function, "cause": cause })
        }
    }
}

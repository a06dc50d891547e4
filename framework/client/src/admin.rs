//! What people ask of a server, and change on it.

use framework_protocol::task::{BatchId, HandlerInfo, TaskId};
use framework_protocol::views::{
    AdminResult, BatchInfo, Cancelled, ConnectionInfo, Filter, QueueInfo, ScheduleInfo, Status, TaskDetails,
    TaskSelector, TaskSummary,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::channel::OutgoingRequest;
use crate::client::Client;
use crate::error::{ClientError, Result};
use crate::in_flight::{ChannelEvent, RequestKind, RetrySafety};

impl Client {
    /// How the server is doing.
    ///
    /// # Errors
    /// When the connection fails, or what listens there is something else.
    pub async fn status(&self) -> Result<Status> {
        self.ask("status", json!({})).await
    }

    /// Who is connected to the server, the oldest connections first: those after the one of this number, at most 1000
    /// at a time. This client is among them.
    ///
    /// # Errors
    /// When `limit` is 0 or above 1000, or the token does not allow to inspect.
    pub async fn connections(&self, after: Option<u64>, limit: usize) -> Result<Vec<ConnectionInfo>> {
        self.ask("connections", json!({ "after": after, "limit": limit })).await
    }

    /// The whole story of a task.
    ///
    /// # Errors
    /// When there is none of this id, or it is not kept any more.
    pub async fn show(&self, task: TaskId) -> Result<TaskDetails> {
        self.ask("show", json!({ "task": task })).await
    }

    /// Tasks in a line each, the newest first; at most 1000 at a time.
    ///
    /// # Errors
    /// When the filter names an unknown queue, or its limit is 0 or above 1000.
    pub async fn list(&self, filter: &Filter) -> Result<Vec<TaskSummary>> {
        self.ask("list", filter).await
    }

    /// Ends a task that waits, and asks one that runs to stop; tells which of these it was.
    ///
    /// # Errors
    /// When there is none of this id, or it has ended.
    pub async fn cancel(&self, task: TaskId) -> Result<Cancelled> {
        match self.alter("cancel", target(&TaskSelector::Task(task))).await? {
            AdminResult::Cancelled(cancelled) => Ok(cancelled),
            other => Err(self.odd(other)),
        }
    }

    /// Cancels all tasks of a batch that have not ended; tells how many.
    ///
    /// # Errors
    /// When there is none of this id.
    pub async fn cancel_batch(&self, batch: BatchId) -> Result<u64> {
        self.change("cancel", target(&TaskSelector::Batch(batch))).await
    }

    /// Lets ended tasks wait again, those that are done excepted; tells how many.
    ///
    /// # Errors
    /// When there is no such task, batch or queue.
    pub async fn retry(&self, tasks: &TaskSelector) -> Result<u64> {
        self.change("retry", target(tasks)).await
    }

    /// Removes ended tasks with all that is kept of them; tells how many.
    ///
    /// # Errors
    /// When there is no such task, batch or queue.
    pub async fn forget(&self, tasks: &TaskSelector) -> Result<u64> {
        self.change("forget", target(tasks)).await
    }

    /// Cancels what waits in this queue, or in all of them; tells how many.
    ///
    /// # Errors
    /// When there is no such queue.
    pub async fn flush(&self, queue: Option<&str>) -> Result<u64> {
        self.change("flush", json!({ "queue": queue })).await
    }

    /// The queues and what is in them.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn queues(&self) -> Result<Vec<QueueInfo>> {
        self.ask("queues", json!({})).await
    }

    /// Nothing is taken from this queue until [`Client::resume`], also after a restart of the server.
    ///
    /// # Errors
    /// When there is no such queue.
    pub async fn pause(&self, queue: &str) -> Result<()> {
        self.alter("pause", json!({ "queue": queue })).await.map(|_: AdminResult| ())
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// When there is no such queue.
    pub async fn resume(&self, queue: &str) -> Result<()> {
        self.alter("resume", json!({ "queue": queue })).await.map(|_: AdminResult| ())
    }

    /// A new batch, whose tasks are held back until it is sealed; `then` is the function that runs when the last
    /// of them has ended.
    ///
    /// # Errors
    /// When there is no such function, or `then` cannot be told of the end of a batch.
    pub async fn open_batch(&self, name: &str, function: &str, then: Option<&str>) -> Result<BatchId> {
        let fields = json!({ "name": name, "function": function, "then": then });
        match self.alter("open_batch", fields).await? {
            AdminResult::Batch(id) => Ok(id),
            other => Err(self.odd(other)),
        }
    }

    /// The batch is complete: its tasks may run.
    ///
    /// # Errors
    /// When there is none of this id.
    pub async fn seal_batch(&self, batch: BatchId) -> Result<()> {
        self.alter("seal_batch", json!({ "batch": batch })).await.map(|_: AdminResult| ())
    }

    /// A batch and how far it is.
    ///
    /// # Errors
    /// When there is none of this id.
    pub async fn batch(&self, batch: BatchId) -> Result<BatchInfo> {
        self.ask("batch", json!({ "batch": batch })).await
    }

    /// The last batches, the newest first; at most 1000.
    ///
    /// # Errors
    /// When `limit` is 0 or above 1000.
    pub async fn batches(&self, limit: usize) -> Result<Vec<BatchInfo>> {
        self.ask("batches", json!({ "limit": limit })).await
    }

    /// What the server can be asked to do: this function, or all of them.
    ///
    /// # Errors
    /// When there is no such function.
    pub async fn functions(&self, function: Option<&str>) -> Result<Vec<HandlerInfo>> {
        self.ask("functions", json!({ "function": function })).await
    }

    /// What is remembered of the schedules.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn schedules(&self) -> Result<Vec<ScheduleInfo>> {
        self.ask("schedules", json!({})).await
    }

    /// Makes a task of a schedule now, besides those that the clock makes.
    ///
    /// # Errors
    /// When there is no such schedule, or the task is refused.
    pub async fn run_schedule(&self, schedule: &str) -> Result<TaskId> {
        #[derive(Deserialize)]
        struct Made {
            task_id: TaskId,
        }
        self.alter("run_schedule", json!({ "schedule": schedule })).await.map(|made: Made| made.task_id)
    }

    /// The clock makes no task of this schedule until [`Client::resume_schedule`], also after a restart of the
    /// server.
    ///
    /// # Errors
    /// When there is no such schedule.
    pub async fn pause_schedule(&self, schedule: &str) -> Result<()> {
        self.alter("pause_schedule", json!({ "schedule": schedule })).await.map(|_: AdminResult| ())
    }

    /// Ends a pause; the times that passed meanwhile are skipped.
    ///
    /// # Errors
    /// When there is no such schedule.
    pub async fn resume_schedule(&self, schedule: &str) -> Result<()> {
        self.alter("resume_schedule", json!({ "schedule": schedule })).await.map(|_: AdminResult| ())
    }

    async fn change(&self, command: &str, fields: Value) -> Result<u64> {
        match self.alter(command, fields).await? {
            AdminResult::Tasks(count) => Ok(count),
            other => Err(self.odd(other)),
        }
    }

    fn odd(&self, changed: AdminResult) -> ClientError {
        ClientError::unexpected_reply(self.address(), format!("{changed:?}"))
    }

    /// Sends a command that only asks.
    async fn ask<T: DeserializeOwned>(&self, command: &str, fields: impl Serialize) -> Result<T> {
        self.command(command, fields, RetrySafety::Asks).await
    }

    /// Sends a command that changes something, and is not sent a second time.
    async fn alter<T: DeserializeOwned>(&self, command: &str, fields: impl Serialize) -> Result<T> {
        self.command(command, fields, RetrySafety::Doubles).await
    }

    async fn command<T: DeserializeOwned>(
        &self,
        command: &str,
        fields: impl Serialize,
        repeat: RetrySafety,
    ) -> Result<T> {
        #[derive(Serialize)]
        struct Command<'a, F> {
            command: &'a str,
            id: u64,
            #[serde(flatten)]
            fields: F,
        }
        let id = self.pool.id();
        let mut line = serde_json::to_vec(&Command { command, id, fields })
            .expect("a vector takes every byte, and commands are plain structs");
        line.push(b'\n');
        let order = OutgoingRequest { id, line, kind: RequestKind::Once, repeat, task: None, home: None };
        let answer = match self.pool.send(order).await.next().await {
            ChannelEvent::Answer(answer) => answer,
            ChannelEvent::Lost(error) | ChannelEvent::Failed(error) => return Err(error),
        };
        match answer.result.as_ref().and_then(|result| serde_json::from_str(result.get()).ok()) {
            Some(result) => Ok(result),
            None if answer.code.is_some() => Err(ClientError::Refused(answer.refusal())),
            None => Err(ClientError::unexpected_answer(self.address(), &answer)),
        }
    }
}

/// How a command names its tasks.
fn target(target: &TaskSelector) -> Value {
    match target {
        TaskSelector::Task(task) => json!({ "task": task }),
        TaskSelector::Batch(batch) => json!({ "batch": batch }),
        TaskSelector::Failed { queue } => json!({ "failed": true, "queue": queue }),
    }
}

//! The tasks that a command is about: by their ids, by their batch, or all that have failed.

use framework::client::{Client, ClientError};
use framework::prelude::*;
use framework::store::Target;
use framework::task::{BatchId, TaskId};
use serde_json::json;

use super::each::{Each, Told};
use super::server_address::ended;
use crate::people::tasks;

/// The options of a command that is about ended tasks.
#[derive(Debug, Clone, Args)]
pub(super) struct Several {
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
pub(super) enum Verb {
    Retry,
    Forget,
}

impl Several {
    /// Does it, one by one for ids, else in one go, and tells how many it was.
    pub(super) async fn change(self, verb: Verb, client: &Client, output: &mut Output) -> Result<()> {
        if !self.ids.is_empty() {
            let mut each = Each::new(self.json, "tasks");
            for &id in &self.ids {
                let answer = verb.ask(client, &Target::Task(id)).await;
                each.tell(id, answer, |count| verb.told(*count), output)?;
            }
            return each.finish(output);
        }
        let target = match self.batch {
            Some(batch) => Target::Batch(batch),
            None => Target::Failed { queue: self.queue },
        };
        let count = verb.ask(client, &target).await.map_err(ended)?;
        match self.json {
            true => output.json(&json!({ "tasks": count }))?,
            false => output.line(format_args!("{}: {}", verb.past(), tasks(count))),
        }
        Ok(())
    }
}

impl Verb {
    async fn ask(self, client: &Client, tasks: &Target) -> Result<u64, ClientError> {
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

    fn told(self, count: u64) -> Told {
        match (self, count) {
            (Self::Retry, 0) => Told::Nothing("is not one that failed, expired or was cancelled"),
            (Self::Retry, _) => Told::Worked("waits again"),
            (Self::Forget, 0) => Told::Nothing("has not ended: cancel it first"),
            (Self::Forget, _) => Told::Worked("forgotten"),
        }
    }
}

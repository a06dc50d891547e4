//! A task that was accepted, and how it ends.

use std::fmt;

use framework_protocol::task::TaskId;
use framework_protocol::{Reply, Status};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::client::Client;
use crate::error::{ClientError, Result};
use crate::events::TaskEvents;
use crate::in_flight::{ChannelEvent, RequestKind};
use crate::pool::PendingRequest;

/// A task that was accepted. Dropping it changes nothing for the task.
#[derive(Debug)]
pub struct TaskHandle {
    client: Client,
    id: TaskId,
    /// The only address whose server knows of it.
    home: Option<usize>,
    /// Where its end is told.
    ticket: Option<PendingRequest>,
    ended: Option<TaskEnd>,
}

/// How a task has ended.
#[derive(Debug, Clone)]
pub enum TaskEnd {
    /// With this result, as JSON.
    Done(Box<RawValue>),
    /// With this error.
    Failed(String),
    /// Because somebody cancelled it; how.
    Cancelled(String),
    /// Because nobody began it in time; how.
    Expired(String),
}

impl TaskHandle {
    pub(crate) fn new(
        client: Client,
        id: TaskId,
        home: Option<usize>,
        ticket: Option<PendingRequest>,
    ) -> Self {
        Self { client, id, home, ticket, ended: None }
    }

    /// Names the task; rising, never reused.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// Waits for its end, also over a restart of the server, as long as that takes no longer than `retry_time`. Nothing
    /// is lost when this is dropped and called again.
    ///
    /// # Errors
    /// When the server cannot be reached any more, stops, or keeps nothing of the task.
    pub async fn ended(&mut self) -> Result<TaskEnd> {
        if let Some(ended) = &self.ended {
            return Ok(ended.clone());
        }
        if self.ticket.is_none() {
            self.ticket = Some(self.client.pool.watch(self.id, RequestKind::Awaited, self.home).await);
        }
        let ticket = self.ticket.as_mut().expect("it was made sure that there is one");
        let ended = match ticket.next().await {
            ChannelEvent::Answer(answer) => ended(self.client.address(), answer),
            ChannelEvent::Lost(error) | ChannelEvent::Failed(error) => Err(error),
        };
        self.ticket = None;
        self.ended = Some(ended?);
        self.ended.clone().ok_or_else(|| unreachable!("it was set just now"))
    }

    /// Waits for its result.
    ///
    /// # Errors
    /// [`ClientError::NotDone`] when it has none, [`ClientError::Unfit`] when it is of another type, and those of
    /// [`TaskHandle::ended`].
    pub async fn wait<R: DeserializeOwned>(&mut self) -> Result<R> {
        let task = self.id;
        match self.ended().await? {
            TaskEnd::Done(result) => serde_json::from_str(result.get())
                .map_err(|error| ClientError::ResultType { task, source: std::sync::Arc::new(error) }),
            ended => Err(ClientError::TaskFailed { task, ended }),
        }
    }

    /// Hears what becomes of it: [`Client::follow`].
    ///
    /// # Errors
    /// When nothing is kept of it any more, or the server cannot be reached.
    pub async fn follow(&self) -> Result<TaskEvents> {
        self.client.follow_at(self.id, self.home).await
    }
}

impl fmt::Display for TaskEnd {
    /// The rest of a sentence that begins with the task.
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Done(_) => formatter.write_str("is done"),
            Self::Failed(why) => write!(formatter, "has failed: {why}"),
            Self::Cancelled(why) => write!(formatter, "was cancelled: {why}"),
            Self::Expired(why) => write!(formatter, "has expired: {why}"),
        }
    }
}

/// The end that an answer tells of.
pub(crate) fn ended(address: &str, answer: Reply) -> Result<TaskEnd> {
    let error = || answer.error.clone().unwrap_or_default();
    Ok(match answer.status {
        Status::Done => TaskEnd::Done(answer.result.unwrap_or_else(|| RawValue::NULL.to_owned())),
        Status::Failed => TaskEnd::Failed(error()),
        Status::Cancelled => TaskEnd::Cancelled(error()),
        Status::Expired => TaskEnd::Expired(error()),
        Status::Error => return Err(ClientError::Refused(answer.refusal())),
        _ => return Err(ClientError::unexpected_answer(address, &answer)),
    })
}

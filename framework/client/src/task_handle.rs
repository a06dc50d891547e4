//! The handle of an accepted task.

use std::sync::Arc;

use framework_protocol::task::TaskId;
use framework_protocol::views::State;
use serde::de::DeserializeOwned;

use crate::channel::RequestKind;
use crate::client::Client;
use crate::error::{ClientError, Result};
use crate::events::TaskEvents;
use crate::outcome::TaskEnd;
use crate::pool::PendingRequest;
use crate::replies;

/// The handle of an accepted task. Dropping it changes nothing for the task.
#[derive(Debug)]
pub struct TaskHandle {
    client: Client,
    id: TaskId,
    duplicate: Option<State>,
    /// The index of the only address whose server knows it.
    pinned_address: Option<usize>,
    /// The request that waits for its end.
    pending: Option<PendingRequest>,
    ended: Option<TaskEnd>,
}

impl TaskHandle {
    pub(crate) fn new(
        client: Client,
        id: TaskId,
        duplicate: Option<State>,
        pinned_address: Option<usize>,
        pending: Option<PendingRequest>,
    ) -> Self {
        Self { client, id, duplicate, pinned_address, pending, ended: None }
    }

    /// The id of the task; ids rise and are never reused.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// The state in which the task was already, when its key belongs to an earlier one.
    pub fn duplicate(&self) -> Option<State> {
        self.duplicate
    }

    /// Waits for its end, also over restarts of the server that take no longer than `retry_time`. Nothing is
    /// lost when this is dropped and called again.
    ///
    /// # Errors
    /// When the server cannot be reached any more, stops, or keeps nothing of the task.
    pub async fn ended(&mut self) -> Result<TaskEnd> {
        if let Some(ended) = &self.ended {
            return Ok(ended.clone());
        }
        let pending = match &mut self.pending {
            Some(pending) => pending,
            none => {
                let watch = self.client.pool.watch(self.id, RequestKind::Awaited, self.pinned_address);
                none.insert(watch.await)
            }
        };
        let ended = match pending.reply().await {
            Ok(reply) => replies::task_end(pending.address(), reply),
            Err(error) => Err(error),
        };
        self.pending = None;
        Ok(self.ended.insert(ended?).clone())
    }

    /// Waits for its result.
    ///
    /// # Errors
    /// [`ClientError::TaskFailed`] when it has none, [`ClientError::ResultType`] when it cannot be decoded as
    /// `R`, and those of [`TaskHandle::ended`].
    pub async fn wait<R: DeserializeOwned>(&mut self) -> Result<R> {
        let task = self.id;
        match self.ended().await? {
            TaskEnd::Done(result) => serde_json::from_str(result.get())
                .map_err(|error| ClientError::ResultType { task, source: Arc::new(error) }),
            ended => Err(ClientError::TaskFailed { task, ended }),
        }
    }

    /// Subscribes to its events: [`Client::follow`].
    ///
    /// # Errors
    /// When nothing is kept of it any more, or the server cannot be reached.
    pub async fn follow(&self) -> Result<TaskEvents> {
        self.client.follow_at(self.id, self.pinned_address).await
    }
}

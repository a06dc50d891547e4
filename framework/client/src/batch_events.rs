//! Hears how far a batch is until all of it has ended.

use framework_protocol::task::BatchId;
use framework_protocol::views::BatchInfo;
use framework_protocol::{Reply, Status};

use crate::channel::OutgoingRequest;
use crate::client::Client;
use crate::error::{ClientError, Result};
use crate::in_flight::ChannelEvent;
use crate::pool::PendingRequest;

/// A batch that is followed until its end.
#[derive(Debug)]
pub struct BatchEvents {
    ticket: PendingRequest,
    story: BatchInfo,
    has_ended: bool,
}

/// What is heard of a batch.
#[derive(Debug, Clone)]
pub enum BatchEvent {
    /// How far it is now; about ten times a second at most.
    Progress(BatchInfo),
    /// The connection is lost, for this reason; it is tried again for `retry_time`.
    Disconnected(ClientError),
    /// There is a connection again, and the batch is as far as this.
    Reconnected(BatchInfo),
    /// All of its tasks have ended, and `then_task` is the one that was made of that; nothing follows.
    Ended(BatchInfo),
}

impl Client {
    /// Follows a batch: how far it is whenever that has changed, and its end, which comes once it is sealed and its
    /// last task has ended; also over a restart of the server. Who does not read in time misses news, but not the end.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when there is no such batch, or it is not kept any more.
    pub async fn follow_batch(&self, batch: BatchId) -> Result<BatchEvents> {
        let mut ticket = self.pool.send(OutgoingRequest::watch_batch(self.pool.id(), batch)).await;
        let answer = match ticket.next().await {
            ChannelEvent::Answer(answer) => answer,
            ChannelEvent::Lost(error) | ChannelEvent::Failed(error) => return Err(error),
        };
        match answer.status {
            Status::Error => Err(ClientError::Refused(answer.refusal())),
            Status::Watching => {
                let story = story(self.address(), &answer)?;
                Ok(BatchEvents { ticket, story, has_ended: false })
            }
            _ => Err(ClientError::unexpected_answer(self.address(), &answer)),
        }
    }
}

impl BatchEvents {
    /// How far the batch is, as it was heard last.
    pub fn story(&self) -> &BatchInfo {
        &self.story
    }

    /// Waits for the next news; `None` after the end. Nothing is lost when this is dropped before.
    ///
    /// # Errors
    /// When the connection is lost for longer than `retry_time`, or the server stops and that is zero.
    pub async fn next(&mut self) -> Result<Option<BatchEvent>> {
        if self.has_ended {
            return Ok(None);
        }
        let heard = self.ticket.next().await;
        self.news(heard).inspect_err(|_| self.has_ended = true).map(Some)
    }

    fn news(&mut self, heard: ChannelEvent) -> Result<BatchEvent> {
        let answer = match heard {
            ChannelEvent::Answer(answer) => answer,
            ChannelEvent::Lost(error) => return Ok(BatchEvent::Disconnected(error)),
            ChannelEvent::Failed(error) => return Err(error),
        };
        let address = self.ticket.pool().connector.current();
        let news = match answer.status {
            Status::Error => return Err(ClientError::Refused(answer.refusal())),
            Status::Progress => BatchEvent::Progress,
            Status::Watching => BatchEvent::Reconnected,
            Status::Ended => BatchEvent::Ended,
            _ => return Err(ClientError::unexpected_answer(address, &answer)),
        };
        self.story = story(address, &answer)?;
        self.has_ended = answer.status == Status::Ended;
        Ok(news(self.story.clone()))
    }
}

/// How far the batch is that an answer tells of.
fn story(address: &str, answer: &Reply) -> Result<BatchInfo> {
    let story = answer.batch.as_ref().and_then(|batch| serde_json::from_str(batch.get()).ok());
    story.ok_or_else(|| ClientError::unexpected_answer(address, answer))
}

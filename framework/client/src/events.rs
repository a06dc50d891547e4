//! Follows tasks and batches: a stream of events until the end.

use framework_protocol::task::{BatchId, TaskId};
use framework_protocol::views::BatchInfo;
use framework_protocol::{Reply, Status};

use crate::channel::{ChannelEvent, OutgoingRequest, RequestKind};
use crate::client::Client;
use crate::error::{ClientError, Result};
use crate::outcome::TaskEnd;
use crate::pool::PendingRequest;
use crate::replies;

/// The events of a task or a batch until its end. Any number of streams can be open at once.
#[derive(Debug)]
pub struct EventStream<E: Event> {
    request: PendingRequest,
    latest: E::State,
    has_ended: bool,
}

/// The events of a task.
pub type TaskEvents = EventStream<TaskEvent>;

/// The events of a batch.
pub type BatchEvents = EventStream<BatchEvent>;

/// An event of a task.
#[derive(Debug, Clone)]
pub enum TaskEvent {
    /// Its progress, 0 to 100 percent, and the handler's comment on it.
    Progress { percent: f64, text: String },
    /// A line of its log, and the number of the attempt that wrote it.
    Log { attempt: u32, text: String },
    /// The connection is lost, for this reason; it is tried again for `retry_time`.
    Disconnected(ClientError),
    /// There is a connection again, and this is the task's state now. Events in between are lost.
    Reconnected { state: String },
    /// It has ended; nothing follows.
    Ended(TaskEnd),
}

/// An event of a batch.
#[derive(Debug, Clone)]
pub enum BatchEvent {
    /// Its counts have changed; about ten times a second at most.
    Progress(BatchInfo),
    /// The connection is lost, for this reason; it is tried again for `retry_time`.
    Disconnected(ClientError),
    /// There is a connection again, and these are the batch's counts now.
    Reconnected(BatchInfo),
    /// All its tasks have ended, and `then_task` is the completion task, if there is one; nothing follows.
    Ended(BatchInfo),
}

/// One kind of event, as its stream reads it.
pub trait Event: Sized + sealed::FromReply {}

impl Event for TaskEvent {}
impl Event for BatchEvent {}

mod sealed {
    use super::{ClientError, Reply, Result};

    pub trait FromReply: Sized {
        type State: std::fmt::Debug;

        /// The state in the first reply of a stream.
        fn state(address: &str, reply: &Reply) -> Result<Self::State>;

        /// The event of a further reply, and whether it is the last one.
        fn event(address: &str, reply: Reply, latest: &mut Self::State) -> Result<(Self, bool)>;

        fn disconnected(error: ClientError) -> Self;
    }
}

impl Client {
    /// Follows a task: its last progress, if there is one, its progress and log lines from now on, and its
    /// end; also over restarts of the server. A caller that does not keep up misses events, but never the
    /// end.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when there is no such task, or it is not kept any more.
    pub async fn follow(&self, task: TaskId) -> Result<TaskEvents> {
        self.follow_at(task, None).await
    }

    pub(crate) async fn follow_at(&self, task: TaskId, pinned_address: Option<usize>) -> Result<TaskEvents> {
        EventStream::open(self.pool.watch(task, RequestKind::Followed, pinned_address).await).await
    }

    /// Follows a batch: its counts whenever they have changed, and its end, which comes once it is sealed and
    /// its last task has ended; also over restarts of the server. A caller that does not keep up misses
    /// events, but never the end.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when there is no such batch, or it is not kept any more.
    pub async fn follow_batch(&self, batch: BatchId) -> Result<BatchEvents> {
        let request = OutgoingRequest::watch_batch(self.pool.next_id(), batch);
        EventStream::open(self.pool.send(request).await).await
    }
}

impl<E: Event> EventStream<E> {
    async fn open(mut request: PendingRequest) -> Result<Self> {
        let reply = request.reply().await?;
        match reply.status {
            Status::Watching => {
                let latest = E::state(request.address(), &reply)?;
                Ok(Self { request, latest, has_ended: false })
            }
            Status::Error => Err(ClientError::Refused(reply.refusal())),
            _ => Err(ClientError::unexpected_reply(request.address(), &reply)),
        }
    }

    /// The state that was reported last: the name of a task's state, the counts of a batch.
    pub fn latest(&self) -> &E::State {
        &self.latest
    }

    /// Waits for the next event; `None` after the end. Nothing is lost when this is dropped before.
    ///
    /// # Errors
    /// When the connection is lost for longer than `retry_time`, or the server stops and that is zero.
    pub async fn next(&mut self) -> Result<Option<E>> {
        if self.has_ended {
            return Ok(None);
        }
        let event = self.request.next().await;
        self.read(event).inspect_err(|_| self.has_ended = true).map(Some)
    }

    fn read(&mut self, event: ChannelEvent) -> Result<E> {
        match event {
            ChannelEvent::Reply(reply) => {
                let (event, is_last) = E::event(self.request.address(), reply, &mut self.latest)?;
                self.has_ended = is_last;
                Ok(event)
            }
            ChannelEvent::Disconnected(error) => Ok(E::disconnected(error)),
            ChannelEvent::Failed(error) => Err(error),
        }
    }
}

impl sealed::FromReply for TaskEvent {
    type State = String;

    fn state(address: &str, reply: &Reply) -> Result<String> {
        reply.state.clone().ok_or_else(|| ClientError::unexpected_reply(address, reply))
    }

    fn event(address: &str, reply: Reply, latest: &mut String) -> Result<(Self, bool)> {
        let text = |reply: Reply| reply.text.unwrap_or_default();
        let event = match reply.status {
            Status::Progress => {
                Self::Progress { percent: reply.percent.unwrap_or_default(), text: text(reply) }
            }
            Status::Log => Self::Log { attempt: reply.attempt.unwrap_or_default(), text: text(reply) },
            Status::Watching => {
                *latest = Self::state(address, &reply)?;
                Self::Reconnected { state: latest.clone() }
            }
            _ => return Ok((Self::Ended(replies::task_end(address, reply)?), true)),
        };
        Ok((event, false))
    }

    fn disconnected(error: ClientError) -> Self {
        Self::Disconnected(error)
    }
}

impl sealed::FromReply for BatchEvent {
    type State = BatchInfo;

    fn state(address: &str, reply: &Reply) -> Result<BatchInfo> {
        let batch = reply.batch.as_ref().and_then(|batch| serde_json::from_str(batch.get()).ok());
        batch.ok_or_else(|| ClientError::unexpected_reply(address, reply))
    }

    fn event(address: &str, reply: Reply, latest: &mut BatchInfo) -> Result<(Self, bool)> {
        let event = match reply.status {
            Status::Error => return Err(ClientError::Refused(reply.refusal())),
            Status::Progress => Self::Progress,
            Status::Watching => Self::Reconnected,
            Status::Ended => Self::Ended,
            _ => return Err(ClientError::unexpected_reply(address, &reply)),
        };
        *latest = Self::state(address, &reply)?;
        Ok((event(latest.clone()), reply.status == Status::Ended))
    }

    fn disconnected(error: ClientError) -> Self {
        Self::Disconnected(error)
    }
}

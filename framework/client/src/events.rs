//! Hears what becomes of a task while it runs.

use framework_protocol::task::TaskId;
use framework_protocol::{Reply, Status};

use crate::client::Client;
use crate::error::{ClientError, Result};
use crate::in_flight::{ChannelEvent, RequestKind};
use crate::pool::PendingRequest;
use crate::task_handle::{TaskEnd, ended};

/// A task that is followed until its end. Any number of them can be followed at once.
#[derive(Debug)]
pub struct TaskEvents {
    ticket: PendingRequest,
    state: String,
    has_ended: bool,
}

/// What is heard of a task.
#[derive(Debug, Clone)]
pub enum TaskEvent {
    /// 0 to 100 percent, and what the handler says of it.
    Progress { percent: f64, text: String },
    /// A line of its log, and which attempt wrote it.
    Log { attempt: u32, text: String },
    /// The connection is lost, for this reason; it is tried again for `retry_time`.
    Disconnected(ClientError),
    /// There is a connection again, and this is the task's state now. What was told in between is missed.
    Reconnected { state: String },
    /// It has ended; nothing follows.
    Ended(TaskEnd),
}

impl Client {
    /// Follows a task: its last progress, if there is one, whatever its handler tells from now on, and its end; also
    /// over a restart of the server. Who does not read in time misses news, but not the end.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when there is no such task, or it is not kept any more.
    pub async fn follow(&self, task: TaskId) -> Result<TaskEvents> {
        self.follow_at(task, None).await
    }

    pub(crate) async fn follow_at(&self, task: TaskId, home: Option<usize>) -> Result<TaskEvents> {
        let mut ticket = self.pool.watch(task, RequestKind::Followed, home).await;
        let answer = match ticket.next().await {
            ChannelEvent::Answer(answer) => answer,
            ChannelEvent::Lost(error) | ChannelEvent::Failed(error) => return Err(error),
        };
        match (answer.status, &answer.state) {
            (Status::Watching, Some(state)) => {
                Ok(TaskEvents { ticket, state: state.clone(), has_ended: false })
            }
            (Status::Error, _) => Err(ClientError::Refused(answer.refusal())),
            _ => Err(ClientError::unexpected_answer(self.address(), &answer)),
        }
    }
}

impl TaskEvents {
    /// The task's state when it began to be followed.
    pub fn state(&self) -> &str {
        &self.state
    }

    /// Waits for the next news; `None` after the end. Nothing is lost when this is dropped before.
    ///
    /// # Errors
    /// When the connection is lost for longer than `retry_time`, or the server stops and that is zero.
    pub async fn next(&mut self) -> Result<Option<TaskEvent>> {
        if self.has_ended {
            return Ok(None);
        }
        let heard = self.ticket.next().await;
        self.news(heard).inspect_err(|_| self.has_ended = true).map(Some)
    }

    fn news(&mut self, heard: ChannelEvent) -> Result<TaskEvent> {
        let answer = match heard {
            ChannelEvent::Answer(answer) => answer,
            ChannelEvent::Lost(error) => return Ok(TaskEvent::Disconnected(error)),
            ChannelEvent::Failed(error) => return Err(error),
        };
        let text = |answer: Reply| answer.text.unwrap_or_default();
        Ok(match answer.status {
            Status::Progress => {
                TaskEvent::Progress { percent: answer.percent.unwrap_or_default(), text: text(answer) }
            }
            Status::Log => TaskEvent::Log { attempt: answer.attempt.unwrap_or_default(), text: text(answer) },
            Status::Watching => TaskEvent::Reconnected { state: answer.state.unwrap_or_default() },
            _ => {
                self.has_ended = true;
                TaskEvent::Ended(ended(self.ticket.pool().connector.current(), answer)?)
            }
        })
    }
}

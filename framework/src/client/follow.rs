//! Hears what becomes of a task while it runs.

use serde::Serialize;

use super::{Client, ClientError, Ended, Result};
use crate::protocol::{Answer, Status};
use crate::task::TaskId;

/// A task that is followed until its end.
#[derive(Debug)]
pub struct Following<'a> {
    client: &'a mut Client,
    task: TaskId,
    state: String,
    has_ended: bool,
}

/// What is heard of a task.
#[derive(Debug, Clone)]
pub enum News {
    /// 0 to 100 percent, and what the handler says of it.
    Progress { percent: f64, text: String },
    /// A line of its log, and which attempt wrote it.
    Log { attempt: u32, text: String },
    /// It has ended; nothing follows.
    Ended(Ended),
}

impl Client {
    /// Follows a task: its last progress, if there is one, whatever its handler tells from now on, and its end.
    /// A connection that does not read in time misses news, but not the end. One that waits for the ends of other
    /// tasks, too, cannot tell them apart: follow on a connection of its own.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when there is no such task, or it is not kept any more.
    pub async fn follow(&mut self, task: TaskId) -> Result<Following<'_>> {
        #[derive(Serialize)]
        struct Command {
            command: &'static str,
            task: TaskId,
            id: u64,
        }
        let command = Command { command: "watch", task, id: self.next };
        self.next += 1;
        let mut line = Vec::new();
        self.encode(&mut line, &command);
        self.write(&line).await?;
        let answer = self.answer().await?;
        match (answer.status, &answer.state) {
            (Status::Watching, Some(state)) => {
                let state = state.clone();
                Ok(Following { client: self, task, state, has_ended: false })
            }
            (Status::Error, _) => Err(ClientError::Refused(answer.refusal())),
            _ => Err(self.foreign(format!("{answer:?}"))),
        }
    }
}

impl Following<'_> {
    /// The task's state when it began to be followed.
    pub fn state(&self) -> &str {
        &self.state
    }

    /// Waits for the next news; `None` after the end.
    ///
    /// # Errors
    /// When the connection ends first, or the server stops.
    pub async fn next(&mut self) -> Result<Option<News>> {
        if self.has_ended {
            return Ok(None);
        }
        let answer = self.client.answer().await?;
        match (answer.status, answer.task_id) {
            (Status::Error, _) => return Err(ClientError::Refused(answer.refusal())),
            (_, task) if task != Some(self.task) => return Err(self.client.foreign(format!("{answer:?}"))),
            _ => {}
        }
        match news(&answer) {
            Some(news) => Ok(Some(news)),
            None => {
                self.has_ended = true;
                self.client.end(answer).map(|(_, ended)| Some(News::Ended(ended)))
            }
        }
    }
}

/// `None`: what was answered is an end.
fn news(answer: &Answer) -> Option<News> {
    let text = || answer.text.clone().unwrap_or_default();
    match answer.status {
        Status::Progress => {
            Some(News::Progress { percent: answer.percent.unwrap_or_default(), text: text() })
        }
        Status::Log => Some(News::Log { attempt: answer.attempt.unwrap_or_default(), text: text() }),
        _ => None,
    }
}

//! One request on its way: what was sent, what has come of it, and what becomes of it when its connection breaks.

use std::collections::VecDeque;
use std::task::Waker;

use framework_protocol::task::TaskId;
use framework_protocol::{Reply, Status};
use tokio::time::Instant;

use crate::error::{ClientError, is_passing};

/// How many lines a follower may be behind; further ones are missed, the end never is.
const NEWS_MAX: usize = 1_024;

/// What a request is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestKind {
    /// One line.
    Once,
    /// An acknowledgement, unless the task is known already, and the end of the task.
    Awaited,
    /// All that becomes of a task or a batch, until its end.
    Followed,
}

/// What sending a request a second time would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetrySafety {
    /// Nothing: it only asks.
    Asks,
    /// Nothing: its key tells the server that it is the first one again.
    Keyed,
    /// The same thing twice.
    Doubles,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestStage {
    /// Not on its way yet, or not any more.
    Queued,
    /// Without its first answer.
    Written,
    /// The task is known, and its end is to come.
    Acknowledged,
    /// Nothing more comes.
    Over,
}

/// What has come for a request.
#[derive(Debug)]
pub(crate) enum ChannelEvent {
    Answer(Reply),
    /// The connection is lost, and the task will be asked for on another one.
    Lost(ClientError),
    /// Nothing more comes.
    Failed(ClientError),
}

/// One request on its way.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) kind: RequestKind,
    pub(crate) repeat: RetrySafety,
    pub(crate) stage: RequestStage,
    /// The request as it is sent, for as long as it may have to be sent; who follows something asks for it again.
    pub(crate) line: Vec<u8>,
    /// The task that it is about, once that is known.
    pub(crate) task: Option<TaskId>,
    /// The index of the only address whose server may be asked.
    pub(crate) home: Option<usize>,
    /// Since when it waits for a connection.
    pub(crate) since: Instant,
    /// Whether a server may have read it.
    pub(crate) has_left: bool,
    /// Whether nobody waits for it any more.
    pub(crate) is_abandoned: bool,
    /// Which of the bounded places it takes.
    pub(crate) holds_room: bool,
    pub(crate) holds_seat: bool,
    pub(crate) inbox: VecDeque<ChannelEvent>,
    pub(crate) waker: Option<Waker>,
}

/// What is to be done once the line's state is let go of.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) rooms: usize,
    pub(crate) seats: usize,
    pub(crate) wakers: Vec<Waker>,
}

impl InFlight {
    /// Takes in an answer. `false`: the server refused it only because it stops, and it is to be sent again.
    pub(crate) fn receive(&mut self, answer: Reply, retries: bool, effects: &mut Effects) -> bool {
        let is_first = self.stage == RequestStage::Written;
        if retries && answer.status == Status::Error && answer.code.is_some_and(is_stopping) {
            if is_first {
                (self.stage, self.has_left) = (RequestStage::Queued, false);
            }
            return false;
        }
        if is_first {
            self.release_permit(effects);
        }
        match (self.kind, answer.status) {
            (RequestKind::Awaited, Status::Queued) if is_first => {
                (self.task, self.stage) = (answer.task_id, RequestStage::Acknowledged);
                self.notify(ChannelEvent::Answer(answer), effects);
            }
            (RequestKind::Awaited | RequestKind::Followed, Status::Watching) if is_first => {
                self.stage = RequestStage::Acknowledged;
                if self.kind == RequestKind::Followed {
                    self.notify(ChannelEvent::Answer(answer), effects);
                }
            }
            (
                RequestKind::Awaited | RequestKind::Followed,
                Status::Watching | Status::Progress | Status::Log,
            ) => {
                if self.kind == RequestKind::Followed && self.inbox.len() < NEWS_MAX {
                    self.notify(ChannelEvent::Answer(answer), effects);
                }
            }
            _ => self.conclude(ChannelEvent::Answer(answer), effects),
        }
        if self.stage != RequestStage::Queued && self.kind != RequestKind::Followed {
            self.line = Vec::new();
        }
        true
    }

    /// Whether another server would answer it differently, or do it a second time.
    pub(crate) fn is_of_one_server(&self) -> bool {
        self.kind != RequestKind::Once || self.repeat != RetrySafety::Asks
    }

    /// Its connection is lost: it waits for the next one, or fails.
    pub(crate) fn lose(&mut self, error: &ClientError, again: bool, now: Instant, effects: &mut Effects) {
        match self.stage {
            RequestStage::Queued | RequestStage::Over => {}
            RequestStage::Written if again && self.repeat != RetrySafety::Doubles => {
                self.stage = RequestStage::Queued
            }
            RequestStage::Acknowledged if again => {
                (self.stage, self.repeat, self.since, self.has_left) =
                    (RequestStage::Queued, RetrySafety::Asks, now, false);
                if self.kind == RequestKind::Followed {
                    self.notify(ChannelEvent::Lost(error.clone()), effects);
                }
            }
            RequestStage::Written | RequestStage::Acknowledged => self.fail(error.clone(), effects),
        }
    }

    /// Gives up.
    pub(crate) fn fail(&mut self, error: ClientError, effects: &mut Effects) {
        let is_unknown =
            self.has_left && self.stage != RequestStage::Acknowledged && self.repeat != RetrySafety::Asks;
        let error = if is_unknown { error.of_unknown_end() } else { error };
        self.conclude(ChannelEvent::Failed(error), effects);
    }

    fn conclude(&mut self, heard: ChannelEvent, effects: &mut Effects) {
        self.stage = RequestStage::Over;
        self.line = Vec::new();
        self.release(effects);
        self.notify(heard, effects);
    }

    /// Gives back the places it takes.
    pub(crate) fn release(&mut self, effects: &mut Effects) {
        self.release_permit(effects);
        effects.seats += usize::from(std::mem::take(&mut self.holds_seat));
    }

    fn release_permit(&mut self, effects: &mut Effects) {
        effects.rooms += usize::from(std::mem::take(&mut self.holds_room));
    }

    fn notify(&mut self, heard: ChannelEvent, effects: &mut Effects) {
        if !self.is_abandoned {
            self.inbox.push_back(heard);
            effects.wakers.extend(self.waker.take());
        }
    }
}

fn is_stopping(code: framework_protocol::ErrorCode) -> bool {
    code != framework_protocol::ErrorCode::Busy && is_passing(code)
}

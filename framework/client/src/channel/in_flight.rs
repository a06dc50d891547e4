//! One request of a channel: what is sent, what has arrived for it, and what follows when its connection
//! breaks.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use framework_protocol::task::{BatchId, TaskId};
use framework_protocol::{Reply, Status};
use serde::Serialize;
use tokio::time::Instant;

use crate::error::{ClientError, is_transient};

/// The number of lines that a subscriber may be behind; further ones are dropped, the end never is.
const EVENTS_MAX: usize = 1_024;

/// The replies that a request gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestKind {
    /// A request with one reply line.
    Once,
    /// An acknowledgement, unless the task is known already, and the end of the task.
    Awaited,
    /// All events of a task or a batch, until its end.
    Followed,
}

/// The effect of sending a request a second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetrySafety {
    /// None: it changes nothing.
    ReadOnly,
    /// None: by its key the server recognizes it as the first one.
    Keyed,
    /// It would be carried out twice.
    Unsafe,
}

/// The stage of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestStage {
    /// It waits to be sent, possibly again.
    Queued,
    /// It is sent and without its first reply.
    Written,
    /// The task is known, and its end is to come.
    Acknowledged,
    /// Nothing more comes.
    Finished,
}

/// An event of a request.
#[derive(Debug)]
pub(crate) enum ChannelEvent {
    Reply(Reply),
    /// The connection is lost, and the request is repeated on another one.
    Disconnected(ClientError),
    /// Nothing more comes.
    Failed(ClientError),
}

/// A request to be sent.
pub(crate) struct OutgoingRequest {
    pub(crate) id: u64,
    pub(crate) line: Vec<u8>,
    pub(crate) kind: RequestKind,
    pub(crate) safety: RetrySafety,
    /// The task that it is about, if there is one already.
    pub(crate) task: Option<TaskId>,
    /// The index of the only address whose server knows that task.
    pub(crate) pinned_address: Option<usize>,
}

impl OutgoingRequest {
    /// A request with one reply.
    pub(crate) fn once(id: u64, line: Vec<u8>, safety: RetrySafety) -> Self {
        Self { id, line, kind: RequestKind::Once, safety, task: None, pinned_address: None }
    }

    /// Subscribes to a batch.
    pub(crate) fn watch_batch(id: u64, batch: BatchId) -> Self {
        let line = watch(id, Watched::Batch(batch));
        Self { kind: RequestKind::Followed, ..Self::once(id, line, RetrySafety::ReadOnly) }
    }

    /// Waits for the end of a task, and with [`RequestKind::Followed`] for all its events until then.
    pub(crate) fn watch_task(
        id: u64,
        task: TaskId,
        kind: RequestKind,
        pinned_address: Option<usize>,
    ) -> Self {
        let line = watch(id, Watched::Task(task));
        Self { id, line, kind, safety: RetrySafety::ReadOnly, task: Some(task), pinned_address }
    }
}

/// The subject of a `watch` command.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Watched {
    Task(TaskId),
    Batch(BatchId),
}

fn watch(id: u64, watched: Watched) -> Vec<u8> {
    #[derive(Serialize)]
    struct Watch {
        command: &'static str,
        #[serde(flatten)]
        watched: Watched,
        id: u64,
    }
    let watch = Watch { command: "watch", watched, id };
    let mut line = serde_json::to_vec(&watch).expect("the request is a plain struct");
    line.push(b'\n');
    line
}

/// A request that a channel has taken.
#[derive(Debug)]
pub(super) struct InFlight {
    kind: RequestKind,
    safety: RetrySafety,
    pub(super) stage: RequestStage,
    /// The request as it is sent, for as long as it may have to be sent; a subscription is requested again.
    line: Vec<u8>,
    /// The task that it is about, once that is known.
    task: Option<TaskId>,
    /// The index of the only address whose server may be asked.
    pub(super) pinned_address: Option<usize>,
    /// The time since which it waits for a connection.
    pub(super) since: Instant,
    /// Whether a server may have read it.
    is_sent: bool,
    /// Whether its caller has dropped it.
    pub(super) is_abandoned: bool,
    holds_in_flight_permit: bool,
    holds_awaited_permit: bool,
    inbox: VecDeque<ChannelEvent>,
    waker: Option<Waker>,
}

/// The work that is left once the channel's state is unlocked.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Permits to give back.
    pub(super) in_flight: usize,
    pub(super) awaited: usize,
    /// Callers to wake.
    pub(super) wakers: Vec<Waker>,
}

impl InFlight {
    /// A request that holds its permits.
    pub(super) fn new(request: OutgoingRequest) -> Self {
        Self {
            kind: request.kind,
            safety: request.safety,
            stage: RequestStage::Queued,
            line: request.line,
            task: request.task,
            pinned_address: request.pinned_address,
            since: Instant::now(),
            is_sent: false,
            is_abandoned: false,
            holds_in_flight_permit: true,
            holds_awaited_permit: request.kind != RequestKind::Once,
            inbox: VecDeque::with_capacity(1),
            waker: None,
        }
    }

    /// Appends the request to `output`, for the server at this address.
    pub(super) fn write(&mut self, output: &mut Vec<u8>, at: Option<usize>, is_pinned: bool) {
        output.extend_from_slice(&self.line);
        (self.stage, self.is_sent) = (RequestStage::Written, true);
        // Another server would reply differently, or carry it out a second time.
        let is_of_one_server = self.kind != RequestKind::Once || self.safety != RetrySafety::ReadOnly;
        if is_pinned && is_of_one_server {
            self.pinned_address = self.pinned_address.or(at);
        }
    }

    /// Takes in a reply. `false`: the server refused the request only because it stops, and it is to be sent
    /// again.
    pub(super) fn receive(&mut self, reply: Reply, retries: bool, effects: &mut Effects) -> bool {
        let is_first = self.stage == RequestStage::Written;
        if retries && reply.status == Status::Error && reply.code.is_some_and(is_stopping) {
            if is_first {
                (self.stage, self.is_sent) = (RequestStage::Queued, false);
            }
            return false;
        }
        if is_first {
            self.release_in_flight(effects);
        }
        match (self.kind, reply.status) {
            (RequestKind::Awaited, Status::Queued) if is_first => {
                (self.task, self.stage) = (reply.task_id, RequestStage::Acknowledged);
                self.publish(ChannelEvent::Reply(reply), effects);
            }
            (RequestKind::Awaited, Status::Watching) if is_first => self.stage = RequestStage::Acknowledged,
            (RequestKind::Awaited, Status::Watching | Status::Progress | Status::Log) => {}
            (RequestKind::Followed, Status::Watching | Status::Progress | Status::Log) => {
                if is_first && reply.status == Status::Watching {
                    self.stage = RequestStage::Acknowledged;
                }
                if is_first || self.inbox.len() < EVENTS_MAX {
                    self.publish(ChannelEvent::Reply(reply), effects);
                }
            }
            _ => self.finish(ChannelEvent::Reply(reply), effects),
        }
        if self.stage != RequestStage::Queued && self.kind != RequestKind::Followed {
            self.line = Vec::new();
        }
        true
    }

    /// Waits for the next connection, or fails, because the connection is lost.
    pub(super) fn disconnect(
        &mut self,
        id: u64,
        error: &ClientError,
        retries: bool,
        now: Instant,
        effects: &mut Effects,
    ) {
        match self.stage {
            RequestStage::Queued | RequestStage::Finished => {}
            RequestStage::Written if retries && self.safety != RetrySafety::Unsafe => {
                self.stage = RequestStage::Queued;
            }
            RequestStage::Acknowledged if retries => {
                self.stage = RequestStage::Queued;
                (self.safety, self.since, self.is_sent) = (RetrySafety::ReadOnly, now, false);
                if self.kind == RequestKind::Followed {
                    self.publish(ChannelEvent::Disconnected(error.clone()), effects);
                }
            }
            RequestStage::Written | RequestStage::Acknowledged => self.fail(error.clone(), effects),
        }
        if let (RequestStage::Queued, true, Some(task)) = (self.stage, self.line.is_empty(), self.task) {
            self.line = watch(id, Watched::Task(task));
        }
    }

    /// Fails the request with this error.
    pub(super) fn fail(&mut self, error: ClientError, effects: &mut Effects) {
        let is_unknown =
            self.is_sent && self.stage != RequestStage::Acknowledged && self.safety != RetrySafety::ReadOnly;
        let error = if is_unknown { error.after_sending() } else { error };
        self.finish(ChannelEvent::Failed(error), effects);
    }

    /// Takes the next event; `None` when nothing more comes.
    pub(super) fn poll_next(&mut self, context: &Context) -> Poll<Option<ChannelEvent>> {
        match self.inbox.pop_front() {
            Some(event) => Poll::Ready(Some(event)),
            None if self.stage == RequestStage::Finished => Poll::Ready(None),
            None => {
                self.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Drops what has arrived, and what will.
    pub(super) fn abandon(&mut self) {
        self.is_abandoned = true;
        (self.inbox, self.waker) = (VecDeque::new(), None);
    }

    /// Gives back its permits.
    pub(super) fn release(&mut self, effects: &mut Effects) {
        self.release_in_flight(effects);
        effects.awaited += usize::from(std::mem::take(&mut self.holds_awaited_permit));
    }

    fn release_in_flight(&mut self, effects: &mut Effects) {
        effects.in_flight += usize::from(std::mem::take(&mut self.holds_in_flight_permit));
    }

    fn finish(&mut self, event: ChannelEvent, effects: &mut Effects) {
        self.stage = RequestStage::Finished;
        self.line = Vec::new();
        self.release(effects);
        self.publish(event, effects);
    }

    fn publish(&mut self, event: ChannelEvent, effects: &mut Effects) {
        if !self.is_abandoned {
            self.inbox.push_back(event);
            effects.wakers.extend(self.waker.take());
        }
    }
}

fn is_stopping(code: framework_protocol::ErrorCode) -> bool {
    code != framework_protocol::ErrorCode::Busy && is_transient(code)
}

//! What one connection has to do: the requests that are to leave, and those whose answers are to come.

mod state;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard};
use std::task::Poll;
use std::time::Duration;

use framework_protocol::task::{BatchId, TaskId};
use rustc_hash::FxHashMap;
use serde::Serialize;
pub(crate) use state::DriverState;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::connection::{Connection, Connector};
use crate::error::ClientError;
use crate::in_flight::{ChannelEvent, Effects, InFlight, RequestKind, RequestStage, RetrySafety};
use crate::settings::ClientSettings;

/// What one connection has to do. It outlives its connections: what a broken one leaves undone, the next one goes on
/// with.
pub(crate) struct Channel {
    state: Mutex<ChannelState>,
    wake: Notify,
    /// Places for requests without a first answer, and for those whose end is awaited.
    in_flight: Semaphore,
    awaited: Semaphore,
    rooms_max: usize,
    seats_max: usize,
    retry_time: Duration,
    /// Whether a request that a server may have read is for that server alone.
    is_pinned: bool,
}

#[derive(Default)]
struct ChannelState {
    entries: FxHashMap<u64, InFlight>,
    /// What is to leave next; may name what is gone.
    queue: VecDeque<u64>,
    /// Entries that are written, without a first answer.
    unanswered: usize,
    /// Entries that nobody waits for any more, but whose end the server still owes.
    abandoned: usize,
    /// Whether the connection takes nothing more and ends when it owes no answers.
    is_leaving: bool,
    /// The index of the address that the connection is to.
    at: Option<usize>,
    spare: Option<Connection>,
    driver: Option<JoinHandle<()>>,
}

/// A request to be sent.
pub(crate) struct OutgoingRequest {
    pub(crate) id: u64,
    pub(crate) line: Vec<u8>,
    pub(crate) kind: RequestKind,
    pub(crate) repeat: RetrySafety,
    pub(crate) task: Option<TaskId>,
    pub(crate) home: Option<usize>,
}

impl OutgoingRequest {
    /// Asks for all that becomes of a batch.
    pub(crate) fn watch_batch(id: u64, batch: BatchId) -> Self {
        let line = watch(id, Followed::Batch(batch));
        Self { id, line, kind: RequestKind::Followed, repeat: RetrySafety::Asks, task: None, home: None }
    }

    /// Asks for the end of a task, and with `RequestKind::Followed` for all that it tells until then.
    pub(crate) fn watch(id: u64, task: TaskId, kind: RequestKind, home: Option<usize>) -> Self {
        Self {
            id,
            line: watch(id, Followed::Task(task)),
            kind,
            repeat: RetrySafety::Asks,
            task: Some(task),
            home,
        }
    }
}

impl Channel {
    pub(crate) fn new(settings: &ClientSettings, connector: &Connector) -> Self {
        Self {
            state: Mutex::default(),
            wake: Notify::new(),
            in_flight: Semaphore::new(settings.max_in_flight),
            awaited: Semaphore::new(settings.max_awaited),
            rooms_max: settings.max_in_flight,
            seats_max: settings.max_awaited,
            retry_time: settings.retry_time,
            is_pinned: connector.count() > 1 && !settings.shared_store,
        }
    }

    fn state(&self) -> MutexGuard<'_, ChannelState> {
        self.state.lock().expect("no one panics while holding a line")
    }

    /// How much is going on here.
    pub(crate) fn load(&self) -> usize {
        let rooms = self.rooms_max.saturating_sub(self.in_flight.available_permits());
        rooms + self.seats_max.saturating_sub(self.awaited.available_permits())
    }

    /// How many requests are remembered.
    pub(crate) fn length(&self) -> usize {
        self.state().entries.len()
    }

    pub(crate) fn at(&self) -> Option<usize> {
        self.state().at
    }

    /// Puts a request in line, as soon as there is room. `drive` starts the line's driver.
    pub(crate) async fn send(&self, order: OutgoingRequest, drive: impl FnOnce() -> JoinHandle<()>) {
        let closed = "the semaphores of a line are never closed";
        let is_awaited = order.kind != RequestKind::Once;
        // The rarer place first: who waits for it keeps nobody from the other.
        let seat = if is_awaited { Some(self.awaited.acquire().await.expect(closed)) } else { None };
        self.in_flight.acquire().await.expect(closed).forget();
        seat.into_iter().for_each(SemaphorePermit::forget);
        let entry = InFlight {
            kind: order.kind,
            repeat: order.repeat,
            stage: RequestStage::Queued,
            line: order.line,
            task: order.task,
            home: order.home,
            since: Instant::now(),
            has_left: false,
            is_abandoned: false,
            holds_room: true,
            holds_seat: is_awaited,
            inbox: VecDeque::with_capacity(1),
            waker: None,
        };
        let mut state = self.state();
        state.entries.insert(order.id, entry);
        state.queue.push_back(order.id);
        if state.driver.as_ref().is_none_or(JoinHandle::is_finished) {
            state.driver = Some(drive());
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Waits for what comes next for a request; nothing is lost when this is dropped.
    pub(crate) async fn next(&self, id: u64) -> ChannelEvent {
        poll_fn(|context| {
            let mut state = self.state();
            let Some(entry) = state.entries.get_mut(&id) else { return Poll::Ready(stopped()) };
            match entry.inbox.pop_front() {
                Some(heard) => Poll::Ready(heard),
                None if entry.stage == RequestStage::Over => Poll::Ready(stopped()),
                None => {
                    entry.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// The index of the only address that may be asked about this request's task.
    pub(crate) fn pinned_address(&self, id: u64) -> Option<usize> {
        self.state().entries.get(&id).and_then(|entry| entry.home)
    }

    /// Nobody waits for this request any more.
    pub(crate) fn abandon(&self, id: u64) {
        let mut effects = Effects::default();
        let mut state = self.state();
        let Some(entry) = state.entries.get_mut(&id) else { return };
        match entry.stage {
            RequestStage::Queued | RequestStage::Over => {
                entry.release(&mut effects);
                state.entries.remove(&id);
            }
            RequestStage::Written | RequestStage::Acknowledged => {
                // The server owes an answer still, and so the place stays taken.
                entry.is_abandoned = true;
                (entry.inbox, entry.waker) = (VecDeque::new(), None);
                let is_owed = entry.stage == RequestStage::Acknowledged;
                state.abandoned += usize::from(is_owed);
            }
        }
        let is_leaving = self.close(&mut state);
        drop(state);
        self.carry_out(effects);
        if is_leaving {
            self.wake.notify_one();
        }
    }

    /// A connection on which the server owes too many ends that nobody waits for is left: only that frees the server
    /// of them, too.
    fn close(&self, state: &mut ChannelState) -> bool {
        let leaves = state.abandoned > self.seats_max / 2 && !state.is_leaving;
        state.is_leaving |= leaves;
        leaves
    }

    fn carry_out(&self, effects: Effects) {
        self.in_flight.add_permits(effects.rooms);
        self.awaited.add_permits(effects.seats);
        effects.wakers.into_iter().for_each(std::task::Waker::wake);
    }
}

impl ChannelState {
    fn has_work(&mut self) -> bool {
        let is_queued =
            |id: &u64| self.entries.get(id).is_some_and(|entry| entry.stage == RequestStage::Queued);
        while self.queue.front().is_some_and(|id| !is_queued(id)) {
            self.queue.pop_front();
        }
        !self.queue.is_empty()
    }
}

/// What is asked for.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Followed {
    Task(TaskId),
    Batch(BatchId),
}

fn watch(id: u64, followed: Followed) -> Vec<u8> {
    #[derive(Serialize)]
    struct Watch {
        command: &'static str,
        #[serde(flatten)]
        followed: Followed,
        id: u64,
    }
    let mut line =
        serde_json::to_vec(&Watch { command: "watch", followed, id }).expect("the request is a plain struct");
    line.push(b'\n');
    line
}

fn end() -> ClientError {
    let what = "the runtime that the client's connections belong to has ended";
    ClientError::io("another thread", std::io::Error::other(what))
}

fn stopped() -> ChannelEvent {
    ChannelEvent::Failed(end())
}

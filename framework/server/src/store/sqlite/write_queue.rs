//! The queue of the thread that writes, and the moments at which it is woken.

use std::collections::VecDeque;
use std::fmt;

use framework_protocol::RequestError;
use framework_protocol::task::{NewTask, TaskId};
use framework_protocol::views::{AdminResult, State};
use tokio::sync::oneshot;

use crate::store::index::Record;
use crate::store::{Accepted, AdminCommand, OnAccepted};

/// The number of records that are written without waiting for others.
const ENDS_MAX: usize = 4_096;
/// The most tasks and records of a group, so that the first of it need not wait for too many others.
const GROUP_MAX: usize = 8_192;

/// The requests to the thread that writes, in their order.
#[derive(Debug, Default)]
pub(super) struct WriteQueue {
    items: VecDeque<WriteRequest>,
    /// The number of records among them.
    records: usize,
    /// Whether a caller waits for an item.
    is_urgent: bool,
    sleep: WriterSleep,
    stops: bool,
}

/// The sleep of the thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum WriterSleep {
    #[default]
    Awake,
    /// So short that only urgent requests wake it.
    Nap,
    Deep,
}

/// A request to the thread that writes.
#[derive(Debug)]
pub(super) enum WriteRequest {
    Push(PushRequest),
    /// Writes events of tasks.
    Records(Vec<Record>),
    /// Ends these waiting tasks.
    Terminate(Vec<TaskId>, State, &'static str),
    Command(AdminCommand, oneshot::Sender<Result<AdminResult, RequestError>>),
    /// Answered when all before it is written.
    Barrier(oneshot::Sender<()>),
}

/// Tasks to accept, and the caller that waits for their ids.
pub(super) struct PushRequest {
    pub(super) tasks: Vec<NewTask>,
    /// Called before the tasks can be taken.
    pub(super) on_accepted: OnAccepted,
    pub(super) answer: oneshot::Sender<Result<Vec<Accepted>, RequestError>>,
}

impl fmt::Debug for PushRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "a push of {} tasks", self.tasks.len())
    }
}

impl WriteQueue {
    pub(super) fn add(&mut self, item: WriteRequest) {
        self.is_urgent = true;
        self.items.push_back(item);
    }

    /// Adds events, for which no caller waits.
    pub(super) fn note(&mut self, records: Vec<Record>) {
        if !records.is_empty() {
            self.records += records.len();
            self.items.push_back(WriteRequest::Records(records));
        }
    }

    /// Puts back requests that could not be written.
    pub(super) fn put_back(&mut self, items: Vec<WriteRequest>) {
        for item in items.into_iter().rev() {
            self.records += item.records();
            self.items.push_front(item);
        }
    }

    /// Removes the records that stand before all other requests.
    pub(super) fn leading_records(&mut self) -> Vec<WriteRequest> {
        let mut records = Vec::new();
        while let Some(WriteRequest::Records(_)) = self.items.front() {
            records.extend(self.items.pop_front());
        }
        self.records -= records.iter().map(WriteRequest::records).sum::<usize>();
        records
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether nothing more comes.
    pub(super) fn stops(&self) -> bool {
        self.stops
    }

    /// Notes that the thread is about to sleep, or awake again.
    pub(super) fn set_sleep(&mut self, sleep: WriterSleep) {
        self.sleep = sleep;
    }

    pub(super) fn stop(&mut self) {
        (self.stops, self.is_urgent) = (true, true);
    }

    /// Removes all requests.
    pub(super) fn clear(&mut self) {
        *self = Self { stops: self.stops, ..Self::default() };
    }

    /// Whether the thread is to be woken; `true` once for each sleep.
    pub(super) fn wakes(&mut self) -> bool {
        let wakes = match self.sleep {
            WriterSleep::Awake => false,
            WriterSleep::Nap => self.is_ready(),
            WriterSleep::Deep => !self.items.is_empty() || self.stops,
        };
        if wakes {
            self.sleep = WriterSleep::Awake;
        }
        wakes
    }

    pub(super) fn is_ready(&self) -> bool {
        self.is_urgent || self.records >= ENDS_MAX
    }

    /// Removes the next requests to write together; a command goes alone.
    pub(super) fn group(&mut self) -> Vec<WriteRequest> {
        let mut group = Vec::with_capacity(self.items.len().min(GROUP_MAX));
        let mut size = 0;
        while let Some(item) = self.items.front() {
            let alone = matches!(item, WriteRequest::Command(..) | WriteRequest::Terminate(..));
            if (alone && !group.is_empty()) || size >= GROUP_MAX {
                break;
            }
            size += if let WriteRequest::Push(push) = item { push.tasks.len() } else { 1 + item.records() };
            self.records -= item.records();
            group.extend(self.items.pop_front());
            if alone {
                break;
            }
        }
        self.is_urgent = self.stops || !self.items.is_empty();
        group
    }
}

impl WriteRequest {
    fn records(&self) -> usize {
        if let Self::Records(records) = self { records.len() } else { 0 }
    }
}

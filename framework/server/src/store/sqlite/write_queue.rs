//! What the thread that writes is to do, and whether that is worth waking it.

use std::collections::VecDeque;

use framework_protocol::RequestError;
use framework_protocol::task::{NewTask, TaskId};
use framework_protocol::views::{AdminResult, State};
use tokio::sync::oneshot;

use crate::store::index::Record;
use crate::store::{Accepted, AdminCommand};

/// So many ends of tasks are written without waiting for others.
const ENDS_MAX: usize = 4_096;
/// How many tasks and records a group has at most, so that the first of it need not wait for too many others.
const GROUP_MAX: usize = 8_192;

/// What the thread that writes is to do, in its order.
#[derive(Debug, Default)]
pub(super) struct WriteQueue {
    items: VecDeque<WriteRequest>,
    /// How many records are among them.
    records: usize,
    /// Whether somebody waits for an item.
    is_urgent: bool,
    sleep: WriterSleep,
    stops: bool,
}

/// How the thread sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum WriterSleep {
    #[default]
    Awake,
    /// So shortly that only what is urgent is worth waking it.
    Nap,
    Deep,
}

#[derive(Debug)]
pub(super) enum WriteRequest {
    Push(PushRequest),
    /// What happened.
    Records(Vec<Record>),
    /// Ends these waiting tasks.
    End(Vec<TaskId>, State, &'static str),
    Change(AdminCommand, oneshot::Sender<Result<AdminResult, RequestError>>),
    /// Answered when all before it is written.
    Barrier(oneshot::Sender<()>),
}

/// Tasks of one client, and whoever waits for their ids.
#[derive(Debug)]
pub(super) struct PushRequest {
    pub(super) tasks: Vec<NewTask>,
    pub(super) answer: oneshot::Sender<Result<Vec<Accepted>, RequestError>>,
}

impl WriteQueue {
    pub(super) fn add(&mut self, item: WriteRequest) {
        self.is_urgent = true;
        self.items.push_back(item);
    }

    /// Adds what happened, for which nobody waits.
    pub(super) fn note(&mut self, records: Vec<Record>) {
        if !records.is_empty() {
            self.records += records.len();
            self.items.push_back(WriteRequest::Records(records));
        }
    }

    /// Puts back what could not be written.
    pub(super) fn put_back(&mut self, items: Vec<WriteRequest>) {
        for item in items.into_iter().rev() {
            self.records += item.records();
            self.items.push_front(item);
        }
    }

    /// Takes the records out that stand before everything else.
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

    /// The thread is about to sleep, or awake again.
    pub(super) fn sleeps(&mut self, sleep: WriterSleep) {
        self.sleep = sleep;
    }

    pub(super) fn stop(&mut self) {
        (self.stops, self.is_urgent) = (true, true);
    }

    /// Forgets everything that is still to be done.
    pub(super) fn clear(&mut self) {
        *self = Self { stops: self.stops, ..Self::default() };
    }

    /// Whether the thread is to be woken; once.
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

    /// The next items to be written together; a change goes alone.
    pub(super) fn group(&mut self) -> Vec<WriteRequest> {
        let mut group = Vec::with_capacity(self.items.len().min(GROUP_MAX));
        let mut size = 0;
        while let Some(item) = self.items.front() {
            let alone = matches!(item, WriteRequest::Change(..) | WriteRequest::End(..));
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

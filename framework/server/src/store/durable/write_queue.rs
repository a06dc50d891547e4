//! The queue of the thread that writes, and the moments at which it is woken.

use std::collections::VecDeque;
use std::fmt;

use framework_protocol::RequestError;
use framework_protocol::task::{NewTask, TaskId};
use framework_protocol::views::{AdminResult, State};
use tokio::sync::oneshot;

use crate::store::index::{Record, WaitingEnd};
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
    Terminate(Vec<TaskId>, WaitingEnd),
    Command(CommandRequest),
    /// Answered when all before it is written.
    Barrier(oneshot::Sender<()>),
}

impl WriteRequest {
    /// Whether a caller is told that something is durable.
    pub(super) fn is_request(&self) -> bool {
        matches!(self, Self::Push(_) | Self::Command(..))
    }
}

/// A command, and the caller that waits for its end.
#[derive(Debug)]
pub(super) struct CommandRequest {
    pub(super) command: AdminCommand,
    pub(super) answer: CommandAnswer,
}

/// Where the answer to a command goes.
pub(super) type CommandAnswer = oneshot::Sender<Result<AdminResult, RequestError>>;

/// Tasks to accept, and the caller that waits for their ids.
pub(super) struct PushRequest {
    pub(super) tasks: Vec<NewTask>,
    /// Called before the tasks can be taken.
    pub(super) on_accepted: OnAccepted,
    pub(super) answer: oneshot::Sender<Vec<Result<Accepted, RequestError>>>,
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

    /// Removes all events, in their order. No other request depends on being written before one of them: they
    /// concern tasks that were accepted, and batches that were closed, before.
    pub(super) fn take_records(&mut self) -> Vec<WriteRequest> {
        let is_records = |item: &WriteRequest| matches!(item, WriteRequest::Records(_));
        let (records, others): (VecDeque<_>, VecDeque<_>) = self.items.drain(..).partition(is_records);
        (self.items, self.records) = (others, 0);
        records.into()
    }

    /// The ends of tasks that are still to be written.
    pub(super) fn ends(&self) -> impl Iterator<Item = (TaskId, State)> {
        self.items.iter().flat_map(WriteRequest::ends)
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

    /// Whether a caller waits for one of the requests.
    pub(super) fn is_urgent(&self) -> bool {
        self.is_urgent
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
    /// The ends of tasks among its events.
    pub(super) fn ends(&self) -> impl Iterator<Item = (TaskId, State)> {
        let records = if let Self::Records(records) = self { &records[..] } else { &[] };
        records.iter().filter_map(|record| match record {
            Record::Ended(ended) => Some((ended.task.id, ended.state)),
            _ => None,
        })
    }

    fn records(&self) -> usize {
        if let Self::Records(records) = self { records.len() } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::index::FollowUp;

    fn records(count: usize) -> Vec<Record> {
        let new = || NewTask::without_handler("any", "null".into());
        (0..count).map(|_| Record::Follow(FollowUp { new: new(), completes: None })).collect()
    }

    /// The number of records of each request; a command has none.
    fn shape(group: &[WriteRequest]) -> Vec<usize> {
        group.iter().map(WriteRequest::records).collect()
    }

    #[test]
    fn group_of_a_command_has_nothing_else() {
        let mut queue = WriteQueue::default();
        queue.note(records(1));
        queue.note(records(2));
        queue.add(WriteRequest::Terminate(vec![7], WaitingEnd::FLUSHED));
        queue.note(records(3));
        let groups: Vec<_> = (0..4).map(|_| shape(&queue.group())).collect();
        assert_eq!(groups, [vec![1, 2], vec![0], vec![3], vec![]]);
    }

    #[test]
    fn requests_that_could_not_be_written_come_first_again() {
        let mut queue = WriteQueue::default();
        queue.note(records(1));
        queue.note(records(2));
        let group = queue.group();
        queue.note(records(3));
        queue.put_back(group);
        assert_eq!(queue.records, 3 + 3);
        assert_eq!(shape(&queue.group()), [1, 2, 3]);
    }
}

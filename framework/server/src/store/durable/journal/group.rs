//! What is written in one transaction.

use framework_protocol::RequestError;
use framework_protocol::task::{NewTask, TaskId};

use crate::store::Accepted;
use crate::store::durable::ended_queue::ExpiringRow;
use crate::store::durable::write_queue::WriteRequest;
use crate::store::index::Record;

/// Tasks to accept, events of tasks, and what is not kept any longer.
#[derive(Debug, Clone, Copy)]
pub struct WriteGroup<'a> {
    requests: &'a [WriteRequest],
    /// The ended tasks of which nothing is kept from now on; the ledger goes on counting them.
    pub expired: &'a [ExpiringRow],
    /// The time at which the tasks are accepted.
    pub now_ms: u64,
}

/// A part of a group.
#[derive(Debug, Clone, Copy)]
pub enum Entry<'a> {
    /// Tasks to accept. One whose key an earlier task has, of this group too, is not accepted again.
    Tasks(&'a [NewTask]),
    /// An event of a task that was accepted before.
    Record(&'a Record),
}

/// The ids of a written group, in the order of its entries.
#[derive(Debug, Clone, Default)]
pub struct Written {
    /// One for each task of each [`Entry::Tasks`]. The state of a duplicate is
    /// [`State::Waiting`](framework_protocol::views::State::Waiting) unless the journal has its end.
    pub accepted: Vec<Result<Accepted, RequestError>>,
    /// One for each [`Record::Follow`].
    pub followed: Vec<TaskId>,
}

impl<'a> WriteGroup<'a> {
    pub(in crate::store::durable) fn new(
        requests: &'a [WriteRequest],
        expired: &'a [ExpiringRow],
        now_ms: u64,
    ) -> Self {
        Self { requests, expired, now_ms }
    }

    /// The tasks and events in the order in which they came in.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'a>> {
        self.requests.iter().flat_map(|request| {
            let (tasks, records) = match request {
                WriteRequest::Push(push) => (Some(Entry::Tasks(&push.tasks)), &[][..]),
                WriteRequest::Records(records) => (None, &records[..]),
                WriteRequest::Command(_) | WriteRequest::Terminate(..) | WriteRequest::Barrier(_) => {
                    (None, &[][..])
                }
            };
            tasks.into_iter().chain(records.iter().map(Entry::Record))
        })
    }
}

impl Entry<'_> {
    /// The number of tasks, or of events of tasks.
    pub fn count(&self) -> u64 {
        match self {
            Self::Tasks(tasks) => tasks.len() as u64,
            Self::Record(_) => 1,
        }
    }
}

//! What the thread that writes is to do, and whether that is worth waking it.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use crate::protocol::Refusal;
use crate::store::books::Record;
use crate::store::story::State;
use crate::store::{Accepted, Change, Changed};
use crate::task::{NewTask, TaskId};

/// So many ends of tasks are written without waiting for others.
const ENDS_MAX: usize = 4_096;
/// How many tasks and records a group has at most, so that the first of it need not wait for too many others.
const GROUP_MAX: usize = 8_192;

/// What the thread that writes is to do, in its order.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    items: VecDeque<Item>,
    /// How many records are among them.
    records: usize,
    /// Whether somebody waits for an item.
    is_urgent: bool,
    sleep: Sleep,
    stops: bool,
}

/// How the thread sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Sleep {
    #[default]
    Awake,
    /// So shortly that only what is urgent is worth waking it.
    Nap,
    Deep,
}

#[derive(Debug)]
pub(super) enum Item {
    Push(Push),
    /// What happened.
    Records(Vec<Record>),
    /// Ends these waiting tasks.
    End(Vec<TaskId>, State, &'static str),
    Change(Change, oneshot::Sender<Result<Changed, Refusal>>),
    /// Answered when all before it is written.
    Barrier(oneshot::Sender<()>),
}

/// Tasks of one client, and whoever waits for their ids.
#[derive(Debug)]
pub(super) struct Push {
    pub(super) tasks: Vec<NewTask>,
    pub(super) answer: oneshot::Sender<Result<Vec<Accepted>, Refusal>>,
}

impl Inbox {
    pub(super) fn add(&mut self, item: Item) {
        self.is_urgent = true;
        self.items.push_back(item);
    }

    /// Adds what happened, for which nobody waits.
    pub(super) fn note(&mut self, records: Vec<Record>) {
        if !records.is_empty() {
            self.records += records.len();
            self.items.push_back(Item::Records(records));
        }
    }

    /// Puts back what could not be written.
    pub(super) fn put_back(&mut self, items: Vec<Item>) {
        for item in items.into_iter().rev() {
            self.records += item.records();
            self.items.push_front(item);
        }
    }

    /// Takes the records out that stand before everything else.
    pub(super) fn leading_records(&mut self) -> Vec<Item> {
        let mut records = Vec::new();
        while let Some(Item::Records(_)) = self.items.front() {
            records.extend(self.items.pop_front());
        }
        self.records -= records.iter().map(Item::records).sum::<usize>();
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
    pub(super) fn sleeps(&mut self, sleep: Sleep) {
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
            Sleep::Awake => false,
            Sleep::Nap => self.is_ready(),
            Sleep::Deep => !self.items.is_empty() || self.stops,
        };
        if wakes {
            self.sleep = Sleep::Awake;
        }
        wakes
    }

    pub(super) fn is_ready(&self) -> bool {
        self.is_urgent || self.records >= ENDS_MAX
    }

    /// The next items to be written together; a change goes alone.
    pub(super) fn group(&mut self) -> Vec<Item> {
        let mut group = Vec::with_capacity(self.items.len().min(GROUP_MAX));
        let mut size = 0;
        while let Some(item) = self.items.front() {
            let alone = matches!(item, Item::Change(..) | Item::End(..));
            if (alone && !group.is_empty()) || size >= GROUP_MAX {
                break;
            }
            size += if let Item::Push(push) = item { push.tasks.len() } else { 1 + item.records() };
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

impl Item {
    fn records(&self) -> usize {
        if let Self::Records(records) = self { records.len() } else { 0 }
    }
}

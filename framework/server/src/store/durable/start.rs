//! Starts a store over a journal.

use std::marker::PhantomData;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use anyhow::Result;
use framework_protocol::task::TaskId;

use super::commit_counts::CommitCounts;
use super::free_slots::FreeSlots;
use super::journal::{Journal, JournalReader, OpenedJournal};
use super::outage::Outage;
use super::recovery::{Recovered, recover};
use super::slow_queries::SlowQueries;
use super::write_queue::WriteQueue;
use super::writer::Writer;
use super::{DurableShared, DurableState, DurableStore};
use crate::store::changes::RunningChanges;
use crate::store::index::TaskIndex;
use crate::store::wakeups::Wakeups;
use crate::store::{Rules, StoreOptions};

impl<J: Journal> DurableStore<J> {
    /// Opens the journal, and makes it if it is not there; every task that had not ended waits again.
    ///
    /// # Errors
    /// As [`Journal::open`]; and when it cannot be read or written. Nothing has been changed then.
    pub fn start(journal: J::Options, options: StoreOptions, rules: Arc<dyn Rules>) -> Result<Self> {
        let OpenedJournal { mut journal, reader, clock, durability, marks, last, damage } =
            J::open(journal, &options)?;
        let now = clock.now();
        let mut index = TaskIndex::new(options.clone(), options.hot_bytes, rules);
        let Recovered { retention, next_id, records, inherited, changes } =
            recover(&mut journal, &mut index, &options, &last, now)?;
        // No id is given twice, even if its first task is lost.
        let refused = journal.begin(next_id.max(last.next_id).max(options.first_id))?;
        // A journal that is full from the beginning is treated like one that becomes full.
        let outage = refused.map(|error| Outage::new(error, now).until_there_is_room());
        outage.iter().for_each(|outage| tracing::error!("{}", outage.describe()));
        let mut write_queue = WriteQueue::default();
        write_queue.note(records);
        let shared = Arc::new(DurableShared {
            state: Mutex::new(DurableState {
                index,
                write_queue,
                arriving: 0,
                changes: RunningChanges::default(),
                outage,
                damage: damage.or_else(|| missing_tasks(next_id, last.next_id, J::Reader::PLACE)),
                warning: None,
                free_slots: FreeSlots::of(marks.as_deref()),
                inherited: Vec::new(),
                read_error: Duration::ZERO,
            }),
            work: Condvar::new(),
            wakeups: Wakeups::new(options.groups.len()),
            clock,
            durability,
            marks,
            commits: CommitCounts::default(),
            slow_queries: SlowQueries::default(),
            reader,
        });
        shared.inherit(inherited);
        let writer = Writer::new(shared.clone(), journal, retention, options.change_chunk);
        let writer = std::thread::Builder::new().name("store".into()).spawn(move || writer.run(changes))?;
        Ok(Self { shared, writer: Mutex::new(Some(writer)), journal: PhantomData })
    }
}

/// What is wrong when the tasks of the journal end before the id that the last process was to give next, for
/// people; it is logged.
fn missing_tasks(found: TaskId, expected: TaskId, place: &str) -> Option<String> {
    let last = expected.checked_sub(1).filter(|last| *last >= found)?;
    let damage = format!(
        "The tasks {found} to {last} were accepted and are not in {place}: a part of it, such as its \
         log (-wal), was removed, or an earlier copy was put in its place. New tasks are numbered from {expected}."
    );
    tracing::error!("{damage}");
    Some(damage)
}

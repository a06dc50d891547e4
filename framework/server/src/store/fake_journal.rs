//! A journal in memory that outlives its stores and fails when it is told to: for tests of what stands on a
//! journal, and the shortest example of one.

mod changes;
mod marks;
mod tables;
mod views;
mod writes;

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard};

use framework_protocol::Durability;
use framework_protocol::task::TaskId;
use framework_protocol::views::{Filter, State};
use rustc_hash::FxHashMap;

use self::marks::FakeMarks;
use self::tables::FakeTables;
use super::durable::DurableStore;
use super::durable::journal::{
    Cursor, Entry, Journal, JournalChange, JournalError, JournalErrorKind, JournalReader, Listed, LoadedTask,
    OpenedJournal, ReadError, Record, RunningMarks, Selected, Snapshot, TaskSelection, WaitingRow,
    WriteGroup, Written,
};
use super::{Clock, Query, QueryResult, Rules, StoreOptions};

/// A store over a fake journal.
pub type FakeStore = DurableStore<FakeJournal>;

/// The place of a fake journal. Clones share it, also with the journals that are opened there.
#[derive(Debug, Clone)]
pub struct FakePlace {
    shared: Arc<FakeShared>,
    clock: Clock,
}

#[derive(Debug, Default)]
struct FakeShared {
    tables: Mutex<FakeTables>,
    marks: Arc<FakeMarks>,
    state: Mutex<FakeState>,
}

/// What the next calls come to.
#[derive(Debug, Default)]
struct FakeState {
    faults: VecDeque<Option<FakeFault>>,
    unreadable: u32,
    is_away: bool,
    is_foreign: bool,
    calls: u64,
    failures: u64,
}

/// How a call that writes fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FakeFault {
    /// Nothing is written, and the error is of this kind.
    Before(JournalErrorKind),
    /// It is written, and the error says that nobody knows.
    After,
}

/// What a place has at one moment: what a process that is killed then leaves.
#[derive(Debug)]
pub struct FakeContent {
    tables: FakeTables,
    marks: FakeMarks,
}

impl FakePlace {
    /// An empty place. A store that is opened there has this clock.
    pub fn new(clock: Clock) -> Self {
        Self { shared: Arc::default(), clock }
    }

    /// The same place, whose next store has this clock.
    #[must_use]
    pub fn with_clock(&self, clock: Clock) -> Self {
        Self { shared: self.shared.clone(), clock }
    }

    /// Opens a store over the place.
    ///
    /// # Errors
    /// When its options do not permit it.
    pub fn open(&self, options: StoreOptions, rules: Arc<dyn Rules>) -> anyhow::Result<FakeStore> {
        FakeStore::start(self.clone(), options, rules)
    }

    /// Lets the next calls that write fail in these ways, one after the other; `None` succeeds.
    pub fn fail(&self, faults: impl IntoIterator<Item = Option<FakeFault>>) {
        self.state().faults.extend(faults);
    }

    /// Whether all faults have occurred.
    pub fn has_failed(&self) -> bool {
        self.state().faults.is_empty()
    }

    /// Lets so many reads fail.
    pub fn fail_reads(&self, count: u32) {
        self.state().unreadable = count;
    }

    /// Takes the place away, or puts it back.
    pub fn set_away(&self, is_away: bool) {
        self.state().is_away = is_away;
    }

    /// Lets the stores there not know whether the place is their own.
    pub fn set_foreign(&self, is_foreign: bool) {
        self.state().is_foreign = is_foreign;
    }

    /// The number of calls that have written or failed.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// The number of these that have failed.
    pub fn failures(&self) -> u64 {
        self.state().failures
    }

    /// What the place has now.
    pub fn content(&self) -> FakeContent {
        FakeContent { tables: self.tables().clone(), marks: (*self.shared.marks).clone() }
    }

    /// Lets the place have what it had at an earlier moment, while no store is open there.
    pub fn restore(&self, content: FakeContent) {
        *self.tables() = content.tables;
        self.shared.marks.replace(content.marks);
    }

    fn tables(&self) -> MutexGuard<'_, FakeTables> {
        self.shared.tables.lock().expect("no one panics while holding the tables")
    }

    fn state(&self) -> MutexGuard<'_, FakeState> {
        self.shared.state.lock().expect("no one panics while holding the state")
    }

    fn read<T>(&self, read: impl FnOnce(&FakeTables) -> T) -> Result<T, ReadError> {
        let mut state = self.state();
        if state.unreadable > 0 {
            state.unreadable -= 1;
            return Err(ReadError("The fake journal cannot be read.".to_owned()));
        }
        drop(state);
        Ok(read(&self.tables()))
    }
}

/// A journal in memory.
#[derive(Debug)]
pub struct FakeJournal {
    place: FakePlace,
    next_id: TaskId,
    key_ms: u64,
    batches_kept: usize,
    doubt: Option<Doubt>,
}

/// A call whose caller does not know whether it was carried out.
#[derive(Debug)]
struct Doubt {
    content: String,
    written: Option<Written>,
}

impl FakeJournal {
    /// Makes a call as the next fault lets it be made.
    ///
    /// # Panics
    /// When another call than the one in doubt is made: then the store could answer what is not so.
    fn call(
        &mut self,
        content: &str,
        make: impl FnOnce(&mut Self) -> Written,
    ) -> Result<Written, JournalError> {
        let fault = {
            let mut state = self.place.state();
            let fault = state.faults.pop_front().flatten();
            state.calls += 1;
            state.failures += u64::from(fault.is_some());
            fault
        };
        let doubt = self.doubt.take();
        if let Some(doubt) = &doubt {
            assert_eq!(doubt.content, content, "the call in doubt is not the next one");
        }
        let error = |kind| Err(JournalError::new(kind, format!("The fake journal fails: {kind:?}.")));
        match fault {
            None => Ok(doubt.and_then(|doubt| doubt.written).unwrap_or_else(|| make(self))),
            Some(FakeFault::Before(kind)) => {
                let written = doubt.and_then(|doubt| doubt.written);
                // What was written stays so, whatever becomes of the question.
                let is_in_doubt = kind == JournalErrorKind::InDoubt || written.is_some();
                self.doubt = is_in_doubt.then(|| Doubt { content: content.to_owned(), written });
                error(if is_in_doubt { JournalErrorKind::InDoubt } else { kind })
            }
            Some(FakeFault::After) => {
                let written = doubt.and_then(|doubt| doubt.written).unwrap_or_else(|| make(self));
                self.doubt = Some(Doubt { content: content.to_owned(), written: Some(written) });
                error(JournalErrorKind::InDoubt)
            }
        }
    }
}

impl Journal for FakeJournal {
    const NAME: &'static str = "fake";
    type Options = FakePlace;
    type Reader = FakeReader;

    fn open(place: FakePlace, store: &StoreOptions) -> anyhow::Result<OpenedJournal<Self>> {
        let last = place.shared.marks.take_over();
        let journal = Self {
            place: place.clone(),
            next_id: 0,
            key_ms: store.idempotency_window.as_millis() as u64,
            batches_kept: store.batch_retention_count,
            doubt: None,
        };
        Ok(OpenedJournal {
            journal,
            clock: place.clock.clone(),
            durability: Durability::Async,
            marks: Some(place.shared.marks.clone() as Arc<dyn RunningMarks>),
            last,
            damage: None,
            reader: FakeReader(place),
        })
    }

    fn snapshot(&mut self, _with_functions: bool) -> anyhow::Result<Snapshot> {
        Ok(self.place.tables().snapshot())
    }

    fn waiting(&mut self, _ended: &[TaskId], visit: impl FnMut(WaitingRow<'_>)) -> anyhow::Result<()> {
        self.place.tables().waiting(visit);
        Ok(())
    }

    fn begin(&mut self, next_id: TaskId) -> anyhow::Result<Option<JournalError>> {
        self.next_id = next_id;
        Ok(None)
    }

    fn next_id(&self) -> TaskId {
        self.next_id
    }

    fn write(&mut self, group: &WriteGroup<'_>) -> Result<Written, JournalError> {
        let content = content_of(group);
        self.call(&content, |journal| {
            let Self { place, next_id, key_ms, batches_kept, .. } = journal;
            place.tables().write(group, next_id, *key_ms, *batches_kept)
        })
    }

    fn change(&mut self, change: &JournalChange<'_>, now_ms: u64) -> Result<(), JournalError> {
        let content = content_of_change(change);
        let make = |journal: &mut Self| {
            let next_id = journal.next_id;
            journal.place.tables().change(change, next_id, now_ms);
            Written::default()
        };
        self.call(&content, make).map(drop)
    }

    fn tasks(&mut self, ids: &[TaskId], now_ms: u64) -> Result<Vec<LoadedTask>, ReadError> {
        self.place.read(|tables| tables.load(ids, now_ms))
    }

    fn state(&mut self, id: TaskId) -> Result<Option<State>, ReadError> {
        self.place.read(|tables| tables.state(id))
    }

    fn functions(&mut self, ids: &[TaskId]) -> Result<FxHashMap<TaskId, String>, ReadError> {
        self.place.read(|tables| tables.functions(ids))
    }

    fn select(
        &mut self,
        wanted: &TaskSelection,
        cursor: Cursor,
        limit: usize,
    ) -> Result<Selected, ReadError> {
        self.place.read(|tables| tables.select(wanted, cursor, limit))
    }

    fn check(&mut self) -> Result<(), JournalError> {
        let message = "The fake journal is away.";
        let error = || JournalError::new(JournalErrorKind::Unavailable, message);
        let state = self.place.state();
        if state.is_away || state.is_foreign { Err(error()) } else { Ok(()) }
    }
}

/// Tells a group from others by what does not change about its tasks.
fn content_of(group: &WriteGroup<'_>) -> String {
    let entry = |entry: Entry| match entry {
        Entry::Tasks(tasks) => format!("{tasks:?}"),
        Entry::Record(Record::Ended(ended)) => format!("end {} {:?}", ended.task.id, ended.state),
        Entry::Record(Record::Retry { task, run, .. }) => format!("retry {} {run:?}", task.id),
        Entry::Record(Record::Revised(task)) => format!("revised {}", task.id),
        Entry::Record(Record::Follow(follow)) => format!("{follow:?}"),
        Entry::Record(Record::Batch(batch)) => format!("{batch:?}"),
    };
    let entries: Vec<_> = group.entries().map(entry).collect();
    format!("{} {:?} {entries:?}", group.now_ms, group.expired)
}

fn content_of_change(change: &JournalChange<'_>) -> String {
    match change {
        JournalChange::Retry { tasks, bulk, after } => {
            let ids: Vec<_> = tasks.iter().map(|retried| retried.task.id).collect();
            format!("retry {ids:?} {bulk:?} {after}")
        }
        change => format!("{change:?}"),
    }
}

/// Reads a fake journal.
#[derive(Debug)]
pub struct FakeReader(FakePlace);

impl JournalReader for FakeReader {
    const PLACE: &'static str = "the fake journal";

    fn tasks(
        &self,
        ids: &[TaskId],
        now_ms: u64,
    ) -> impl Future<Output = Result<Vec<LoadedTask>, ReadError>> + Send {
        std::future::ready(self.0.read(|tables| tables.load(ids, now_ms)))
    }

    fn accepted_ms(&self, ids: &[TaskId]) -> impl Future<Output = FxHashMap<TaskId, u64>> + Send {
        std::future::ready(self.0.tables().accepted_ms(ids))
    }

    fn query(&self, query: &Query, now_ms: u64) -> Result<QueryResult, ReadError> {
        self.0.read(|tables| tables.query(query, now_ms))
    }

    fn list(
        &self,
        filter: &Filter,
        visit: &mut dyn FnMut(Listed) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let all = self.0.read(|tables| tables.summaries(filter))?;
        let _ = all.into_iter().map(Listed::Task).try_for_each(visit);
        Ok(())
    }

    fn is_owner(&self) -> bool {
        !self.0.state().is_foreign
    }

    fn release(&self) {}
}

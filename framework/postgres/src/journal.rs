//! The journal of a queue in a database.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use framework_protocol::task::TaskId;
use framework_protocol::views::State;
use framework_server::store::StoreOptions;
use framework_server::store::durable::journal::{
    Cursor, Entry, Journal, JournalChange, JournalError, JournalErrorKind, LoadedTask, OpenedJournal,
    ReadError, RunningMarks, Selected, Snapshot, TaskSelection, WaitingRow, WriteGroup, Written,
};
use framework_server::store::sqlite::RunningSlots;
use rustc_hash::FxHashMap;

use crate::error::CallError;
use crate::group::{GroupOptions, GroupRows, key_of};
use crate::link::{Call, Io, Link, Outcome, open};
use crate::options::PostgresOptions;
use crate::owner::{Owner, acquire};
use crate::reader::PostgresReader;
use crate::{change, reads, recovery, schema};

/// So many transactions of the owner are known at least, and so many more before the oldest are deleted.
const COMMITS_KEPT: i64 = 100;
const COMMITS_MORE: i64 = 1_000;

/// The connection that writes.
#[derive(Debug)]
pub struct PostgresJournal {
    link: Link,
    owner: Arc<Owner>,
    next_id: TaskId,
    key_ms: u64,
    batches_kept: usize,
    /// The number of the last transaction.
    number: i64,
    doubt: Option<Doubt>,
    /// The last field: it drives the connections.
    io: Arc<Io>,
}

/// A transaction of which it is not known whether it is there.
#[derive(Debug)]
struct Doubt {
    written: Written,
    next_id: TaskId,
}

impl PostgresJournal {
    /// Makes calls in one transaction, which is refused when the queue is not this process's any more.
    fn transact(
        &mut self,
        calls: Vec<Call<'_>>,
        written: Written,
        next_id: TaskId,
    ) -> Result<Written, JournalError> {
        self.number += 1;
        let epoch = self.owner.epoch;
        let fence =
            Call::new("SELECT 1 / count(*) FROM (SELECT 1 FROM owner WHERE epoch = $1 FOR SHARE) held");
        let note = Call::new("INSERT INTO commits VALUES ($1, $2)").with(epoch).with(self.number);
        let mut all = vec![fence.with(epoch), note];
        all.extend(calls);
        if self.number % COMMITS_MORE == 0 {
            all.extend(self.tidied());
        }
        match self.io.block_on(self.link.transact(&all)) {
            Outcome::Committed => {
                self.next_id = next_id;
                Ok(written)
            }
            Outcome::Refused(error) => Err(self.unwritten(&error)),
            Outcome::Unknown(error) => {
                self.owner.note_silence(&error);
                self.doubt = Some(Doubt { written, next_id });
                Err(error.in_doubt())
            }
        }
    }

    /// What becomes of rows that are only added, so that they are few in the end.
    fn tidied(&self) -> [Call<'static>; 2] {
        let delete =
            Call::new("DELETE FROM commits WHERE epoch < $1::bigint - 1 OR epoch = $1 AND number < $2");
        let sum = Call::new(
            "WITH gone AS (DELETE FROM ledger RETURNING *) INSERT INTO ledger SELECT max(next_id), \
             sum(done)::bigint, sum(failed)::bigint, sum(cancelled)::bigint, sum(expired)::bigint FROM gone \
             HAVING count(*) > 0",
        );
        [delete.with(self.owner.epoch).with(self.number - COMMITS_KEPT), sum]
    }

    fn unwritten(&self, error: &CallError) -> JournalError {
        if !error.is_refusal() {
            self.owner.note_silence(error);
        }
        let meaning = error.unwritten();
        if meaning.kind == JournalErrorKind::Failed {
            self.owner.note_lost();
        }
        meaning
    }

    /// Finds out what became of the call before this one: what it would have returned, if it is there.
    fn resolve(&mut self) -> Result<Option<Written>, JournalError> {
        let Some(doubt) = self.doubt.take() else { return Ok(None) };
        let (epoch, number) = (self.owner.epoch, self.number);
        match self.io.block_on(is_committed(&self.link, epoch, number)) {
            Ok(true) => {
                self.next_id = doubt.next_id;
                Ok(Some(doubt.written))
            }
            Ok(false) => Ok(None),
            Err(error) => {
                self.owner.note_silence(&error);
                self.doubt = Some(doubt);
                Err(error.in_doubt())
            }
        }
    }

    fn options(&self, now_ms: u64) -> GroupOptions {
        GroupOptions { now_ms, key_ms: self.key_ms, batches_kept: self.batches_kept }
    }

    fn read<T: Send>(&self, read: impl Future<Output = Result<T, CallError>> + Send) -> Result<T, ReadError> {
        self.io.block_on(read).map_err(|error| error.unread())
    }
}

/// Whether a transaction is there. One that is still under way is waited for: it holds the row of the owner.
async fn is_committed(link: &Link, epoch: i64, number: i64) -> Result<bool, CallError> {
    link.query(Call::new("SELECT epoch FROM owner FOR UPDATE")).await?;
    let look = Call::new("SELECT 1 FROM commits WHERE epoch = $1 AND number = $2");
    Ok(!link.query(look.with(epoch).with(number)).await?.is_empty())
}

impl Journal for PostgresJournal {
    const NAME: &'static str = "postgres";
    type Options = PostgresOptions;
    type Reader = PostgresReader;

    /// Makes or migrates the schema, and waits for the end of another owner's lease.
    fn open(options: PostgresOptions, store: &StoreOptions) -> anyhow::Result<OpenedJournal<Self>> {
        let place = options.shown();
        // Before anything else: no other process of this machine has the name, then.
        let (marks, last) = RunningSlots::open(&options.marks)?;
        let (options, io) = (Arc::new(options), Arc::new(Io::new()?));
        let name = name_of(&options);
        let link = Link::new(&io, options.clone());
        let acquired = io.block_on(async {
            let driven = io.handle().spawn({
                let options = options.clone();
                async move {
                    let (mut client, connection) = open(&options).await?;
                    let migrated = schema::migrate(&mut client, &options.schema).await;
                    connection.abort();
                    migrated
                }
            });
            driven.await??;
            let epoch = acquire(&link, &name, &place).await?;
            anyhow::Ok((epoch, Instant::now()))
        });
        let (epoch, taken) = acquired.with_context(|| format!("opening the queue in {place}"))?;
        let owner = Owner::start(epoch, &io, &options, taken);
        let marks = Arc::new(marks);
        let reader = PostgresReader::new(&io, &options, owner.clone(), marks.clone());
        let marks: Arc<dyn RunningMarks> = marks;
        let journal = Self {
            link,
            owner,
            next_id: 0,
            key_ms: store.idempotency_window.as_millis() as u64,
            batches_kept: store.batch_retention_count,
            number: 0,
            doubt: None,
            io,
        };
        let (clock, durability) = (options.clock.clone(), options.durability);
        let marks = Some(marks);
        Ok(OpenedJournal { journal, reader, clock, durability, marks, last, damage: None })
    }

    fn snapshot(&mut self, with_functions: bool) -> anyhow::Result<Snapshot> {
        Ok(self.io.block_on(recovery::snapshot(&self.link, with_functions))?)
    }

    fn waiting(&mut self, _ended: &[TaskId], mut visit: impl FnMut(WaitingRow<'_>)) -> anyhow::Result<()> {
        let mut after = None;
        loop {
            let page = self.io.block_on(recovery::waiting_page(&self.link, after))?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(recovery::id(last, 0));
            page.iter().for_each(|row| visit(recovery::waiting_row(row)));
        }
    }

    fn begin(&mut self, next_id: TaskId) -> anyhow::Result<Option<JournalError>> {
        self.next_id = next_id;
        Ok(None)
    }

    fn next_id(&self) -> TaskId {
        self.next_id
    }

    fn write(&mut self, group: &WriteGroup<'_>) -> Result<Written, JournalError> {
        if let Some(written) = self.resolve()? {
            return Ok(written);
        }
        let tasks = group.entries().flat_map(|entry| match entry {
            Entry::Tasks(tasks) => tasks,
            Entry::Record(_) => &[],
        });
        let keyed: Vec<_> = tasks.filter_map(|new| Some((new, key_of(new)?))).collect();
        let known = self.io.block_on(reads::known_keys(&self.link, &keyed, group.now_ms));
        let known = known.map_err(|error| self.unwritten(&error))?;
        let options = self.options(group.now_ms);
        let mut next_id = self.next_id;
        let mut rows = GroupRows::default();
        let written = rows.add(group.entries(), known, &mut next_id, &options);
        rows.forget(group.expired.iter().map(|end| (end.id, Some(end.state))));
        self.transact(rows.into_calls(next_id, &options), written, next_id)
    }

    fn change(&mut self, change: &JournalChange<'_>, now_ms: u64) -> Result<(), JournalError> {
        if self.resolve()?.is_some() {
            return Ok(());
        }
        let (options, next_id) = (self.options(now_ms), self.next_id);
        let calls = self.io.block_on(change::calls(&self.link, change, next_id, &options));
        let calls = calls.map_err(|error| self.unwritten(&error))?;
        self.transact(calls, Written::default(), next_id).map(drop)
    }

    fn tasks(&mut self, ids: &[TaskId], now_ms: u64) -> Result<Vec<LoadedTask>, ReadError> {
        self.read(reads::tasks(&self.link, ids, now_ms))
    }

    fn state(&mut self, id: TaskId) -> Result<Option<State>, ReadError> {
        self.read(reads::state(&self.link, id))
    }

    fn functions(&mut self, ids: &[TaskId]) -> Result<FxHashMap<TaskId, String>, ReadError> {
        self.read(reads::functions(&self.link, ids))
    }

    fn select(
        &mut self,
        wanted: &TaskSelection,
        cursor: Cursor,
        limit: usize,
    ) -> Result<Selected, ReadError> {
        self.read(reads::select(&self.link, wanted, cursor, limit))
    }

    fn check(&mut self) -> Result<(), JournalError> {
        self.owner.check()
    }
}

/// The name of this server: that of all processes that use the same marks, of which one alone can live. The
/// next one need not wait for the end of the last one's lease.
fn name_of(options: &PostgresOptions) -> String {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let file = options.marks.canonicalize().unwrap_or_else(|_| options.marks.clone());
    format!("{}:{}", machine.trim(), file.display())
}

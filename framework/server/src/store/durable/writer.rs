//! The thread that writes: it gathers what came in during the last sync, writes it as one group, and then
//! releases the tasks and the answers of the group.

use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use framework_protocol::RequestError;

use super::bulk_change::{BulkChange, BulkKind};
use super::journal::{Entry, Journal, JournalError, Room, StoredChange, WriteGroup, Written};
use super::outage::Outage;
use super::retention::Retention;
use super::write_queue::{CommandRequest, PushRequest, WriteRequest, WriterSleep};
use super::{DurableShared, DurableState};
use crate::store::clock::Now;
use crate::store::index::Record;

/// The longest time that ends of tasks wait for a group to be written with.
const ENDS_WAIT: Duration = Duration::from_millis(5);
/// The interval at which an idle store deletes tasks that have been kept long enough.
const TICK: Duration = Duration::from_secs(1);

pub(super) struct Writer<J: Journal> {
    pub(super) shared: Arc<DurableShared<J::Reader>>,
    pub(super) journal: J,
    pub(super) retention: Retention,
    /// The time of the last write.
    active: Instant,
    /// The changes of many tasks that are under way.
    pub(super) changes: VecDeque<BulkChange>,
    /// The id of the last change of many tasks that was written.
    pub(super) last_bulk: i64,
    /// The most tasks that are changed in the next step, and in any.
    pub(super) chunk: usize,
    pub(super) chunk_max: usize,
}

impl<J: Journal> Writer<J> {
    pub(super) fn new(
        shared: Arc<DurableShared<J::Reader>>,
        journal: J,
        retention: Retention,
        chunk_max: usize,
    ) -> Self {
        let (active, changes, chunk) = (Instant::now(), VecDeque::new(), chunk_max.max(1));
        Self { shared, journal, retention, active, changes, last_bulk: 0, chunk, chunk_max: chunk }
    }

    /// Writes until the store is dropped; first, it goes on with the changes that are unfinished.
    pub(super) fn run(mut self, unfinished: Vec<StoredChange>) {
        self.resume_changes(unfinished);
        while let Some(mut group) = self.gather() {
            if let Some(outage) = self.broken() {
                self.leave_changes(&outage.refusal());
                self.refuse(group, &outage);
                continue;
            }
            if let Some(outage) = self.unavailable() {
                if group.iter().any(WriteRequest::is_request) {
                    self.refuse(group, &outage);
                    continue;
                }
            }
            match group.first() {
                Some(WriteRequest::Command(_)) => {
                    if let Some(WriteRequest::Command(request)) = group.pop() {
                        self.begin(request);
                    }
                }
                Some(WriteRequest::Terminate(..)) => {
                    if let Some(WriteRequest::Terminate(ids, end)) = group.pop() {
                        let kind = BulkKind::End(end, ids.into());
                        self.begin_change(BulkChange::unasked(kind, self.journal.next_id()));
                    }
                }
                Some(_) => {
                    // The callers of the group have the error already.
                    let _ = self.write(group);
                }
                None if self.changes.is_empty() => self.tidy(),
                None => {}
            }
            // A step of a change after each group, so that neither waits for many of the other.
            self.advance();
            self.maintain();
            self.look_for_room();
        }
        self.leave_changes(&RequestError::shutting_down());
        self.write_rest();
    }

    /// Writes the events that are left at the end, if a journal that was full takes them now; says so
    /// otherwise.
    fn write_rest(&mut self) {
        if self.broken().is_none() {
            self.write_records();
        }
        let state = self.shared.state();
        let left = state.write_queue.ends().count();
        if left > 0 {
            let reason = state.outage.as_ref().map(Outage::describe).unwrap_or_default();
            tracing::error!(tasks = left, "the ends of tasks are lost, and these run again: {reason}");
        }
    }

    /// Lets the journal do what is to be done, once all answers are out.
    fn maintain(&mut self) {
        let warning = self.journal.maintain(!self.changes.is_empty());
        let mut state = self.shared.state();
        if state.warning.as_deref() != warning {
            state.warning = warning.map(str::to_owned);
        }
    }

    /// The outage after which the journal is not written any more.
    fn broken(&self) -> Option<Outage> {
        self.shared.state().outage.clone().filter(Outage::is_final)
    }

    /// Looks whether the journal is where it was, and this process's own; the outage if it is not.
    fn unavailable(&mut self) -> Option<Outage> {
        let checked = self.journal.check();
        let mut state = self.shared.state();
        let was_unavailable = state.outage.as_ref().is_some_and(Outage::is_unavailable);
        let outage = checked.err().map(|error| Outage::new(error, self.shared.clock.now()));
        match &outage {
            Some(outage) if was_unavailable && outage.is_unavailable() => {}
            Some(outage) => {
                tracing::error!("{}", outage.describe());
                state.outage = Some(outage.clone());
            }
            None if was_unavailable => {
                state.outage = None;
                drop(state);
                // Tasks may be taken again.
                self.shared.wakeups.notify_all();
            }
            None => {}
        }
        outage
    }

    /// Waits for a group to write; an empty one when there has been none for a while, `None` when there never
    /// will be.
    fn gather(&mut self) -> Option<Vec<WriteRequest>> {
        let mut state = self.shared.state();
        let begin = Instant::now();
        let mut first_seen = None;
        loop {
            let now = self.shared.clock.now();
            let outage = state.outage.as_ref().filter(|outage| outage.refuses(now));
            let is_final = outage.map(Outage::is_final);
            // A journal that failed gets a moment before the next try.
            let pause = is_final.map(|is_final| if is_final { TICK } else { TICK / 10 });
            let write_queue = &mut state.write_queue;
            if write_queue.stops() && (pause.is_some() || write_queue.is_empty()) {
                return None;
            }
            let is_empty = write_queue.is_empty();
            let is_ready = match is_final {
                None => write_queue.is_ready(),
                // What cannot be written waits until the end; callers get their answers at once.
                Some(is_final) => is_final && write_queue.is_urgent(),
            };
            if !is_empty {
                first_seen.get_or_insert_with(Instant::now);
            }
            let wait = match first_seen {
                _ if !self.changes.is_empty() => pause.unwrap_or_default().saturating_sub(begin.elapsed()),
                Some(since) => pause.unwrap_or(ENDS_WAIT).saturating_sub(since.elapsed()),
                None => TICK.saturating_sub(begin.elapsed()),
            };
            if is_ready || wait.is_zero() {
                let group = write_queue.group();
                if !group.is_empty() {
                    self.active = Instant::now();
                }
                return Some(group);
            }
            // While there is something to do all the time, ends need not wake the thread.
            let naps = !is_empty || self.active.elapsed() < TICK;
            write_queue.set_sleep(if naps { WriterSleep::Nap } else { WriterSleep::Deep });
            let wait = if naps { wait.min(ENDS_WAIT.max(pause.unwrap_or_default())) } else { wait };
            state = self.wait(state, wait);
            state.write_queue.set_sleep(WriterSleep::Awake);
        }
    }

    pub(super) fn wait<'a>(
        &self,
        state: MutexGuard<'a, DurableState>,
        time: Duration,
    ) -> MutexGuard<'a, DurableState> {
        self.shared.work.wait_timeout(state, time).expect("no one panics while holding the state").0
    }

    /// Writes a group; then its tasks can be taken, and its answers go out.
    ///
    /// # Errors
    /// When the journal does not let it be. Its tasks are refused then, and its events stay to be written.
    pub(super) fn write(&mut self, group: Vec<WriteRequest>) -> Result<(), Outage> {
        match self.commit(&group) {
            Ok(written) => {
                self.release(group, written);
                Ok(())
            }
            Err(outage) => {
                self.refuse(group, &outage);
                Err(outage)
            }
        }
    }

    fn commit(&mut self, requests: &[WriteRequest]) -> Result<Written, Outage> {
        if requests.iter().all(|item| matches!(item, WriteRequest::Barrier(_))) {
            return Ok(Written::default());
        }
        let (now, begin) = (self.shared.clock.now(), Instant::now());
        let written = self.write_group(requests, now);
        let count = WriteGroup::new(requests, &[], now.wall_ms).entries().map(|entry| entry.count()).sum();
        self.shared.commits.add(count, begin.elapsed());
        written.map_err(|error| {
            let outage = Outage::new(error, now);
            // The journal is tried again and again; the error is logged once.
            if self.shared.state().outage.is_none() {
                tracing::error!("{}", outage.describe());
            }
            outage
        })
    }

    /// Writes requests, and deletes tasks that have been kept long enough, in one transaction.
    fn write_group(&mut self, requests: &[WriteRequest], now: Now) -> Result<Written, JournalError> {
        let trimmed = self.retention.trim(now.wall_ms);
        let expired = trimmed.as_ref().map_or(&[][..], |trimmed| &trimmed.rows);
        let group = WriteGroup::new(requests, expired, now.wall_ms);
        let written = self.until_known(|journal| journal.write(&group))?;
        if let Some(trimmed) = &trimmed {
            self.retention.forget(trimmed, now.wall_ms);
        }
        for entry in group.entries() {
            if let Entry::Record(Record::Ended(ended)) = entry {
                self.retention.push(ended);
            }
        }
        Ok(written)
    }

    /// Refuses the tasks of a group that could not be written; its events stay to be written.
    fn refuse(&mut self, group: Vec<WriteRequest>, outage: &Outage) {
        let refused = self.refuse_requests(group, outage);
        if refused.has_records && refused.pushed > 0 && !outage.is_final() {
            self.write_records();
        }
    }

    /// Refuses requests, and all that came in since.
    pub(super) fn refuse_requests(&mut self, mut group: Vec<WriteRequest>, outage: &Outage) -> Refused {
        // Requests behind what cannot be written would wait for ever.
        loop {
            let more = self.shared.state().write_queue.group();
            if more.is_empty() {
                break;
            }
            group.extend(more);
        }
        let mut kept = Vec::new();
        let mut answers = Vec::new();
        let mut pushed = 0;
        for item in group {
            match item {
                WriteRequest::Push(PushRequest { tasks, answer, .. }) => {
                    pushed += tasks.len();
                    answers.push((answer, tasks.len()));
                }
                WriteRequest::Barrier(answer) => {
                    let _ = answer.send(());
                }
                WriteRequest::Command(CommandRequest { command, answer, .. }) => {
                    if let Some(batch) = command.closes() {
                        self.shared.state().index.batches().set_closing(batch, false);
                    }
                    let _ = answer.send(Err(outage.refusal()));
                }
                item => kept.push(item),
            }
        }
        let has_records = !kept.is_empty();
        {
            let mut state = self.shared.state();
            state.arriving -= pushed;
            state.outage = Some(outage.clone());
            state.write_queue.put_back(kept);
        }
        for (answer, count) in answers {
            let _ = answer.send(vec![Err(outage.refusal()); count]);
        }
        Refused { pushed, has_records }
    }

    /// Writes events by themselves, which may find room where tasks do not.
    fn write_records(&mut self) {
        let records = self.shared.state().write_queue.take_records();
        match self.commit(&records) {
            Ok(written) => self.release(records, written),
            Err(_) => self.shared.state().write_queue.put_back(records),
        }
    }

    /// Deletes tasks that have been kept long enough, or tidies the journal, while there is nothing to write.
    fn tidy(&mut self) {
        let now = self.shared.clock.now();
        if self.retention.is_due(now.wall_ms) {
            let _ = self.write_group(&[], now);
        } else {
            self.journal.tidy();
        }
    }

    /// Lets a full journal look for room, so that ends can be written; accepts tasks again when there is room
    /// for them, too.
    fn look_for_room(&mut self) {
        if !self.shared.state().outage.as_ref().is_some_and(Outage::is_full) {
            return;
        }
        let room = self.journal.make_room();
        let mut state = self.shared.state();
        match room {
            Room::Unknown => {}
            Room::ForEnds => state.outage = state.outage.take().map(Outage::until_there_is_room),
            Room::ForAll => state.outage = None,
        }
    }
}

/// What was refused of a group.
pub(super) struct Refused {
    pushed: usize,
    has_records: bool,
}

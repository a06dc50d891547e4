//! The thread that writes: it gathers what came in during the last sync, writes it as one group, and then
//! releases the tasks and the answers of the group.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use framework_protocol::RequestError;

use super::SqliteShared;
use super::bulk_change::{BulkChange, BulkKind};
use super::journal::{Entry, Journal, Written};
use super::reserve::Reserve;
use super::write_error::WriteError;
use super::write_queue::{CommandRequest, PushRequest, WriteRequest, WriterSleep};

/// The longest time that ends of tasks wait for a group to be written with.
const ENDS_WAIT: Duration = Duration::from_millis(5);
/// The interval at which an idle store deletes tasks that have been kept long enough.
const TICK: Duration = Duration::from_secs(1);

pub(super) struct Writer {
    pub(super) shared: Arc<SqliteShared>,
    pub(super) journal: Journal,
    /// `None` for a file in a VFS of a test.
    reserve: Option<Reserve>,
    /// The time of the last write.
    active: Instant,
    /// The changes of many tasks that are under way.
    pub(super) changes: VecDeque<BulkChange>,
    /// The most tasks that are changed in the next step, and in any.
    pub(super) chunk: usize,
    pub(super) chunk_max: usize,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<SqliteShared>,
        journal: Journal,
        reserve: Option<Reserve>,
        chunk_max: usize,
    ) -> Self {
        let (active, changes, chunk) = (Instant::now(), VecDeque::new(), chunk_max.max(1));
        Self { shared, journal, reserve, active, changes, chunk, chunk_max: chunk }
    }

    /// Writes until the store is dropped.
    pub(super) fn run(mut self) {
        self.resume_changes();
        while let Some(mut group) = self.gather() {
            if let Some(write_error) = self.broken() {
                self.leave_changes(&write_error.refusal());
                self.refuse(group, &write_error);
                continue;
            }
            if let Some(write_error) = self.missing_file() {
                if group.iter().any(WriteRequest::is_request) {
                    self.refuse(group, &write_error);
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
            self.checkpoint();
            self.look_for_room();
        }
        self.leave_changes(&RequestError::shutting_down());
        self.write_rest();
    }

    /// Writes the events that are left at the end, if a disk that was full takes them now; says so otherwise.
    fn write_rest(&mut self) {
        if self.broken().is_none() {
            self.write_records();
        }
        let state = self.shared.state();
        let left = state.write_queue.ends().count();
        if left > 0 {
            let reason = state.write_error.as_ref().map(WriteError::describe).unwrap_or_default();
            tracing::error!(tasks = left, "the ends of tasks are lost, and these run again: {reason}");
        }
    }

    /// Copies the log into the file when it is time, once all answers are out.
    fn checkpoint(&mut self) {
        let error = self.journal.checkpoint(!self.changes.is_empty());
        let mut state = self.shared.state();
        if state.checkpoint_error.as_deref() != error {
            state.checkpoint_error = error.map(str::to_owned);
        }
    }

    /// The error after which the disk is not written to any more.
    fn broken(&self) -> Option<WriteError> {
        self.shared.state().write_error.clone().filter(WriteError::is_final)
    }

    /// Looks for the files of the queue at their paths; the error if one is not there any more.
    fn missing_file(&self) -> Option<WriteError> {
        let missing = self.shared.lock.as_ref()?.missing();
        let mut state = self.shared.state();
        let was_missing = state.write_error.as_ref().is_some_and(WriteError::is_missing);
        let write_error = missing.map(|file| WriteError::missing(file, self.shared.clock.now()));
        match &write_error {
            Some(_) if was_missing => {}
            Some(write_error) => {
                tracing::error!("{}", write_error.describe());
                state.write_error = Some(write_error.clone());
            }
            None if was_missing => {
                tracing::info!("The files of the queue are back at their places.");
                state.write_error = None;
            }
            None => {}
        }
        write_error
    }

    /// Waits for a group to write; an empty one when there has been none for a while, `None` when there never
    /// will be.
    fn gather(&mut self) -> Option<Vec<WriteRequest>> {
        let mut state = self.shared.state();
        let begin = Instant::now();
        let mut first_seen = None;
        loop {
            let now = self.shared.clock.now();
            let write_error = state.write_error.as_ref().filter(|write_error| write_error.refuses(now));
            let is_final = write_error.map(WriteError::is_final);
            // A disk that failed gets a moment before the next try.
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
            state =
                self.shared.work.wait_timeout(state, wait).expect("no one panics while holding the state").0;
            state.write_queue.set_sleep(WriterSleep::Awake);
        }
    }

    /// Writes a group; then its tasks can be taken, and its answers go out.
    ///
    /// # Errors
    /// When the disk does not let it be. Its tasks are refused then, and its events stay to be written.
    pub(super) fn write(&mut self, group: Vec<WriteRequest>) -> Result<(), WriteError> {
        match self.commit(&group) {
            Ok(written) => {
                self.release(group, written);
                Ok(())
            }
            Err(write_error) => {
                self.refuse(group, &write_error);
                Err(write_error)
            }
        }
    }

    fn commit(&mut self, group: &[WriteRequest]) -> Result<Written, WriteError> {
        let now = self.shared.clock.now();
        let entries = group.iter().flat_map(|item| {
            let (tasks, records) = match item {
                WriteRequest::Push(push) => (Some(Entry::Tasks(&push.tasks)), &[][..]),
                WriteRequest::Records(records) => (None, &records[..]),
                WriteRequest::Command(_) | WriteRequest::Terminate(..) | WriteRequest::Barrier(_) => {
                    (None, &[][..])
                }
            };
            tasks.into_iter().chain(records.iter().map(Entry::Record))
        });
        if group.iter().all(|item| matches!(item, WriteRequest::Barrier(_))) {
            return Ok(Written::default());
        }
        let (begin, mut count) = (Instant::now(), 0);
        let entries = entries.inspect(|entry| count += entry.count());
        let written = self.journal.write(entries, now.wall_ms);
        self.shared.commits.add(count, begin.elapsed());
        written.map_err(|error| {
            let write_error = WriteError::of(&error, self.journal.connection(), now);
            // The disk is tried again and again; the error is logged once.
            if self.shared.state().write_error.is_none() {
                tracing::error!("{}", write_error.describe());
            }
            write_error
        })
    }

    /// Refuses the tasks of a group that could not be written; its events stay to be written.
    fn refuse(&mut self, mut group: Vec<WriteRequest>, write_error: &WriteError) {
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
                    let _ = answer.send(Err(write_error.refusal()));
                }
                item => kept.push(item),
            }
        }
        let has_records = !kept.is_empty();
        {
            let mut state = self.shared.state();
            state.arriving -= pushed;
            state.write_error = Some(write_error.clone());
            state.write_queue.put_back(kept);
        }
        for (answer, count) in answers {
            let _ = answer.send(vec![Err(write_error.refusal()); count]);
        }
        if has_records && pushed > 0 && !write_error.is_final() {
            self.write_records();
        }
    }

    /// Writes events by themselves, which may find room where tasks do not.
    fn write_records(&mut self) {
        let records = self.shared.state().write_queue.take_records();
        match self.commit(&records) {
            Ok(written) => self.release(records, written),
            Err(_) => self.shared.state().write_queue.put_back(records),
        }
    }

    /// Deletes tasks that have been kept long enough, and returns free pages, while there is nothing to
    /// write.
    fn tidy(&mut self) {
        let now = self.shared.clock.now();
        if self.journal.retention().is_due(now.wall_ms) {
            let _ = self.journal.write(std::iter::empty(), now.wall_ms);
        } else if let Err(error) = self.journal.shrink() {
            tracing::debug!("the queue's file cannot be made smaller now: {error}");
        }
    }

    /// Gives up the reserve of a disk that is full, so that ends find room; takes it again, and accepts tasks
    /// again, when the disk is not full any more.
    fn look_for_room(&mut self) {
        let is_full = self.shared.state().write_error.as_ref().is_some_and(WriteError::is_full);
        let Some(reserve) = self.reserve.as_mut().filter(|_| is_full) else { return };
        let was_held = reserve.is_held();
        if was_held {
            reserve.release();
        }
        // What others have freed may be just enough for the log, and tasks that were deleted have left room.
        if self.journal.empty_log() {
            self.journal.shrink_all();
        }
        let has_room = !was_held && reserve.take();
        let mut state = self.shared.state();
        state.write_error =
            state.write_error.take().filter(|_| !has_room).map(WriteError::until_there_is_room);
        if has_room {
            tracing::info!("The disk has room again.");
        }
    }
}

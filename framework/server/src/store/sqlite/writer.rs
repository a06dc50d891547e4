//! The thread that writes: it gathers what came in during the last sync, writes it as one group, and then
//! releases the tasks and the answers of the group.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use framework_protocol::task::TaskRecord;

use super::SqliteShared;
use super::journal::{Entry, Journal, Written};
use super::write_error::WriteError;
use super::write_queue::{PushRequest, WriteRequest, WriterSleep};
use crate::store::index::{FollowUp, Record};

/// The longest time that ends of tasks wait for a group to be written with.
const ENDS_WAIT: Duration = Duration::from_millis(5);
/// The interval at which an idle store deletes tasks that have been kept long enough.
const TICK: Duration = Duration::from_secs(1);
/// A disk with so many free bytes is not full any more.
const ROOM: u64 = 16 * 1024 * 1024;

pub(super) struct Writer {
    pub(super) shared: Arc<SqliteShared>,
    pub(super) journal: Journal,
    /// The folder of the file; `None` for one in a VFS of a test.
    folder: Option<PathBuf>,
    /// The time of the last write.
    active: Instant,
}

impl Writer {
    pub(super) fn new(shared: Arc<SqliteShared>, journal: Journal, file: &Path, is_real: bool) -> Self {
        let folder = file.parent().filter(|_| is_real).map(Path::to_owned);
        Self { shared, journal, folder, active: Instant::now() }
    }

    /// Writes until the store is dropped.
    pub(super) fn run(mut self) {
        while let Some(mut group) = self.gather() {
            if let Some(write_error) = self.broken() {
                self.refuse(group, &write_error);
                continue;
            }
            match group.first() {
                Some(WriteRequest::Command(..)) => {
                    if let Some(WriteRequest::Command(command, answer)) = group.pop() {
                        // A caller that is gone needs no answer.
                        let _ = answer.send(self.apply(command));
                    }
                }
                Some(WriteRequest::Terminate(..)) => {
                    if let Some(WriteRequest::Terminate(ids, state, reason)) = group.pop() {
                        // Ends that could not be written stay in the queue.
                        let _ = self.end_waiting(&ids, state, reason, true);
                    }
                }
                Some(_) => {
                    // The callers of the group have the error already.
                    let _ = self.write(group);
                }
                None => self.tidy(),
            }
        }
    }

    /// The error after which the disk is not written to any more.
    fn broken(&self) -> Option<WriteError> {
        self.shared.state().write_error.clone().filter(WriteError::is_final)
    }

    /// Waits for a group to write; an empty one when there has been none for a while, `None` when there never
    /// will be.
    fn gather(&mut self) -> Option<Vec<WriteRequest>> {
        let mut state = self.shared.state();
        let begin = Instant::now();
        let mut first_seen = None;
        loop {
            let write_error =
                state.write_error.as_ref().filter(|write_error| write_error.refuses(self.shared.clock.now()));
            // A disk that failed gets a moment before the next try.
            let pause = write_error.map(|write_error| if write_error.is_final() { TICK } else { TICK / 10 });
            let write_queue = &mut state.write_queue;
            if write_queue.stops() && (pause.is_some() || write_queue.is_empty()) {
                return None;
            }
            let (is_empty, is_ready) = (write_queue.is_empty(), write_queue.is_ready() && pause.is_none());
            if !is_empty {
                first_seen.get_or_insert_with(Instant::now);
            }
            let wait = match first_seen {
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
                WriteRequest::Command(..) | WriteRequest::Terminate(..) | WriteRequest::Barrier(_) => {
                    (None, &[][..])
                }
            };
            tasks.into_iter().chain(records.iter().map(Entry::Record))
        });
        if group.iter().all(|item| matches!(item, WriteRequest::Barrier(_))) {
            return Ok(Written::default());
        }
        self.journal.write(entries, now.wall_ms).map_err(|error| {
            let write_error = WriteError::of(&error, now);
            // The disk is tried again and again; the error is logged once.
            if self.shared.state().write_error.is_none() {
                tracing::error!("{}", write_error.describe());
            }
            write_error
        })
    }

    fn release(&mut self, group: Vec<WriteRequest>, written: Written) {
        let (now, at) = (self.shared.clock.now(), Instant::now());
        let mut accepted = written.accepted.into_iter();
        let mut followed = written.followed.into_iter();
        let mut arrived = Vec::new();
        let mut answers = Vec::new();
        let mut barriers = Vec::new();
        let mut pushed = 0;
        let mut records = Vec::new();
        for item in group {
            match item {
                WriteRequest::Push(PushRequest { tasks, on_accepted, answer }) => {
                    pushed += tasks.len();
                    let ids: Vec<_> = accepted.by_ref().take(tasks.len()).collect();
                    on_accepted(&mut ids.iter().copied().enumerate());
                    let new = ids.iter().zip(tasks).filter(|(accepted, _)| accepted.is_new);
                    arrived.extend(
                        new.map(|(accepted, new)| {
                            Arc::new(TaskRecord::new(accepted.id, new, at, now.wall_ms))
                        }),
                    );
                    answers.push((answer, ids));
                }
                WriteRequest::Records(all) => {
                    for record in all {
                        match record {
                            Record::Follow(FollowUp { new, .. }) => arrived.extend(
                                followed.next().map(|id| Arc::new(TaskRecord::new(id, new, at, now.wall_ms))),
                            ),
                            record => records.push(record),
                        }
                    }
                }
                WriteRequest::Barrier(answer) => barriers.push(answer),
                WriteRequest::Command(..) | WriteRequest::Terminate(..) => {}
            }
        }
        let wake_set = {
            let mut state = self.shared.state();
            state.arriving -= pushed;
            if pushed > 0 {
                state.write_error = None;
            }
            for task in arrived {
                let insertion = state.index.new_insertion(task, now);
                state.index.insert_new(insertion);
            }
            state.index.wake_set(now)
        };
        for (answer, ids) in answers {
            let _ = answer.send(Ok(ids));
        }
        self.shared.wakeups.notify(wake_set);
        for barrier in barriers {
            let _ = barrier.send(());
        }
        // The last references to ended tasks are dropped after all answers are out.
        drop(records);
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
                WriteRequest::Command(_, answer) => {
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
        for (answer, _) in answers {
            let _ = answer.send(Err(write_error.refusal()));
        }
        if has_records && pushed > 0 && !write_error.is_final() {
            self.write_records();
        }
    }

    /// Writes events by themselves, which may find room where tasks do not.
    fn write_records(&mut self) {
        let records = self.shared.state().write_queue.leading_records();
        match self.commit(&records) {
            Ok(written) => self.release(records, written),
            Err(_) => self.shared.state().write_queue.put_back(records),
        }
    }

    /// Deletes tasks that have been kept long enough, and returns free pages, while there is nothing to
    /// write.
    fn tidy(&mut self) {
        let now = self.shared.clock.now();
        let is_full = self.shared.state().write_error.as_ref().is_some_and(WriteError::is_full);
        if is_full && self.has_room() {
            self.shared.state().write_error = None;
            tracing::info!("The disk has room again.");
        }
        if self.journal.retention().is_due(now.wall_ms) {
            let _ = self.journal.write(std::iter::empty(), now.wall_ms);
        } else if let Err(error) = self.journal.shrink() {
            tracing::debug!("the queue's file cannot be made smaller now: {error}");
        }
    }

    fn has_room(&self) -> bool {
        let Some(folder) = &self.folder else { return true };
        rustix::fs::statvfs(folder).is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) >= ROOM)
    }
}

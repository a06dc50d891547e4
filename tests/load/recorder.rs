//! A record of the replies to all clients, in memory that does not grow with the time.

use std::collections::{BTreeMap, VecDeque};
use std::io::{Error, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use serde_json::Value;

/// The number of last acknowledged tasks that are checked after each end of a process.
const RECENT: usize = 5_000;
/// Of this many others, one is checked.
const SHARE: u64 = 50;

/// The bound on the promises that are kept; later ones are not recorded.
const PROMISES_MAX: usize = 10_000;

/// One server, and the replies to all of its clients.
pub(super) struct Recorder {
    pub(super) address: String,
    pub(super) is_over: AtomicBool,
    /// Ends of processes, which break connections.
    pub(super) ends: FaultWindow,
    /// Reloads, which refuse no connection.
    pub(super) reloads: FaultWindow,
    acknowledged: Mutex<Acknowledged>,
    promises: Mutex<Vec<Promise>>,
    /// The count of each error.
    wrong: Mutex<BTreeMap<String, u64>>,
    pub(super) explained: AtomicU64,
    pub(super) checked: AtomicU64,
    pub(super) too_late: AtomicU64,
}

#[derive(Default)]
struct Acknowledged {
    count: u64,
    /// One bit for each id.
    seen: Vec<u64>,
    recent: VecDeque<u64>,
    /// The tasks that are to be checked, and when they were known last.
    due: VecDeque<(u64, Instant)>,
}

/// Counts the begins and ends of a fault that explains broken connections.
#[derive(Default)]
pub(super) struct FaultWindow {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// The state of all fault windows at a moment.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    ends: (u64, u64),
    reloads: (u64, u64),
}

impl FaultWindow {
    pub(super) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn end(&self) {
        self.ended.fetch_add(1, Ordering::SeqCst);
    }

    fn now(&self) -> (u64, u64) {
        (self.begun.load(Ordering::SeqCst), self.ended.load(Ordering::SeqCst))
    }

    /// `true` if a fault was under way then, or has begun since.
    fn since(&self, (begun, ended): (u64, u64)) -> bool {
        begun != ended || self.begun.load(Ordering::SeqCst) != begun
    }
}

impl Recorder {
    pub(super) fn new(address: String) -> Self {
        Self {
            address,
            is_over: AtomicBool::new(false),
            ends: FaultWindow::default(),
            reloads: FaultWindow::default(),
            acknowledged: Mutex::default(),
            promises: Mutex::default(),
            wrong: Mutex::default(),
            explained: AtomicU64::new(0),
            checked: AtomicU64::new(0),
            too_late: AtomicU64::new(0),
        }
    }

    fn acknowledged(&self) -> MutexGuard<'_, Acknowledged> {
        self.acknowledged.lock().unwrap()
    }

    pub(super) fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }

    pub(super) fn now(&self) -> Moment {
        Moment { ends: self.ends.now(), reloads: self.reloads.now() }
    }

    /// Records an acknowledgement. With a key, it may repeat an earlier one.
    pub(super) fn acknowledge(&self, id: u64, has_key: bool) {
        let mut acknowledged = self.acknowledged();
        let (word, bit) = ((id / 64) as usize, 1 << (id % 64));
        if acknowledged.seen.len() <= word {
            acknowledged.seen.resize(word + 1, 0);
        }
        if acknowledged.seen[word] & bit != 0 {
            drop(acknowledged);
            if !has_key {
                self.wrong(format!("an id was given to two tasks: {id}"));
            }
            return;
        }
        acknowledged.seen[word] |= bit;
        acknowledged.count += 1;
        acknowledged.recent.push_back(id);
        if acknowledged.recent.len() > RECENT {
            acknowledged.recent.pop_front();
        }
        if id % SHARE == 0 {
            acknowledged.due.push_back((id, Instant::now()));
        }
    }

    /// Has the tasks that were acknowledged last checked again.
    pub(super) fn recheck_recent(&self) {
        let mut acknowledged = self.acknowledged();
        let now = Instant::now();
        let recent: Vec<_> = acknowledged.recent.drain(..).map(|id| (id, now)).collect();
        acknowledged.due.extend(recent);
    }

    pub(super) fn take_due(&self, most: usize) -> Vec<(u64, Instant)> {
        let due = &mut self.acknowledged().due;
        let count = due.len().min(most);
        due.drain(..count).collect()
    }

    pub(super) fn put_back(&self, ids: impl IntoIterator<Item = (u64, Instant)>) {
        self.acknowledged().due.extend(ids);
    }

    pub(super) fn count(&self) -> u64 {
        self.acknowledged().count
    }

    /// Records what a client was told.
    pub(super) fn promise(&self, promise: Promise) {
        let mut promises = self.promises.lock().unwrap();
        if promises.len() < PROMISES_MAX {
            promises.push(promise);
        }
    }

    pub(super) fn take_promises(&self) -> Vec<Promise> {
        std::mem::take(&mut self.promises.lock().unwrap())
    }

    /// Records an error.
    pub(super) fn wrong(&self, what: String) {
        let mut wrong = self.wrong.lock().unwrap();
        // A bound, so that many errors do not fill the memory.
        if wrong.len() < 1_000 || wrong.contains_key(&what) {
            *wrong.entry(what).or_default() += 1;
        }
    }

    pub(super) fn all_wrong(&self) -> BTreeMap<String, u64> {
        self.wrong.lock().unwrap().clone()
    }

    /// Records the failure of a client, as an error unless a fault since `then` explains it.
    pub(super) fn failed(&self, who: &str, then: Moment, error: &anyhow::Error) {
        let is_refused = error.downcast_ref().map(Error::kind) == Some(ErrorKind::ConnectionRefused);
        let is_cut = error.downcast_ref::<Error>().is_some();
        let is_explained = self.ends.since(then.ends) || self.reloads.since(then.reloads) && !is_refused;
        if is_cut && is_explained {
            self.explained.fetch_add(1, Ordering::Relaxed);
        } else {
            self.wrong(format!("{who}: {error:#}"));
        }
    }

    /// Reads a reply: records an acknowledgement, and returns the status.
    pub(super) fn read(&self, answer: &Value, has_key: bool) -> anyhow::Result<Status> {
        match answer["status"].as_str().unwrap_or_default() {
            "queued" => {
                let id = answer["task_id"].as_u64();
                let id = id.ok_or_else(|| anyhow::anyhow!("queued without an id: {answer}"))?;
                self.acknowledge(id, has_key);
                Ok(Status::Queued(id))
            }
            "done" | "failed" | "cancelled" | "expired" => Ok(Status::Ended),
            "ok" | "watching" | "progress" | "log" | "missed" => Ok(Status::Fine),
            _ if answer["code"] == "shutting_down" => {
                Err(Error::new(ErrorKind::ConnectionAborted, "the server stops").into())
            }
            _ => anyhow::bail!("refused: {answer}"),
        }
    }
}

/// Ends the clients, also when the test fails.
pub(super) struct End<'a>(pub(super) &'a Recorder);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

/// One thing that a client was told, durable by the time of the reply.
#[derive(Debug)]
pub(super) enum Promise {
    /// This waiting task was cancelled.
    Cancelled { task: u64 },
    /// This key belongs to this task.
    Key { key: String, task: u64 },
    /// This batch was sealed with so many tasks.
    Sealed { batch: u64, total: u64 },
    /// This batch was not sealed: none of its tasks may run.
    NeverSealed { batch: u64 },
}

/// The status of a reply.
pub(super) enum Status {
    Queued(u64),
    Ended,
    Fine,
}

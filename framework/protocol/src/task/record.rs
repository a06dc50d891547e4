//! A task from its acceptance on: its counters, its requests to stop, and what its handlers report.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::Notify;

use super::follow_ups::FollowUps;
use super::{Due, LogLine, NewTask, Progress, ProgressLog, TaskId};

/// An accepted task.
pub struct TaskRecord {
    pub id: TaskId,
    pub new: NewTask,
    /// For durations within this process.
    pub accepted: Instant,
    /// For people and for the disk, in milliseconds since 1970.
    pub accepted_ms: u64,
    /// Attempts that are over, those of them that failed, and those in which the process died. Only the store
    /// writes these three.
    pub attempts: AtomicU32,
    pub failures: AtomicU32,
    pub crashes: AtomicU32,
    /// The attempts up to this number are asked to stop because their time is over.
    stopped_attempts: AtomicU32,
    /// Set once the task is asked to end instead of going on.
    cancel_requested: AtomicBool,
    /// Whether the attempt that runs cannot be aborted, only asked to stop.
    is_blocking: AtomicBool,
    /// The state that only tasks need that run for a while; most end at the first poll of their handler.
    live: OnceLock<Box<LiveState>>,
}

/// The state of a task that runs for a while.
#[derive(Default)]
struct LiveState {
    /// Rung when an attempt is asked to stop.
    stop_signal: Notify,
    progress: Mutex<ProgressState>,
}

/// The reports of a task's handlers.
#[derive(Default)]
struct ProgressState {
    log: ProgressLog,
    /// The tasks to accept when this attempt is done.
    follow_ups: FollowUps,
}

impl TaskRecord {
    pub fn new(id: TaskId, new: NewTask, accepted: Instant, accepted_ms: u64) -> Self {
        Self {
            id,
            new,
            accepted,
            accepted_ms,
            attempts: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            crashes: AtomicU32::new(0),
            stopped_attempts: AtomicU32::new(0),
            cancel_requested: AtomicBool::new(false),
            is_blocking: AtomicBool::new(false),
            live: OnceLock::new(),
        }
    }

    /// An ended task as it waits anew: due at once, without failures or an expiry, and with its attempts
    /// counted on.
    pub fn again(ended: &Self) -> Self {
        let mut new = ended.new.clone();
        new.due = Due::Now;
        if let Some(extra) = &mut new.extra {
            extra.expires = None;
        }
        let task = Self::new(ended.id, new, ended.accepted, ended.accepted_ms);
        task.attempts.store(ended.attempts(), Ordering::Relaxed);
        if let Some(log) = ended.progress_log() {
            task.update_progress(|kept| *kept = *log);
        }
        task
    }

    /// The same task with another priority and other arguments, due at once. Its progress is kept; requests
    /// to stop are not.
    pub fn revised(&self, priority: u8, args: Bytes) -> Self {
        let new = NewTask { priority, args, due: Due::Now, ..self.new.clone() };
        let task = Self::new(self.id, new, self.accepted, self.accepted_ms);
        for (counter, count) in [
            (&task.attempts, self.attempts()),
            (&task.failures, self.failures()),
            (&task.crashes, self.crashes()),
        ] {
            counter.store(count, Ordering::Relaxed);
        }
        if let Some(log) = self.progress_log() {
            task.update_progress(|kept| *kept = *log);
        }
        task
    }

    /// The number of attempts that are over.
    pub fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed)
    }

    /// The number of attempts that have failed since the task was accepted or last retried by hand.
    pub fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    /// The number of attempts in which the process died.
    pub fn crashes(&self) -> u32 {
        self.crashes.load(Ordering::Relaxed)
    }

    /// Notes whether the attempt that begins can only be asked to stop, as a blocking one.
    pub fn set_blocking(&self, is_blocking: bool) {
        self.is_blocking.store(is_blocking, Ordering::Release);
    }

    /// Whether the attempt that runs can only be asked to stop.
    pub fn is_blocking(&self) -> bool {
        self.is_blocking.load(Ordering::Acquire)
    }

    /// Asks the running attempt to stop, and the task to end with it.
    pub fn request_cancel(&self) {
        self.cancel_requested.store(true, Ordering::Release);
        self.live().stop_signal.notify_waiters();
    }

    pub fn is_cancel_requested(&self) -> bool {
        self.cancel_requested.load(Ordering::Acquire)
    }

    /// Asks the attempts up to this number to stop, because their time is over.
    pub fn stop(&self, attempt: u32) {
        self.stopped_attempts.fetch_max(attempt, Ordering::Release);
        self.live().stop_signal.notify_waiters();
    }

    /// Whether this attempt is asked to stop, for whatever reason.
    pub fn is_stopped(&self, attempt: u32) -> bool {
        self.is_cancel_requested() || self.stopped_attempts.load(Ordering::Acquire) >= attempt
    }

    /// Waits until this attempt is asked to stop.
    pub async fn stopped(&self, attempt: u32) {
        self.stop_signal(|| self.is_stopped(attempt)).await;
    }

    /// Waits until the task is asked to end.
    pub async fn cancel_requested(&self) {
        self.stop_signal(|| self.is_cancel_requested()).await;
    }

    async fn stop_signal(&self, is_set: impl Fn() -> bool) {
        let live = self.live();
        loop {
            let signal = live.stop_signal.notified();
            // Enlisted since the line above: a request from now on is not missed.
            if is_set() {
                return;
            }
            signal.await;
        }
    }

    /// The progress and the log lines of its handlers so far; `None` when there are none.
    pub fn progress_log(&self) -> Option<Box<ProgressLog>> {
        let state = self.progress()?;
        (!state.log.is_empty()).then(|| Box::new(state.log.clone()))
    }

    /// Changes the progress or the log lines.
    pub fn update_progress<T>(&self, change: impl FnOnce(&mut ProgressLog) -> T) -> T {
        change(&mut self.progress_mut().log)
    }

    /// Notes the progress that the handler reports; see [`Attempt::progress`](super::Attempt::progress).
    pub fn report_progress(&self, percent: f64, text: &str) -> Progress {
        self.update_progress(|log| log.progress(percent, text).clone())
    }

    /// Notes a log line of an attempt; see [`Attempt::log`](super::Attempt::log).
    pub fn report_line(&self, attempt: u32, text: &str) -> LogLine {
        self.update_progress(|log| log.line(attempt, text).clone())
    }

    pub(super) fn update_follow_ups<T>(&self, change: impl FnOnce(&mut FollowUps) -> T) -> T {
        change(&mut self.progress_mut().follow_ups)
    }

    pub(super) fn take_follow_ups(&self, attempt: u32) -> Option<FollowUps> {
        let mut state = self.progress()?;
        state.follow_ups.is_of(attempt).then(|| std::mem::take(&mut state.follow_ups))
    }

    fn live(&self) -> &LiveState {
        self.live.get_or_init(Box::default)
    }

    /// The handlers' reports, without a lock for the many tasks that never make one.
    fn progress(&self) -> Option<MutexGuard<'_, ProgressState>> {
        let live = self.live.get()?;
        Some(live.progress.lock().expect("no one panics while holding the progress"))
    }

    fn progress_mut(&self) -> MutexGuard<'_, ProgressState> {
        self.live().progress.lock().expect("no one panics while holding the progress")
    }
}

impl fmt::Debug for TaskRecord {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "task {} of {}", self.id, self.new.function)
    }
}

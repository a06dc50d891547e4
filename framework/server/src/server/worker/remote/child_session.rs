//! One process of the server that is a worker: what its session and whoever has started it tell each other.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// The last lines of stderr that the error of a lost attempt shows.
const LAST_LINES: usize = 8;
/// The beginning of an attempt is read at most so long after the lines that it has written.
const LATE: Duration = Duration::from_millis(500);

/// What is to become of a process; one that was said stays or grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum ChildOrder {
    #[default]
    Serve,
    /// It has its last task, and another one is to take its place.
    Replace,
    /// It is to end now, and is killed if it does not.
    End,
    /// It is to be killed.
    Kill,
}

/// A process of the server that is a worker: what its session and whoever has started it tell each other.
#[derive(Debug, Default)]
pub(crate) struct ChildProcess {
    order: watch::Sender<ChildOrder>,
    /// It has said that it goes, or the server has had it ended.
    is_end_wanted: AtomicBool,
    /// It has ended an attempt.
    has_worked: AtomicBool,
    /// Why it was killed, if not because of its task.
    reason: Mutex<Option<String>>,
    /// What it has last written to stderr since its attempt began, or shortly before that was read.
    lines: Mutex<VecDeque<(Instant, String)>>,
}

/// The session of such a process.
pub(super) struct ChildSession {
    pub(super) number: u64,
    process: Arc<ChildProcess>,
    tasks: Option<u32>,
    /// The process before it that still runs its last task: this one is ready, and waits.
    before: Option<u64>,
}

impl ChildProcess {
    /// Says what is to become of it; `false` if that was said before.
    fn order(&self, order: ChildOrder) -> bool {
        self.order.send_if_modified(|current| {
            let is_more = *current < order;
            *current = order.max(*current);
            is_more
        })
    }

    /// Has it ended; `false` if it was told so before.
    pub(super) fn end(&self, order: ChildOrder) -> bool {
        self.is_end_wanted.store(true, Ordering::Release);
        self.order(order)
    }

    /// What is to become of it.
    pub(crate) fn orders(&self) -> watch::Receiver<ChildOrder> {
        self.order.subscribe()
    }

    /// Whether it has said that it goes, or the server has had it ended.
    pub(crate) fn is_end_wanted(&self) -> bool {
        self.is_end_wanted.load(Ordering::Acquire)
    }

    /// Whether it has ended an attempt.
    pub(crate) fn has_worked(&self) -> bool {
        self.has_worked.load(Ordering::Acquire)
    }

    fn lines(&self) -> MutexGuard<'_, VecDeque<(Instant, String)>> {
        self.lines.lock().expect("no panic while the lines of a process are locked")
    }

    /// Notes a line that it has written to stderr, unless it belongs to a backtrace, which stands behind its
    /// message and is longer than what is kept.
    pub(crate) fn add_line(&self, line: &str) {
        if is_of_backtrace(line) {
            return;
        }
        let mut lines = self.lines();
        if lines.len() == LAST_LINES {
            lines.pop_front();
        }
        lines.push_back((Instant::now(), line.trim_start().to_owned()));
    }

    /// The error of an attempt that was lost with it; `end` is how it ended, such as `was ended by signal 9`.
    pub(crate) fn lost(&self, end: &str) -> String {
        if let Some(reason) = self.reason.lock().expect("no panic while the reason is locked").take() {
            return reason;
        }
        let lines = self.lines();
        let lines = lines.iter().map(|(_, line)| &**line).collect::<Vec<_>>().join(" / ");
        let separator = if lines.is_empty() { "" } else { ": " };
        format!("The process of the attempt {end}{separator}{}.", lines.trim_end_matches('.'))
    }
}

/// Whether a line is one of the backtraces that Rust prints (`RUST_BACKTRACE`): a heading, the number and
/// name of a function, or its place.
fn is_of_backtrace(line: &str) -> bool {
    let text = line.trim_start();
    let is_numbered = text.split_once(": ").is_some_and(|(number, _)| number.parse::<u16>().is_ok());
    let is_indented = text.len() < line.len();
    text == "stack backtrace:"
        || is_indented && (is_numbered || text.starts_with("at "))
        || text.starts_with("note: Some details are omitted")
        || text.starts_with("note: run with `RUST_BACKTRACE=")
}

impl ChildSession {
    pub(super) fn new(
        number: u64,
        process: Arc<ChildProcess>,
        tasks: Option<u32>,
        before: Option<u64>,
    ) -> Self {
        Self { number, process, tasks, before }
    }

    pub(super) fn process(&self) -> Arc<ChildProcess> {
        self.process.clone()
    }

    /// The most tasks that it may be given now.
    pub(super) fn room(&self) -> u32 {
        if self.before.is_some() { 0 } else { self.tasks.unwrap_or(u32::MAX) }
    }

    /// Notes that it was given a task.
    pub(super) fn assigned(&mut self) {
        if let Some(tasks) = &mut self.tasks {
            *tasks = tasks.saturating_sub(1);
            if *tasks == 0 {
                self.process.order(ChildOrder::Replace);
            }
        }
    }

    /// Notes that an attempt begins. The message of a crash may have been read before the beginning of the
    /// attempt that has crashed.
    pub(super) fn begins(&self) {
        self.process.lines().retain(|(at, _)| at.elapsed() < LATE);
    }

    /// Notes that its attempts have ended; its number if they were its last ones.
    pub(super) fn finished(&mut self) -> Option<u64> {
        self.process.has_worked.store(true, Ordering::Release);
        (self.tasks == Some(0)).then_some(self.number)
    }

    /// Notes that it has said that it goes.
    pub(super) fn left(&self) {
        self.process.is_end_wanted.store(true, Ordering::Release);
    }

    /// Has it killed, for this reason.
    pub(super) fn kill(&self, reason: &str) {
        *self.process.reason.lock().expect("no panic while the reason is locked") = Some(reason.to_owned());
        self.process.end(ChildOrder::Kill);
    }

    /// Notes that its connection has ended, without which it is of no use.
    pub(super) fn disconnected(&self) {
        self.process.order(ChildOrder::End);
    }

    /// Notes that the last task of another process has ended, for which it may have waited.
    pub(super) fn has_ended(&mut self, other: u64) {
        self.before.take_if(|before| *before == other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_says_the_message_and_not_its_backtrace() {
        let process = ChildProcess::default();
        process.add_line("memory allocation of 64 bytes failed");
        process.add_line("stack backtrace:");
        for number in 0..20 {
            process.add_line(&format!("  {number:>2}: std::alloc::rust_oom"));
            process.add_line("             at /rustc/library/std/src/alloc.rs:364:9");
        }
        process.add_line(
            "note: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.",
        );
        let expected = "The process of the attempt was killed: memory allocation of 64 bytes failed.";
        assert_eq!(process.lost("was killed"), expected);
    }

    #[test]
    fn lost_says_the_last_lines() {
        let process = ChildProcess::default();
        (0..10).for_each(|number| process.add_line(&format!("line {number}: at work")));
        let lost = process.lost("has ended");
        assert!(
            lost.contains("has ended: line 2: at work / line 3") && lost.ends_with("line 9: at work."),
            "{lost}"
        );
    }
}

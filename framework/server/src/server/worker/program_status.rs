//! What became of the processes that the server starts as its workers.

use std::process::ExitStatus;
use std::sync::Mutex;
use std::time::Duration;

use framework_protocol::views::ProgramInfo;
use tokio::sync::watch;
use tokio::time::Instant;

/// The pause before a process is started again: at first, and at most.
pub(super) const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
/// A process that has run for so long has begun well: the next pause is the first one again.
pub(super) const STEADY_TIME: Duration = Duration::from_secs(10);
/// The time for the last lines of a process that has ended.
pub(super) const LAST_LINES: Duration = Duration::from_millis(500);

/// Some processes of one program, and what became of them.
pub(super) struct ProgramStatus {
    pub(super) name: String,
    command: String,
    count: u32,
    state: Mutex<ProgramState>,
}

#[derive(Default)]
struct ProgramState {
    running: u32,
    restarts: u64,
    last_exit: Option<String>,
    /// Why it cannot be started.
    error: Option<String>,
}

impl ProgramStatus {
    /// `count` processes of a command, none of which has begun.
    pub(super) fn new(name: String, command: String, count: u32) -> Self {
        Self { name, command, count, state: Mutex::default() }
    }

    fn change<T>(&self, change: impl FnOnce(&mut ProgramState) -> T) -> T {
        change(&mut self.state.lock().expect("no panic while the state of a program is locked"))
    }

    /// Notes that a process has begun.
    pub(super) fn began(&self) {
        self.change(|state| {
            state.running += 1;
            state.error = None;
        });
    }

    /// Notes how a process has ended.
    pub(super) fn ended(&self, end: &str) {
        self.change(|state| {
            state.running -= 1;
            state.last_exit = Some(end.to_owned());
        });
    }

    /// Notes that a process is started again.
    pub(super) fn restarts(&self) {
        self.change(|state| state.restarts += 1);
    }

    /// Notes why it cannot be started; `true` if that is new.
    pub(super) fn failed(&self, reason: String) -> bool {
        self.change(|state| state.error.replace(reason) != state.error)
    }

    pub(super) fn describe(&self) -> ProgramInfo {
        self.change(|state| ProgramInfo {
            name: self.name.clone(),
            command: self.command.clone(),
            count: self.count,
            running: state.running,
            restarts: state.restarts,
            last_exit: state.last_exit.clone(),
            error: state.error.clone(),
        })
    }
}

/// How a process has ended, such as `exit code 1`.
pub(super) fn describe_exit(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exit code {code}"),
        None => status.to_string(),
    }
}

/// Waits until all are to end; the time up to which they may do so by themselves.
pub(super) async fn stopped(stop: &mut watch::Receiver<Option<Instant>>) -> Instant {
    match stop.wait_for(Option::is_some).await {
        Ok(deadline) => deadline.unwrap_or_else(Instant::now),
        Err(_) => Instant::now(),
    }
}

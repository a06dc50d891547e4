//! Programs that a test runs to their end, within a time.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::watchdog;

/// The bound on a program that a test waits for.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(180);

/// The exit code and the output of a program that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Runs a program to its end, without input.
    #[track_caller]
    pub(crate) fn of(command: &mut Command) -> Self {
        Self::within(PROGRAM_TIMEOUT, command)
    }

    /// Runs a program that may take longer.
    #[track_caller]
    pub(crate) fn within(time: Duration, command: &mut Command) -> Self {
        watchdog::watch();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::finish_within(time, command.spawn().unwrap())
    }

    /// Waits for the end of a program that was started; reads those of its outputs that are pipes.
    #[track_caller]
    pub(crate) fn finish(child: Child) -> Self {
        Self::finish_within(PROGRAM_TIMEOUT, child)
    }

    /// Likewise, for a program that may take longer.
    #[track_caller]
    pub(super) fn finish_within(time: Duration, mut child: Child) -> Self {
        let deadline = Instant::now() + time;
        // As `Child::wait` does: one that reads to the end of its input would not end.
        drop(child.stdin.take());
        let outputs = [child.stdout.take().map(Output::of), child.stderr.take().map(Output::of)];
        let is_read = outputs.iter().flatten().all(|output| output.is_read_by(deadline));
        let status = if is_read { wait_until(&mut child, deadline) } else { None };
        let [stdout, stderr] = outputs.map(|output| output.map(|output| output.text()).unwrap_or_default());
        let Some(status) = status else {
            kill(&mut child);
            panic!("a program has not ended within {time:?}\nstdout:\n{stdout}\nstderr:\n{stderr}");
        };
        Self { code: status.code(), stdout, stderr }
    }

    /// Checks the exit code, and shows everything when it is another.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// The standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Waits for the end of a child; one that outlives its time is killed, and the test fails.
#[track_caller]
pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    let status = wait_until(child, Instant::now() + PROGRAM_TIMEOUT);
    status.unwrap_or_else(|| {
        let line = fs::read_to_string(format!("/proc/{}/cmdline", child.id())).unwrap_or_default();
        kill(child);
        panic!("a program has not ended within {PROGRAM_TIMEOUT:?}: {}", line.replace('\0', " "));
    })
}

fn wait_until(child: &mut Child, deadline: Instant) -> Option<ExitStatus> {
    loop {
        let status = child.try_wait().unwrap();
        if status.is_some() || Instant::now() >= deadline {
            return status;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Copies a program by another process: a file that this one has open for writing cannot be executed, also
/// not while a child of another test still holds it open.
pub(crate) fn install(from: &Path, to: &Path) {
    Ran::of(Command::new("install").args(["-m", "755"]).args([from, to])).exits(0);
}

/// Makes a named pipe.
pub(crate) fn make_fifo(path: &Path) {
    Ran::of(Command::new("mkfifo").arg(path)).exits(0);
}

/// Kills a child that may have ended.
pub(crate) fn kill(child: &mut Child) {
    let _ = child.kill();
    child.wait().unwrap();
}

/// A pipe that a thread reads, so that its writer never waits for a reader.
struct Output {
    bytes: Arc<Mutex<Vec<u8>>>,
    /// Disconnected at the end of the pipe.
    end: Receiver<()>,
}

impl Output {
    fn of(mut pipe: impl Read + Send + 'static) -> Self {
        let (sender, end) = channel();
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let read = bytes.clone();
        thread::spawn(move || {
            let _sender: std::sync::mpsc::Sender<()> = sender;
            let mut buffer = [0; 16 << 10];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                read.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        Self { bytes, end }
    }

    /// Waits for the end of the pipe; `false` when it has not come in time.
    fn is_read_by(&self, deadline: Instant) -> bool {
        let time = deadline.saturating_duration_since(Instant::now());
        self.end.recv_timeout(time) == Err(RecvTimeoutError::Disconnected)
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes.lock().unwrap().clone()).unwrap()
    }
}

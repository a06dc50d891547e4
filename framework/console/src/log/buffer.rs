//! The buffer between logging threads and the thread that writes the file, or stderr.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use super::file::LogFile;

/// Lines of many threads in one order. Adding a line never waits for the disk or a terminal.
#[derive(Clone)]
pub(super) struct LogBuffer(Arc<Inner>);

struct Inner {
    /// The size in bytes beyond which lines are dropped and counted.
    capacity: usize,
    /// The time that the last lines may take to be written.
    patience: Duration,
    state: Mutex<BufferState>,
    /// Notified when there is work for the writer thread.
    work: Condvar,
    /// Notified when the writer thread has written.
    done: Condvar,
}

#[derive(Default)]
struct BufferState {
    lines: Vec<u8>,
    dropped: u64,
    request: Option<FlushRequest>,
    is_closed: bool,
    /// Whether the writer thread is writing lines that it has taken.
    is_writing: bool,
    /// Whether the writer thread has ended.
    has_ended: bool,
}

/// An action on the file, before the next lines are written.
#[derive(Clone, Copy)]
enum FlushRequest {
    Reopen,
    TakeStreams,
}

/// The thread that writes; dropping it writes the rest, as far as that takes no longer than the buffer's
/// patience.
pub(super) struct WriterThread {
    buffer: LogBuffer,
    thread: Option<JoinHandle<()>>,
}

impl LogBuffer {
    /// Starts the writer thread; `own_line` formats a line of the log about itself.
    ///
    /// # Errors
    /// The system refuses to start a thread.
    pub(super) fn open(
        file: LogFile,
        capacity: usize,
        patience: Duration,
        own_line: impl Fn(&str) -> Vec<u8> + Send + 'static,
    ) -> Result<(Self, WriterThread)> {
        let (state, work, done) = (Mutex::default(), Condvar::new(), Condvar::new());
        let buffer = Self(Arc::new(Inner { capacity, patience, state, work, done }));
        let writer = buffer.clone();
        let thread = thread::Builder::new().name("log".to_owned()).spawn(move || writer.run(file, own_line));
        let thread = thread.context("starting the thread that writes the log")?;
        Ok((buffer.clone(), WriterThread { buffer, thread: Some(thread) }))
    }

    fn state(&self) -> MutexGuard<'_, BufferState> {
        self.0.state.lock().expect("no code panics while holding the state of the log")
    }

    /// Adds whole lines.
    pub(super) fn add(&self, lines: &[u8]) {
        let mut state = self.state();
        if state.lines.len() + lines.len() > self.0.capacity {
            state.dropped += memchr::memchr_iter(b'\n', lines).count() as u64;
        } else {
            state.lines.extend_from_slice(lines);
        }
        self.0.work.notify_one();
    }

    fn request(&self, request: FlushRequest) {
        self.state().request = Some(request);
        self.0.work.notify_one();
    }

    /// Waits until every line so far is written, or counted as lost, and no longer than the patience.
    fn flush(&self) {
        drop(self.wait_while(|state| state.has_work() || state.is_writing));
    }

    fn wait_while(&self, is_busy: impl Fn(&BufferState) -> bool) -> MutexGuard<'_, BufferState> {
        let is_busy = |state: &mut BufferState| is_busy(state) && !state.has_ended;
        let waited = self.0.done.wait_timeout_while(self.state(), self.0.patience, is_busy);
        waited.expect("no code panics while holding the state of the log").0
    }

    fn run(self, mut file: LogFile, own_line: impl Fn(&str) -> Vec<u8>) {
        let mut lines = Vec::new();
        while let Some((dropped, request)) = self.take(&mut lines) {
            let result = match request {
                // Earlier lines belong in the earlier file.
                Some(FlushRequest::Reopen) => {
                    file.write(&lines, dropped, SystemTime::now(), &own_line);
                    lines.clear();
                    file.reopen()
                }
                Some(FlushRequest::TakeStreams) => {
                    file.take_streams().context("redirecting stdout and stderr")
                }
                None => Ok(()),
            };
            if let Err(error) = result {
                lines.extend(own_line(&format!("the log file stays as it is: {error:#}")));
            }
            if !lines.is_empty() || dropped > 0 {
                file.write(&lines, dropped, SystemTime::now(), &own_line);
            }
            lines.clear();
            lines.shrink_to(1 << 20);
        }
        self.state().has_ended = true;
        self.0.done.notify_all();
    }

    /// Waits for work and takes it: the lines, the number of dropped ones, and a request; `None` once the
    /// buffer is closed and empty.
    fn take(&self, lines: &mut Vec<u8>) -> Option<(u64, Option<FlushRequest>)> {
        let mut state = self.state();
        state.is_writing = false;
        self.0.done.notify_all();
        while !state.has_work() {
            if state.is_closed {
                return None;
            }
            state = self.0.work.wait(state).expect("no code panics while holding the state of the log");
        }
        state.is_writing = true;
        std::mem::swap(lines, &mut state.lines);
        Some((std::mem::take(&mut state.dropped), state.request.take()))
    }
}

impl BufferState {
    fn has_work(&self) -> bool {
        !self.lines.is_empty() || self.dropped > 0 || self.request.is_some()
    }
}

impl Write for &LogBuffer {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.add(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The text that a command prints to stderr beside the log: with the log's lines as long as there is a thread
/// that writes these, and directly afterwards, unless stderr stood still by then.
pub(super) struct ConsoleWriter(pub(super) LogBuffer);

impl Write for ConsoleWriter {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let state = self.0.state();
        let (is_closed, has_ended) = (state.is_closed, state.has_ended);
        drop(state);
        match (is_closed, has_ended) {
            (false, _) => self.0.add(text),
            (true, true) => io::stderr().write_all(text)?,
            (true, false) => {}
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl WriterThread {
    pub(super) fn reopen(&self) {
        self.buffer.request(FlushRequest::Reopen);
    }

    pub(super) fn flush(&self) {
        self.buffer.flush();
    }

    pub(super) fn take_streams(&self) {
        self.buffer.request(FlushRequest::TakeStreams);
        self.buffer.flush();
    }
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        self.buffer.state().is_closed = true;
        self.buffer.0.work.notify_one();
        // A thread that waits for a disk or a reader which stands still ends with the process.
        if self.buffer.wait_while(|_| true).has_ended {
            // A panic of the thread has been reported by the panic hook.
            let _ = self.thread.take().map(JoinHandle::join);
        }
    }
}

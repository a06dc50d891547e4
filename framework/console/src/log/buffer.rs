//! What is to be logged on its way to the file: gathered in memory, written by a thread of its own.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

use anyhow::{Context, Result};

use super::file::LogFile;

/// Lines of many threads in one order. Nobody who adds one ever waits for a disk.
#[derive(Clone)]
pub(super) struct LogBuffer(Arc<Inner>);

struct Inner {
    /// More bytes than these are dropped, and counted.
    most: usize,
    desk: Mutex<BufferState>,
    /// Rung for the thread that writes.
    work: Condvar,
    /// Rung when it has written.
    done: Condvar,
}

#[derive(Default)]
struct BufferState {
    page: Vec<u8>,
    dropped: u64,
    wish: Option<FlushRequest>,
    is_closed: bool,
    /// Whether the thread is at it.
    is_writing: bool,
}

/// What is to be done with the file before the next page.
#[derive(Clone, Copy)]
enum FlushRequest {
    Reopen,
    TakeStreams,
}

/// The thread that writes; dropping it writes what is left.
pub(super) struct WriterThread {
    book: LogBuffer,
    thread: Option<JoinHandle<()>>,
}

impl LogBuffer {
    /// Starts to write; `tell` makes a line of what the log has to say of itself.
    pub(super) fn open(
        file: LogFile,
        most: usize,
        tell: impl Fn(&str) -> Vec<u8> + Send + 'static,
    ) -> Result<(Self, WriterThread)> {
        let (desk, work, done) = (Mutex::default(), Condvar::new(), Condvar::new());
        let book = Self(Arc::new(Inner { most, desk, work, done }));
        let writer = book.clone();
        let thread = thread::Builder::new().name("log".to_owned()).spawn(move || writer.run(file, tell));
        let thread = thread.context("starting the thread that writes the log")?;
        Ok((book.clone(), WriterThread { book, thread: Some(thread) }))
    }

    fn desk(&self) -> MutexGuard<'_, BufferState> {
        self.0.desk.lock().expect("no one panics while holding the log's desk")
    }

    /// Adds whole lines.
    pub(super) fn add(&self, lines: &[u8]) {
        let mut desk = self.desk();
        if desk.page.len() + lines.len() > self.0.most {
            desk.dropped += memchr::memchr_iter(b'\n', lines).count() as u64;
        } else {
            desk.page.extend_from_slice(lines);
        }
        self.0.work.notify_one();
    }

    fn wish(&self, wish: FlushRequest) {
        self.desk().wish = Some(wish);
        self.0.work.notify_one();
    }

    fn flush(&self) {
        let mut desk = self.desk();
        while desk.has_work() || desk.is_writing {
            desk = self.0.done.wait(desk).expect("no one panics while holding the log's desk");
        }
    }

    fn run(self, mut file: LogFile, tell: impl Fn(&str) -> Vec<u8>) {
        let mut page = Vec::new();
        loop {
            let (dropped, wish) = {
                let mut desk = self.desk();
                desk.is_writing = false;
                self.0.done.notify_all();
                while !desk.has_work() {
                    if desk.is_closed {
                        return;
                    }
                    desk = self.0.work.wait(desk).expect("no one panics while holding the log's desk");
                }
                desk.is_writing = true;
                std::mem::swap(&mut page, &mut desk.page);
                (std::mem::take(&mut desk.dropped), desk.wish.take())
            };
            let wished = match wish {
                // What was logged before belongs into the file from before.
                Some(FlushRequest::Reopen) => {
                    file.write(&page, dropped, SystemTime::now(), &tell);
                    page.clear();
                    file.reopen()
                }
                Some(FlushRequest::TakeStreams) => file.take_streams().context("directing stdout and stderr"),
                None => Ok(()),
            };
            if let Err(error) = wished {
                page.extend(tell(&format!("the log file stays as it is: {error:#}")));
            }
            if !page.is_empty() || dropped > 0 {
                file.write(&page, dropped, SystemTime::now(), &tell);
            }
            page.clear();
            page.shrink_to(1 << 20);
        }
    }
}

impl BufferState {
    fn has_work(&self) -> bool {
        !self.page.is_empty() || self.dropped > 0 || self.wish.is_some()
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

impl WriterThread {
    pub(super) fn reopen(&self) {
        self.book.wish(FlushRequest::Reopen);
    }

    pub(super) fn flush(&self) {
        self.book.flush();
    }

    pub(super) fn take_streams(&self) {
        self.book.wish(FlushRequest::TakeStreams);
        self.book.flush();
    }
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        self.book.desk().is_closed = true;
        self.book.0.work.notify_one();
        // A thread that panicked has said so on stderr.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

//! What has gone over one socket so far, and what it has not taken yet.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Counted by whoever reads and writes, looked at by anybody; nobody waits for anybody.
#[derive(Debug)]
pub(crate) struct Traffic {
    began: Instant,
    /// When the last byte went, either way; in milliseconds from the beginning.
    last_ms: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    /// Bytes of the last write that were not taken.
    left: AtomicUsize,
    /// Bytes that come after those, held back by what makes messages of them.
    behind: AtomicUsize,
}

impl Traffic {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            last_ms: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            left: AtomicUsize::new(0),
            behind: AtomicUsize::new(0),
        }
    }

    /// So many bytes came from the socket.
    pub(super) fn add_read(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
        self.touch();
    }

    /// So many bytes went to the socket.
    pub(super) fn add_written(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
        self.touch();
    }

    /// A write has left over so many bytes.
    pub(super) fn set_unsent(&self, bytes: usize) {
        self.left.store(bytes, Ordering::Relaxed);
    }

    /// So many bytes wait to be written, and nobody has tried yet.
    pub(crate) fn set_buffered(&self, bytes: usize) {
        self.behind.store(bytes, Ordering::Relaxed);
    }

    fn touch(&self) {
        self.last_ms.store(milliseconds(self.began.elapsed()), Ordering::Relaxed);
    }

    /// How many bytes came and went: those of the socket, with all that TLS adds to what it carries.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.bytes_in.load(Ordering::Relaxed), self.bytes_out.load(Ordering::Relaxed))
    }

    /// How many bytes wait for the socket to take them.
    pub(crate) fn waiting(&self) -> usize {
        self.left.load(Ordering::Relaxed) + self.behind.load(Ordering::Relaxed)
    }

    /// How long there is a connection, and how long nothing has gone over it, in milliseconds.
    pub(crate) fn ages_ms(&self) -> (u64, u64) {
        let age = milliseconds(self.began.elapsed());
        (age, age.saturating_sub(self.last_ms.load(Ordering::Relaxed)))
    }
}

fn milliseconds(time: Duration) -> u64 {
    time.as_millis() as u64
}

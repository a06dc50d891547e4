//! The bytes that one socket has transferred, and those that wait to be written.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The counters of one socket, updated by its session and read by others without a lock.
#[derive(Debug)]
pub(crate) struct Traffic {
    began: Instant,
    /// The time of the last byte in either direction, in milliseconds from the beginning.
    last_ms: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    /// Bytes of the last write that the socket did not accept.
    unsent: AtomicUsize,
    /// Bytes behind those in the buffers of the protocol.
    buffered: AtomicUsize,
}

impl Traffic {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            last_ms: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            unsent: AtomicUsize::new(0),
            buffered: AtomicUsize::new(0),
        }
    }

    /// Counts bytes read from the socket.
    pub(super) fn add_read(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
        self.touch();
    }

    /// Counts bytes written to the socket.
    pub(super) fn add_written(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
        self.touch();
    }

    /// Notes the bytes that the last write left over.
    pub(super) fn set_unsent(&self, bytes: usize) {
        self.unsent.store(bytes, Ordering::Relaxed);
    }

    /// Notes the bytes that wait in front of the socket.
    pub(crate) fn set_buffered(&self, bytes: usize) {
        self.buffered.store(bytes, Ordering::Relaxed);
    }

    fn touch(&self) {
        self.last_ms.store(milliseconds(self.began.elapsed()), Ordering::Relaxed);
    }

    /// The bytes read and written, counted at the socket, with all that TLS adds.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.bytes_in.load(Ordering::Relaxed), self.bytes_out.load(Ordering::Relaxed))
    }

    /// The bytes that wait for the socket to accept them.
    pub(crate) fn waiting(&self) -> usize {
        self.unsent.load(Ordering::Relaxed) + self.buffered.load(Ordering::Relaxed)
    }

    /// The age of the connection and the time since its last byte, in milliseconds.
    pub(crate) fn ages_ms(&self) -> (u64, u64) {
        let age = milliseconds(self.began.elapsed());
        (age, age.saturating_sub(self.last_ms.load(Ordering::Relaxed)))
    }
}

fn milliseconds(time: Duration) -> u64 {
    time.as_millis() as u64
}

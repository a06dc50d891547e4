//! A connection as the protocol of another system sees it: bytes, without a socket.

use std::future::pending;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::ForeignProtocol;
use super::tasks::ForeignTasks;
use crate::server::metrics::Limit;
use crate::server::poll::raised;
use crate::server::session::linger::linger;
use crate::server::session::state::Session;
use crate::server::stream::Stream;

/// The interval between looks at whether a client is still there of which no more can be read.
const GONE_CHECK: Duration = Duration::from_secs(1);
/// The room that is made for each read, in bytes.
const READ_SIZE: usize = 16 * 1024;

/// A connection that is accepted, within all limits, and decrypted.
pub struct ForeignConnection<'a> {
    session: &'a mut Session,
    stream: Stream,
    tasks: ForeignTasks,
    closed: watch::Receiver<bool>,
    last: Instant,
}

/// What a read has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// More bytes are in the buffer.
    Bytes,
    /// The server stops or is reloaded: nothing new is to begin. Reads go on so that what is held can be
    /// ended. Comes once.
    Stopping,
    /// No more bytes will come.
    Closed,
}

impl<'a> ForeignConnection<'a> {
    pub(super) fn new(session: &'a mut Session, stream: Stream, protocol: &dyn ForeignProtocol) -> Self {
        let tasks = ForeignTasks::new(session, protocol);
        let closed = session.context.service.held.closed();
        Self { session, stream, tasks, closed, last: Instant::now() }
    }

    /// The tasks that the client makes, takes and ends.
    pub fn tasks(&self) -> &ForeignTasks {
        &self.tasks
    }

    /// The longest body of a task, in bytes (`package_max_length`).
    pub fn max_length(&self) -> usize {
        self.session.context.limits.package_max_length
    }

    /// Notes that a body was longer than that.
    pub fn note_too_long(&self) {
        self.session.context.metrics.limits.hit(Limit::PackageMaxLength);
    }

    /// The most tasks that the client may hold (`max_in_flight`).
    pub fn max_held(&self) -> usize {
        self.session.context.limits.max_in_flight
    }

    /// The most queues that all clients of its protocol may name (`max_foreign_queues`).
    pub fn max_queues(&self) -> usize {
        self.session.context.limits.max_foreign_queues
    }

    /// The time that a client has for its first command (`auth_timeout`).
    pub fn auth_timeout(&self) -> Duration {
        self.session.context.limits.auth_timeout
    }

    /// The number of connections at the moment, and since the start.
    pub fn connections(&self) -> (usize, u64) {
        let counts = &self.session.context.metrics.connections;
        (counts.current.load(Ordering::Relaxed), counts.total.load(Ordering::Relaxed))
    }

    /// Reads into the buffer. May be cancelled.
    ///
    /// # Errors
    /// The connection breaks.
    pub async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<Input> {
        let idle = self.idle_end();
        let Self { session, stream, closed, .. } = self;
        let is_reading = session.reading.is_some();
        buffer.reserve(READ_SIZE);
        let mut stop = session.stop.clone();
        tokio::select! {
            biased;
            () = raised(&mut stop), if is_reading => {
                session.reading = None;
                Ok(Input::Stopping)
            }
            read = stream.read_buf(buffer) => {
                self.last = Instant::now();
                Ok(if read? == 0 { Input::Closed } else { Input::Bytes })
            }
            () = raised(closed) => Ok(Input::Closed),
            () = until(idle) => {
                session.context.metrics.limits.hit(Limit::HeartbeatIdleTime);
                Ok(Input::Closed)
            }
        }
    }

    /// When the silence of the client is too long; `None` while it holds a task.
    fn idle_end(&self) -> Option<Instant> {
        let limit = self.session.idle_time();
        let is_limited = !limit.is_zero() && self.tasks.held_by().0 == 0;
        is_limited.then(|| self.last + limit)
    }

    /// Waits until the client is gone or the server stops, for a caller that waits for something else and has
    /// the bytes that come meanwhile put into the buffer, as many as `most`. May be cancelled.
    ///
    /// # Errors
    /// The connection breaks.
    pub async fn ended(&mut self, buffer: &mut BytesMut, most: usize) -> io::Result<Input> {
        let Self { session, stream, closed, .. } = self;
        let is_reading = session.reading.is_some();
        let mut stop = session.stop.clone();
        loop {
            let has_room = buffer.len() < most;
            if has_room {
                buffer.reserve(READ_SIZE);
            }
            tokio::select! {
                biased;
                () = raised(&mut stop), if is_reading => {
                    session.reading = None;
                    return Ok(Input::Stopping);
                }
                read = stream.read_buf(buffer), if has_room => {
                    if read? == 0 {
                        return Ok(Input::Closed);
                    }
                }
                () = raised(closed) => return Ok(Input::Closed),
                () = sleep(GONE_CHECK), if !has_room => {
                    if stream.is_half_closed() {
                        return Ok(Input::Closed);
                    }
                }
            }
            self.last = Instant::now();
        }
    }

    /// Writes all of the bytes, and leaves `output` empty. A client that does not read holds up nobody else.
    ///
    /// # Errors
    /// The connection breaks, or the server ends.
    pub async fn write(&mut self, output: &mut Vec<u8>) -> io::Result<()> {
        if output.is_empty() {
            return Ok(());
        }
        let Self { stream, closed, .. } = self;
        let write = async {
            stream.write_all(output).await?;
            stream.flush().await
        };
        tokio::select! {
            biased;
            written = write => written?,
            () = raised(closed) => return Err(io::ErrorKind::TimedOut.into()),
        }
        output.clear();
        self.last = Instant::now();
        Ok(())
    }

    /// Closes the connection, so that what was written last arrives.
    pub async fn close(mut self) {
        self.session.reading = None;
        linger(&mut self.stream, true).await;
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

//! Turns the bytes of one connection into requests, and pushes all of one read as one batch.

mod batch;
mod commands;
mod scratch;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::net::TcpStream;
use tokio::net::tcp::WriteHalf;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use self::batch::Batch;
use super::audience::Audience;
use super::connection::Connection;
use super::events::AnyEvents;
use super::outbox::{End, Outbox};
use super::queue::Queue;
use super::ready::{at_once, raised};
use super::scheduler::Scheduler;
use super::settings::ServerSettings;
use super::status::Board;
use super::waiters::Waiters;
use crate::protocol::{Code, Lines, Message, Page, Refusal, http};

/// What all sessions share.
pub(super) struct Hall {
    pub(super) settings: ServerSettings,
    pub(super) events: Arc<dyn AnyEvents>,
    pub(super) queue: Queue,
    pub(super) scheduler: Arc<Scheduler>,
    pub(super) waiters: Arc<Waiters>,
    pub(super) audience: Arc<Audience>,
    pub(super) board: Arc<Board>,
    pub(super) addresses: Vec<String>,
}

/// One connection, from its first byte to its last.
pub(super) struct Session {
    pub(super) hall: Arc<Hall>,
    pub(super) connection: Connection,
    pub(super) outbox: Arc<Outbox>,
    /// Becomes true when no more requests are to be read.
    pub(super) stop: watch::Receiver<bool>,
    /// Dropped once no request can come from here any more.
    pub(super) reading: Option<mpsc::Sender<()>>,
}

/// The parts of a session that change while it runs.
struct Flow<'a> {
    session: &'a Session,
    writer: WriteHalf<'a>,
    /// Callbacks under way.
    receiving: FuturesUnordered<BoxFuture<'static, ()>>,
    output: Vec<u8>,
    written: usize,
    /// Whether the first line, which gives away a browser, has been seen.
    greeted: bool,
}

impl Session {
    pub(super) async fn run(mut self, mut stream: TcpStream) {
        self.hall.events.connect(&self.connection).await;
        if let Err(error) = self.converse(&mut stream).await {
            tracing::debug!("{:?}: {error}", self.connection);
        }
        self.reading = None;
        self.outbox.abandon();
        self.hall.audience.leave(&self.outbox);
        drop(stream);
        self.hall.events.close(&self.connection).await;
    }

    /// Reads and answers until the peer has closed and has its answers, or cannot be served any more.
    async fn converse(&mut self, stream: &mut TcpStream) -> std::io::Result<()> {
        let mut reading = self.reading.take();
        let (mut reader, writer) = stream.split();
        let mut lines = Lines::new(self.hall.settings.package_max_length);
        let mut stop = self.stop.clone();
        // One future for all rounds, which enlists only once.
        let mut stopped = pin!(raised(&mut stop));
        let mut idle = Idle::new(self.hall.settings.heartbeat_idle_time);
        let mut flow = Flow {
            session: self,
            writer,
            receiving: FuturesUnordered::new(),
            output: Vec::new(),
            written: 0,
            greeted: false,
        };
        loop {
            flow.flush()?;
            if reading.is_none() && flow.is_done() {
                return Ok(());
            }
            tokio::select! {
                biased;
                read = scratch::read(&mut reader, &mut lines), if reading.is_some() && flow.wants_input() => {
                    idle.touch();
                    let (page, end) = match read? {
                        Some(page) => (page, false),
                        None => (Page { bytes: lines.finish().unwrap_or_default(), overflow: false }, true),
                    };
                    let welcome = flow.greet(&page);
                    if welcome {
                        flow.take_in(page).await?;
                    }
                    if end || !welcome {
                        flow.receive_all().await?;
                        reading = None;
                    }
                }
                ready = flow.writer.writable(), if !flow.output.is_empty() => ready?,
                () = self.outbox.changed() => idle.touch(),
                Some(()) = flow.receiving.next(), if !flow.receiving.is_empty() => {}
                () = &mut stopped, if reading.is_some() => {
                    flow.receive_all().await?;
                    reading = None;
                }
                () = idle.over(), if flow.is_done() => return Ok(()),
            }
        }
    }
}

impl Flow<'_> {
    /// Turns away who begins with HTTP: any page that a browser shows could send tasks in its name otherwise.
    fn greet(&mut self, page: &Page) -> bool {
        if self.greeted || page.bytes.is_empty() {
            return true;
        }
        self.greeted = true;
        match Page::lines(&page.bytes).next().and_then(http::refuse) {
            Some(answer) => self.session.outbox.append(&answer),
            None => return true,
        }
        false
    }

    /// Handles the messages of one page in their order: requests in batches, raw data in callbacks.
    async fn take_in(&mut self, page: Page) -> std::io::Result<()> {
        let limit = self.session.hall.settings.package_max_length;
        let mut batch = Batch::new(&self.session.hall, &self.session.outbox, &page.bytes);
        for line in Page::lines(&page.bytes) {
            if line.len() > limit {
                batch.refuse(None, too_long(limit));
                continue;
            }
            match Message::parse(line) {
                Ok(Message::Task(request)) => batch.task(&request),
                Ok(Message::Command(request)) => batch.command(request).await,
                Ok(Message::Help) => batch.help(),
                Ok(Message::Data(data)) => {
                    batch.push().await;
                    self.receive(page.bytes.slice_ref(data)).await?;
                }
                Err(misunderstood) => batch.refuse(misunderstood.id, misunderstood.refusal),
            }
        }
        if page.overflow {
            batch.refuse(None, too_long(limit));
        }
        batch.push().await;
        Ok(())
    }

    /// Starts a callback, as soon as there are not too many under way.
    async fn receive(&mut self, data: Bytes) -> std::io::Result<()> {
        while self.receiving.len() >= self.session.hall.settings.receive_concurrency {
            self.receiving.next().await;
            self.flush()?;
        }
        let slot = self.session.outbox.open();
        let connection = self.session.connection.within(slot);
        let callback = self.session.hall.events.clone().receive(connection.clone(), data);
        let mut callback: BoxFuture<'static, ()> = Box::pin(async move {
            let result = callback.await;
            connection.close_slot(slot, result.err().as_ref());
        });
        if at_once(&mut callback).await.is_none() {
            self.receiving.push(callback);
        }
        Ok(())
    }

    /// Waits for the callbacks under way: they may still push tasks.
    async fn receive_all(&mut self) -> std::io::Result<()> {
        while self.receiving.next().await.is_some() {
            self.flush()?;
        }
        Ok(())
    }

    /// Whether another read would not make this connection hold more than it may.
    fn wants_input(&self) -> bool {
        let settings = &self.session.hall.settings;
        let (held, awaited) = self.session.outbox.load();
        held + self.output.len() - self.written < settings.output_buffer_max
            && awaited < settings.in_flight_max
    }

    fn is_done(&self) -> bool {
        self.output.is_empty() && self.receiving.is_empty() && self.session.outbox.is_settled()
    }

    /// Writes what the socket takes at once.
    fn flush(&mut self) -> std::io::Result<()> {
        loop {
            if self.output.is_empty() && self.session.outbox.collect(&mut self.output) == End::Overflowed {
                tracing::warn!("{:?} does not read its answers and is closed", self.session.connection);
                return Err(std::io::ErrorKind::TimedOut.into());
            }
            if self.output.is_empty() {
                return Ok(());
            }
            match self.writer.try_write(&self.output[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            if self.written == self.output.len() {
                self.output.clear();
                self.output.shrink_to(scratch::SIZE);
                self.written = 0;
            }
        }
    }
}

fn too_long(limit: usize) -> Refusal {
    let message = format!("The message is longer than {limit} bytes (package_max_length) and was dropped.");
    Refusal::new(Code::TooLong, message)
}

/// Ends a connection on which nothing has happened for too long.
struct Idle {
    limit: Option<Duration>,
    last: Instant,
}

impl Idle {
    /// `limit` of zero: never.
    fn new(limit: Duration) -> Self {
        Self { limit: (!limit.is_zero()).then_some(limit), last: Instant::now() }
    }

    fn touch(&mut self) {
        if self.limit.is_some() {
            self.last = Instant::now();
        }
    }

    async fn over(&self) {
        match self.limit {
            Some(limit) => tokio::time::sleep_until(self.last + limit).await,
            None => std::future::pending().await,
        }
    }
}

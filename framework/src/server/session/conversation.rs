//! Talks in lines or frames: reads, has requests pushed, and writes the answers in their order.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::io::AsyncWrite;

use super::Session;
use super::auth::AUTH;
use super::batch::Batch;
use super::decoder::{Decoder, Read};
use super::idle::Idle;
use super::scratch;
use crate::protocol::{Code, Message, Opening, Page, Refusal};
use crate::server::access::Access;
use crate::server::outbox::End;
use crate::server::ready::{at_once, raised};
use crate::server::status::Limit;
use crate::server::stream::Stream;

/// How a conversation came to its end.
pub(super) enum Turn {
    /// The peer has closed and has its answers, or nothing more is to be read.
    Over,
    /// What comes cannot be understood or is not let in, which the peer has been told.
    Broken,
    /// It has shown its token in this protocol; what came beyond that.
    Welcome(Opening, Bytes),
    /// It begins with something that is no conversation of lines or frames.
    Other(Opening, Bytes),
}

/// The parts of a session that change while it talks.
struct Flow<'a> {
    session: &'a Session,
    /// What the client may do from the next page on.
    access: Access,
    pipe: Pipe<'a>,
    /// Callbacks under way.
    receiving: FuturesUnordered<BoxFuture<'static, ()>>,
}

/// The bytes in both directions.
struct Pipe<'a> {
    stream: &'a mut Stream,
    decoder: Decoder,
    output: Vec<u8>,
    written: usize,
    /// Whether what was written may still lie within the stream.
    is_dirty: bool,
}

impl Session {
    /// Reads and answers until the peer has closed and has its answers, or cannot be served any more.
    pub(super) async fn converse(&mut self, stream: &mut Stream, known: Option<Opening>) -> io::Result<Turn> {
        let mut reading = self.reading.take();
        let mut stop = self.stop.clone();
        // One future for all rounds, which enlists only once.
        let mut stopped = pin!(raised(&mut stop));
        let mut idle = Idle::new(self.hall.settings.heartbeat_idle_time);
        let mut end = Turn::Over;
        let mut flow = Flow::new(self, stream, known);
        loop {
            flow.flush().await?;
            if reading.is_none() && flow.is_done() {
                return Ok(end);
            }
            let wants_input = reading.is_some() && flow.wants_input();
            tokio::select! {
                biased;
                read = poll_fn(|context| flow.pipe.turn(wants_input, context)),
                    if wants_input || flow.pipe.has_output() => {
                    let Some(read) = read? else { continue };
                    idle.touch();
                    let (page, is_last) = match read {
                        Read::Page(page) => (page, false),
                        Read::Closed(page) => (page, true),
                        Read::Other(opening, first) => {
                            drop(flow);
                            self.reading = reading;
                            return Ok(Turn::Other(opening, first));
                        }
                    };
                    let goes_on = flow.take_in(page).await?;
                    if !goes_on {
                        end = Turn::Broken;
                    }
                    if is_last || !goes_on {
                        flow.receive_all().await?;
                        reading = None;
                    }
                }
                () = self.outbox.changed() => idle.touch(),
                Some(()) = flow.receiving.next(), if !flow.receiving.is_empty() => {}
                () = &mut stopped, if reading.is_some() => {
                    flow.receive_all().await?;
                    reading = None;
                }
                () = idle.over(), if flow.is_done() => {
                    self.hall.board.limits.hit(Limit::HeartbeatIdleTime);
                    return Ok(Turn::Over);
                }
            }
        }
    }
}

impl<'a> Flow<'a> {
    fn new(session: &'a Session, stream: &'a mut Stream, known: Option<Opening>) -> Self {
        let decoder = Decoder::knowing(known, session.hall.settings.package_max_length);
        if known == Some(Opening::Frames) {
            session.outbox.frame();
        }
        let pipe = Pipe { stream, decoder, output: Vec::new(), written: 0, is_dirty: false };
        Self { session, access: session.access, pipe, receiving: FuturesUnordered::new() }
    }

    /// Handles the messages of one page in their order: requests in batches, raw data in callbacks. Tells whether
    /// more is to be read.
    async fn take_in(&mut self, page: Page) -> io::Result<bool> {
        let session = self.session;
        let limit = session.hall.settings.package_max_length;
        if !self.is_welcome(&page) {
            return Ok(false);
        }
        let mut batch = Batch::new(&session.hall, self.access, &session.door, &session.outbox, &page.bytes);
        for message in self.pipe.decoder.messages(&page.bytes) {
            if message.len() > limit {
                session.hall.board.limits.hit(Limit::PackageMaxLength);
                batch.refuse(None, too_long(limit));
                continue;
            }
            match Message::parse(message) {
                Ok(Message::Task(request)) => batch.task(&request),
                Ok(Message::Command(request)) if request.command == AUTH => {
                    self.access = batch.authenticate(session, request).await;
                }
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
            session.hall.board.limits.hit(Limit::PackageMaxLength);
            batch.refuse(None, too_long(limit));
        }
        if let Some(refusal) = self.pipe.decoder.broken() {
            if refusal.code == Code::TooLong {
                session.hall.board.limits.hit(Limit::PackageMaxLength);
            }
            batch.refuse(None, refusal.clone());
        }
        batch.push().await;
        Ok(self.pipe.decoder.broken().is_none())
    }

    /// Whether the door lets in what is spoken; if not, that is said.
    fn is_welcome(&self, page: &Page) -> bool {
        let Session { door, outbox, .. } = self.session;
        let is_encrypted = self.pipe.stream.is_encrypted();
        let Some(opening) = self.pipe.decoder.opening().filter(|_| !page.bytes.is_empty()) else {
            return true;
        };
        if opening == Opening::Frames {
            outbox.frame();
        }
        if !door.speaks(opening, is_encrypted) {
            outbox.refuse(&door.refusal(opening, is_encrypted));
            return false;
        }
        true
    }

    /// Starts a callback, as soon as there are not too many under way.
    async fn receive(&mut self, data: Bytes) -> io::Result<()> {
        while self.receiving.len() >= self.session.hall.settings.receive_concurrency {
            self.receiving.next().await;
            self.flush().await?;
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
    async fn receive_all(&mut self) -> io::Result<()> {
        while self.receiving.next().await.is_some() {
            self.flush().await?;
        }
        Ok(())
    }

    /// Whether another read would not make this connection hold more than it may.
    fn wants_input(&self) -> bool {
        let settings = &self.session.hall.settings;
        let (held, awaited) = self.session.outbox.load();
        held + self.pipe.left() < settings.output_buffer_max && awaited < settings.in_flight_max
    }

    fn is_done(&self) -> bool {
        !self.pipe.has_output() && self.receiving.is_empty() && self.session.outbox.is_settled()
    }

    /// Writes what the stream takes at once.
    async fn flush(&mut self) -> io::Result<()> {
        let Self { session, pipe, .. } = self;
        loop {
            if pipe.output.is_empty() && session.outbox.collect(&mut pipe.output) == End::Overflowed {
                session.hall.board.limits.hit(Limit::OutputBufferMax);
                tracing::warn!("{:?} does not read its answers and is closed", session.connection);
                return Err(io::ErrorKind::TimedOut.into());
            }
            if !pipe.has_output() {
                return Ok(());
            }
            match poll_fn(|context| Poll::Ready(pipe.poll_write(context))).await {
                Poll::Ready(written) => written?,
                Poll::Pending => return Ok(()),
            }
        }
    }
}

impl Pipe<'_> {
    /// How much is still to be written.
    fn left(&self) -> usize {
        self.output.len() - self.written
    }

    fn has_output(&self) -> bool {
        !self.output.is_empty() || self.is_dirty
    }

    /// Reads once if it is wanted, or writes on; what was read, or `None` when all is written.
    fn turn(&mut self, wants_input: bool, context: &mut Context) -> Poll<io::Result<Option<Read>>> {
        if wants_input {
            let decoder = &mut self.decoder;
            let read = scratch::poll_read(self.stream, context, |chunk| decoder.feed(chunk));
            if let Poll::Ready(read) = read {
                return Poll::Ready(read.map(Some));
            }
        }
        match self.has_output() {
            true => self.poll_write(context).map_ok(|()| None),
            false => Poll::Pending,
        }
    }

    fn poll_write(&mut self, context: &mut Context) -> Poll<io::Result<()>> {
        while self.written < self.output.len() {
            let rest = &self.output[self.written..];
            let count = ready!(Pin::new(&mut *self.stream).poll_write(context, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
            self.is_dirty = true;
        }
        self.output.clear();
        self.output.shrink_to(scratch::SIZE);
        self.written = 0;
        ready!(Pin::new(&mut *self.stream).poll_flush(context))?;
        self.is_dirty = false;
        Poll::Ready(Ok(()))
    }
}

fn too_long(limit: usize) -> Refusal {
    let message = format!("The message is longer than {limit} bytes (package_max_length) and was dropped.");
    Refusal::new(Code::TooLong, message)
}

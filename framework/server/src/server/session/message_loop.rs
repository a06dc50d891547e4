//! Reads messages, has requests pushed, and writes the replies in their order, whatever carries them.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use framework_protocol::views::Protocol;
use framework_protocol::{
    DetectedProtocol, ErrorCode, Framing, Message, MessageBatch, ParseError, RequestError,
};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::task::yield_now;
use tokio::time::sleep;

use super::decoder::Read;
use super::idle::Idle;
use super::request_group::RequestGroup;
use super::state::Session;
use super::step::SessionStep;
use super::transport::stream::StreamTransport;
use super::transport::{MessageTransport, poll_step};
use crate::server::access::{Access, Scope};
use crate::server::metrics::Limit;
use crate::server::outbox::OutboxState;
use crate::server::poll::{at_once, raised};
use crate::server::stream::Stream;

/// Replies to the requests of one read are written when they are this long, in bytes.
const WRITE_SIZE: usize = 64 * 1024;

/// The interval between checks that a peer which only waits for replies is still there.
const GONE_CHECK: Duration = Duration::from_secs(1);

/// Serves lines or frames, whichever is `known` or detected from the first bytes, until the peer has closed
/// and has its replies, or cannot be served.
pub(super) async fn run(
    session: &mut Session,
    stream: &mut Stream,
    known: Option<DetectedProtocol>,
) -> io::Result<SessionStep> {
    match known {
        Some(DetectedProtocol::Frames) => {
            session.record.speaks(Protocol::Frames);
            session.outbox.frame();
        }
        Some(_) => session.record.speaks(Protocol::Lines),
        None => {}
    }
    let limit = session.context.limits.package_max_length;
    run_over(session, &mut StreamTransport::new(stream, known, limit)).await
}

/// Serves the messages of a transport, as [`run`] does.
pub(crate) async fn run_over<T: MessageTransport>(
    session: &mut Session,
    transport: &mut T,
) -> io::Result<SessionStep> {
    let mut reading = session.reading.take();
    let mut stop = session.stop.clone();
    // One future for all rounds, which registers only once.
    let mut stopped = pin!(raised(&mut stop));
    let mut revoked = pin!(session.policy.revoked(session.access));
    let mut idle = Idle::new(session.idle_time());
    let mut end = SessionStep::Closed;
    // A worker reports the ends of its tasks after the stop, too.
    let mut is_peer_open = true;
    let mut messages = MessageLoop::new(session, transport);
    loop {
        messages.flush().await?;
        let is_worker = is_peer_open && session.outbox.is_worker();
        if reading.is_none() && !is_worker && messages.is_done() {
            return Ok(end);
        }
        let wants_input = (reading.is_some() || is_worker) && messages.wants_input();
        tokio::select! {
            biased;
            () = &mut revoked => {
                session.outbox.refuse(&Access::revoked());
                messages.flush().await?;
                return Ok(SessionStep::Revoked);
            }
            read = poll_fn(|context| poll_step(messages.transport, wants_input, context)),
                if wants_input || messages.transport.has_output() || messages.transport.has_heartbeat() => {
                let Some(read) = read? else { continue };
                idle.touch();
                let (batch, is_last) = match read {
                    Read::Messages(batch) => (batch, false),
                    Read::Closed(batch) => (batch, true),
                    Read::Gone(batch) => {
                        messages.process(batch).await?;
                        messages.poll_callbacks().await?;
                        messages.flush().await?;
                        return Ok(end);
                    }
                    Read::Other(protocol, first) => {
                        drop(messages);
                        session.reading = reading;
                        return Ok(SessionStep::ProtocolDetected(protocol, first));
                    }
                };
                let access = messages.access;
                let goes_on = messages.process(batch).await?;
                if messages.access != access {
                    revoked.set(session.policy.revoked(messages.access));
                }
                if !goes_on {
                    end = SessionStep::ProtocolError;
                }
                if is_last || !goes_on {
                    messages.poll_callbacks().await?;
                    is_peer_open = false;
                    reading = None;
                }
            }
            () = session.outbox.changed() => idle.touch(),
            Some(()) = messages.callbacks.next(), if !messages.callbacks.is_empty() => {}
            () = &mut stopped, if reading.is_some() => {
                messages.poll_callbacks().await?;
                reading = None;
            }
            () = sleep(GONE_CHECK), if reading.is_none() => {
                // Whoever shuts its sending side gets its replies; a connection that is reset gets none.
                if messages.transport.is_gone() {
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
            }
            () = idle.over(), if messages.is_done() && !is_worker => {
                session.context.metrics.limits.hit(Limit::HeartbeatIdleTime);
                return Ok(SessionStep::Closed);
            }
        }
    }
}

/// The parts of a session that change while messages are served.
struct MessageLoop<'a, T> {
    session: &'a Session,
    /// The rights from the next batch on.
    access: Access,
    transport: &'a mut T,
    /// Callbacks `on_receive` under way.
    callbacks: FuturesUnordered<BoxFuture<'static, ()>>,
}

impl<'a, T: MessageTransport> MessageLoop<'a, T> {
    fn new(session: &'a Session, transport: &'a mut T) -> Self {
        Self { session, access: session.access, transport, callbacks: FuturesUnordered::new() }
    }

    /// Handles the messages of one batch in their order: requests in groups, raw data in callbacks. Returns
    /// whether more is to be read.
    async fn process(&mut self, batch: MessageBatch) -> io::Result<bool> {
        let session = self.session;
        let limit = session.context.limits.package_max_length;
        if !self.is_allowed() {
            return Ok(false);
        }
        let caller = session.caller().with_access(self.access);
        let mut group = RequestGroup::new(&session.context.service, caller);
        for message in self.transport.framing().messages(&batch.bytes) {
            if message.len() > limit {
                session.context.metrics.limits.hit(Limit::PackageMaxLength);
                group.refuse(None, too_long(limit));
            } else if !self.handle(message, &batch.bytes, &mut group).await? {
                return Ok(false);
            }
            if group.reply_bytes() >= WRITE_SIZE {
                group.push().await;
                self.make_room().await?;
            }
        }
        if batch.overflow {
            session.context.metrics.limits.hit(Limit::PackageMaxLength);
            group.refuse(None, too_long(limit));
        }
        if let Some(error) = self.transport.broken() {
            if error.code == ErrorCode::TooLong {
                session.context.metrics.limits.hit(Limit::PackageMaxLength);
            }
            group.refuse(None, error.clone());
        }
        group.push().await;
        self.access = group.access();
        Ok(self.transport.broken().is_none())
    }

    /// Adds one message of these bytes to the group, or handles it after those of the group. Returns whether
    /// more is to be read.
    async fn handle<'m>(
        &mut self,
        message: &'m [u8],
        bytes: &Bytes,
        group: &mut RequestGroup<'m>,
    ) -> io::Result<bool> {
        match self.parse(message) {
            Ok(Message::Task(request)) => group.task(&request),
            Ok(Message::Command(request)) => {
                group.command(request).await;
                group.push().await;
                self.make_room().await?;
                // A read may hold thousands of commands; other connections take turns with them.
                yield_now().await;
            }
            Ok(Message::Help) => group.help(),
            Ok(Message::Empty) => {}
            Ok(Message::Data(data)) if self.is_http(data) => {
                group.refuse(None, http_in_lines());
                group.push().await;
                return Ok(false);
            }
            Ok(Message::Data(data)) => {
                match self.session.context.service.authorize(group.access(), Some(Scope::Send)) {
                    Ok(()) => {
                        group.push().await;
                        self.receive(bytes.slice_ref(data)).await?;
                        self.make_room().await?;
                    }
                    Err(error) => group.refuse(None, error),
                }
            }
            Err(error) => group.refuse(error.id, error.refusal),
        }
        Ok(true)
    }

    /// Checks that the listener accepts the protocol that was detected; if not, the peer is sent the error.
    fn is_allowed(&self) -> bool {
        let Session { policy, outbox, record, .. } = self.session;
        let Some(protocol) = self.transport.detected() else { return true };
        let is_framed = protocol == DetectedProtocol::Frames;
        record.speaks(if is_framed { Protocol::Frames } else { Protocol::Lines });
        if is_framed {
            outbox.frame();
        }
        let is_encrypted = self.transport.is_encrypted();
        if !policy.accepts(protocol, is_encrypted) {
            outbox.refuse(&policy.rejection(protocol, is_encrypted));
            return false;
        }
        true
    }

    /// Parses a message. An empty line is nothing, an empty frame is data.
    fn parse<'b>(&self, message: &'b [u8]) -> Result<Message<'b>, ParseError<'b>> {
        match Message::parse(message)? {
            Message::Empty if self.transport.framing() == Framing::Frames => Ok(Message::Data(message)),
            parsed => Ok(parsed),
        }
    }

    /// True when a line belongs to a request of HTTP: it has come past the checks of its origin.
    fn is_http(&self, line: &[u8]) -> bool {
        self.transport.framing() == Framing::Lines && DetectedProtocol::is_http_line(line)
    }

    /// Starts a callback, as soon as there are not too many under way.
    async fn receive(&mut self, data: Bytes) -> io::Result<()> {
        while self.callbacks.len() >= self.session.context.limits.max_concurrent_receives {
            self.callbacks.next().await;
            self.flush().await?;
        }
        let slot = self.session.outbox.open_slot();
        let connection = self.session.connection.within(slot);
        let callback = self.session.context.events.clone().receive(connection.clone(), data);
        let mut callback: BoxFuture<'static, ()> = Box::pin(async move {
            let result = callback.await;
            connection.close_slot(slot, result.err().as_ref());
        });
        if at_once(&mut callback).await.is_none() {
            self.callbacks.push(callback);
        }
        Ok(())
    }

    /// Waits for the callbacks under way: they may still push tasks.
    async fn poll_callbacks(&mut self) -> io::Result<()> {
        while self.callbacks.next().await.is_some() {
            self.flush().await?;
        }
        Ok(())
    }

    /// True while another read keeps this connection within `max_output_buffer` and `max_in_flight`.
    fn wants_input(&self) -> bool {
        let limits = &self.session.context.limits;
        let (held, awaited) = self.session.outbox.load();
        held + self.transport.left() < limits.max_output_buffer && awaited < limits.max_in_flight
    }

    /// Writes replies once there are many, until they are within `max_output_buffer`: the answers to one read
    /// may be far longer than the read.
    async fn make_room(&mut self) -> io::Result<()> {
        let outbox = &self.session.outbox;
        loop {
            let held = outbox.load().0 + self.transport.left();
            if held < WRITE_SIZE {
                return Ok(());
            }
            self.flush().await?;
            if outbox.load().0 + self.transport.left() < self.session.context.limits.max_output_buffer {
                return Ok(());
            }
            tokio::select! {
                biased;
                written = poll_fn(|context| poll_step(self.transport, false, context)) => {
                    written?;
                }
                () = outbox.changed() => {}
            }
        }
    }

    fn is_done(&self) -> bool {
        !self.transport.has_output() && self.callbacks.is_empty() && self.session.outbox.is_settled()
    }

    /// Writes what the transport takes at once.
    async fn flush(&mut self) -> io::Result<()> {
        let Self { session, transport, .. } = self;
        loop {
            if transport.output().is_empty()
                && session.outbox.collect(transport.output()) == OutboxState::Overflowed
            {
                session.context.metrics.limits.hit(Limit::MaxOutputBuffer);
                tracing::warn!("{:?} does not read its replies and is closed", session.connection);
                return Err(io::ErrorKind::TimedOut.into());
            }
            if !transport.has_output() {
                return Ok(());
            }
            match poll_fn(|context| Poll::Ready(transport.poll_write(context))).await {
                Poll::Ready(written) => written?,
                Poll::Pending => return Ok(()),
            }
        }
    }
}

fn http_in_lines() -> RequestError {
    RequestError::bad_request("This is HTTP within a connection of lines, which is closed.")
}

fn too_long(limit: usize) -> RequestError {
    let message = format!("The message is longer than {limit} bytes (package_max_length) and was dropped.");
    RequestError::too_long(message)
}

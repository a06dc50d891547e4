//! Reads messages, has requests pushed, and writes the replies in their order, whatever carries them.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use framework_protocol::views::Protocol;
use framework_protocol::{DetectedProtocol, ErrorCode, Message, MessageBatch, RequestError};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};

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
    let mut idle = Idle::new(session.context.limits.heartbeat_idle_time);
    let mut end = SessionStep::Closed;
    let mut messages = MessageLoop::new(session, transport);
    loop {
        messages.flush().await?;
        if reading.is_none() && messages.is_done() {
            return Ok(end);
        }
        let wants_input = reading.is_some() && messages.wants_input();
        tokio::select! {
            biased;
            read = poll_fn(|context| poll_step(messages.transport, wants_input, context)),
                if wants_input || messages.transport.has_output() || messages.transport.has_heartbeat() => {
                let Some(read) = read? else { continue };
                idle.touch();
                let (page, is_last) = match read {
                    Read::Page(page) => (page, false),
                    Read::Closed(page) => (page, true),
                    Read::Gone(page) => {
                        messages.process(page).await?;
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
                let goes_on = messages.process(page).await?;
                if !goes_on {
                    end = SessionStep::ProtocolError;
                }
                if is_last || !goes_on {
                    messages.poll_callbacks().await?;
                    reading = None;
                }
            }
            () = session.outbox.changed() => idle.touch(),
            Some(()) = messages.callbacks.next(), if !messages.callbacks.is_empty() => {}
            () = &mut stopped, if reading.is_some() => {
                messages.poll_callbacks().await?;
                reading = None;
            }
            () = idle.over(), if messages.is_done() => {
                session.context.metrics.limits.hit(Limit::HeartbeatIdleTime);
                return Ok(SessionStep::Closed);
            }
        }
    }
}

/// The parts of a session that change while messages are served.
struct MessageLoop<'a, T> {
    session: &'a Session,
    /// The rights from the next page on.
    access: Access,
    transport: &'a mut T,
    /// Callbacks `on_receive` under way.
    callbacks: FuturesUnordered<BoxFuture<'static, ()>>,
}

impl<'a, T: MessageTransport> MessageLoop<'a, T> {
    fn new(session: &'a Session, transport: &'a mut T) -> Self {
        Self { session, access: session.access, transport, callbacks: FuturesUnordered::new() }
    }

    /// Handles the messages of one page in their order: requests in groups, raw data in callbacks. Returns
    /// whether more is to be read.
    async fn process(&mut self, page: MessageBatch) -> io::Result<bool> {
        let session = self.session;
        let service = &session.context.service;
        let limit = session.context.limits.package_max_length;
        if !self.is_allowed(&page) {
            return Ok(false);
        }
        let caller = session.caller().with_access(self.access);
        let mut group = RequestGroup::new(service, caller, &page.bytes);
        for message in self.transport.framing().messages(&page.bytes) {
            if message.len() > limit {
                session.context.metrics.limits.hit(Limit::PackageMaxLength);
                group.refuse(None, too_long(limit));
                continue;
            }
            match Message::parse(message) {
                Ok(Message::Task(request)) => group.task(&request),
                Ok(Message::Command(request)) => group.command(request).await,
                Ok(Message::Help) => group.help(),
                Ok(Message::Data(data)) => {
                    if let Err(error) = service.authorize(group.access(), Some(Scope::Send)) {
                        group.refuse(None, error);
                        continue;
                    }
                    group.push().await;
                    self.receive(page.bytes.slice_ref(data)).await?;
                }
                Err(error) => group.refuse(error.id, error.refusal),
            }
        }
        if page.overflow {
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

    /// Checks that the listener accepts the protocol that was detected; if not, the peer is sent the error.
    fn is_allowed(&self, page: &MessageBatch) -> bool {
        let Session { policy, outbox, record, .. } = self.session;
        let Some(protocol) = self.transport.detected() else { return true };
        let is_framed = protocol == DetectedProtocol::Frames;
        record.speaks(if is_framed { Protocol::Frames } else { Protocol::Lines });
        if page.bytes.is_empty() && self.transport.broken().is_none() {
            return true;
        }
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
                session.context.metrics.limits.hit(Limit::OutputBufferMax);
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

fn too_long(limit: usize) -> RequestError {
    let message = format!("The message is longer than {limit} bytes (package_max_length) and was dropped.");
    RequestError::too_long(message)
}

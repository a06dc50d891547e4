//! The messages of one conversation on their way in, and their answers on their way out.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use bytes::Bytes;
use framework_protocol::views::Protocol;
use framework_protocol::{DetectedProtocol, ErrorCode, Message, MessageBatch, RequestError};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::MessageTransport;
use crate::server::access::{Access, Scope};
use crate::server::metrics::Limit;
use crate::server::outbox::OutboxState;
use crate::server::poll::at_once;
use crate::server::session::Session;
use crate::server::session::auth::AUTH;
use crate::server::session::request_group::RequestGroup;

/// The parts of a session that change while it talks.
pub(super) struct MessageLoop<'a, P> {
    session: &'a Session,
    /// What the client may do from the next page on.
    access: Access,
    pub(super) pipe: &'a mut P,
    /// Callbacks under way.
    pub(super) receiving: FuturesUnordered<BoxFuture<'static, ()>>,
}

impl<'a, P: MessageTransport> MessageLoop<'a, P> {
    pub(super) fn new(session: &'a Session, pipe: &'a mut P) -> Self {
        Self { session, access: session.access, pipe, receiving: FuturesUnordered::new() }
    }

    /// Handles the messages of one page in their order: requests in batches, raw data in callbacks. Tells whether
    /// more is to be read.
    pub(super) async fn process(&mut self, page: MessageBatch) -> io::Result<bool> {
        let session = self.session;
        let limit = session.context.settings.package_max_length;
        if !self.is_allowed(&page) {
            return Ok(false);
        }
        let mut batch =
            RequestGroup::new(&session.context, self.access, &session.policy, &session.outbox, &page.bytes);
        for message in self.pipe.form().messages(&page.bytes) {
            if message.len() > limit {
                session.context.metrics.limits.hit(Limit::PackageMaxLength);
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
                    if let Err(refusal) = self.access.check(Scope::Send) {
                        batch.refuse(None, refusal);
                        continue;
                    }
                    batch.push().await;
                    self.receive(page.bytes.slice_ref(data)).await?;
                }
                Err(misunderstood) => batch.refuse(misunderstood.id, misunderstood.refusal),
            }
        }
        if page.overflow {
            session.context.metrics.limits.hit(Limit::PackageMaxLength);
            batch.refuse(None, too_long(limit));
        }
        if let Some(refusal) = self.pipe.broken() {
            if refusal.code == ErrorCode::TooLong {
                session.context.metrics.limits.hit(Limit::PackageMaxLength);
            }
            batch.refuse(None, refusal.clone());
        }
        batch.push().await;
        Ok(self.pipe.broken().is_none())
    }

    /// Whether the door lets in what is spoken; if not, that is said.
    fn is_allowed(&self, page: &MessageBatch) -> bool {
        let Session { policy, outbox, record, .. } = self.session;
        let Some(opening) = self.pipe.opening() else { return true };
        record.speaks(if opening == DetectedProtocol::Frames { Protocol::Frames } else { Protocol::Lines });
        if page.bytes.is_empty() && self.pipe.broken().is_none() {
            return true;
        }
        if opening == DetectedProtocol::Frames {
            outbox.frame();
        }
        let is_encrypted = self.pipe.is_encrypted();
        if !policy.accepts(opening, is_encrypted) {
            outbox.refuse(&policy.rejection(opening, is_encrypted));
            return false;
        }
        true
    }

    /// Starts a callback, as soon as there are not too many under way.
    async fn receive(&mut self, data: Bytes) -> io::Result<()> {
        while self.receiving.len() >= self.session.context.settings.max_concurrent_receives {
            self.receiving.next().await;
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
            self.receiving.push(callback);
        }
        Ok(())
    }

    /// Waits for the callbacks under way: they may still push tasks.
    pub(super) async fn poll_callbacks(&mut self) -> io::Result<()> {
        while self.receiving.next().await.is_some() {
            self.flush().await?;
        }
        Ok(())
    }

    /// Whether another read would not make this connection hold more than it may.
    pub(super) fn wants_input(&self) -> bool {
        let settings = &self.session.context.settings;
        let (held, awaited) = self.session.outbox.load();
        held + self.pipe.left() < settings.max_output_buffer && awaited < settings.max_in_flight
    }

    pub(super) fn is_done(&self) -> bool {
        !self.pipe.has_output() && self.receiving.is_empty() && self.session.outbox.is_settled()
    }

    /// Writes what the pipe takes at once.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        let Self { session, pipe, .. } = self;
        loop {
            if pipe.output().is_empty() && session.outbox.collect(pipe.output()) == OutboxState::Overflowed {
                session.context.metrics.limits.hit(Limit::OutputBufferMax);
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

fn too_long(limit: usize) -> RequestError {
    let message = format!("The message is longer than {limit} bytes (package_max_length) and was dropped.");
    RequestError::new(ErrorCode::TooLong, message)
}

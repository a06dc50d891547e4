//! Where the answers to one HTTP request arrive, as lines.

use std::sync::Arc;

use bytes::Bytes;
use framework_protocol::{
    ErrorCode, Message, ParseError, Reply, ReplyMode, RequestError, Status, TaskRequest,
};

use super::RequestContext;
use crate::server::metrics::Limit;
use crate::server::outbox::{Outbox, OutboxState};
use crate::server::session::request_group::RequestGroup;

/// The answers to one HTTP request; what comes after its end is dropped.
pub(super) struct ReplyCollector {
    pub(super) caller: RequestContext,
    pub(super) outbox: Arc<Outbox>,
    /// Lines that have come and were not taken yet.
    lines: Bytes,
}

impl ReplyCollector {
    pub(super) fn new(caller: RequestContext) -> Self {
        let outbox = Arc::new(Outbox::new(caller.context.settings.max_output_buffer));
        caller.record.hears_from(&outbox);
        Self { caller, outbox, lines: Bytes::new() }
    }

    /// Does what a request of the wire asks for; its answers are lines.
    pub(super) async fn ask(&self, request: &Bytes) {
        let RequestContext { context, policy, access, .. } = &self.caller;
        let mut batch = RequestGroup::new(context, *access, policy, &self.outbox, request);
        match Message::parse(request) {
            Ok(Message::Task(request)) => batch.task(&request),
            Ok(Message::Command(request)) => batch.command(request).await,
            Ok(Message::Help | Message::Data(_)) => {
                batch.refuse(None, RequestError::new(ErrorCode::BadRequest, "This is no JSON."))
            }
            Err(misunderstood) => batch.refuse(misunderstood.id, misunderstood.refusal),
        }
        batch.push().await;
    }

    /// Hands over the tasks of some lines.
    pub(super) async fn ask_all<'a>(
        &self,
        page: &'a Bytes,
        lines: impl Iterator<Item = &'a [u8]>,
        limit: usize,
    ) {
        let RequestContext { context, policy, access, .. } = &self.caller;
        let mut batch = RequestGroup::new(context, *access, policy, &self.outbox, page);
        for line in lines.filter(|line| !line.trim_ascii().is_empty()) {
            match only_tasks(line, limit) {
                Ok(request) => batch.task(&request),
                Err(ParseError { id, refusal }) if refusal.code == ErrorCode::TooLong => {
                    context.metrics.limits.hit(Limit::PackageMaxLength);
                    batch.refuse(id, refusal);
                }
                Err(ParseError { id, refusal }) => batch.refuse(id, refusal),
            }
        }
        batch.push().await;
    }

    /// The next line; `None` when no more will come.
    pub(super) async fn line(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.take() {
                return Some(line);
            }
            let mut output = Vec::new();
            let end = self.outbox.collect(&mut output);
            self.lines = output.into();
            if self.lines.is_empty() {
                if end == OutboxState::Overflowed {
                    self.caller.context.metrics.limits.hit(Limit::OutputBufferMax);
                }
                if end != OutboxState::Open || self.outbox.is_settled() {
                    return None;
                }
                self.outbox.changed().await;
            }
        }
    }

    /// The answer to a request that gets exactly one.
    pub(super) async fn answer(&mut self) -> Result<(Reply, Bytes), RequestError> {
        let gone = || RequestError::new(ErrorCode::Internal, "The server gave no answer.");
        let line = self.line().await.ok_or_else(gone)?;
        let answer: Reply = serde_json::from_slice(&line).map_err(|_| gone())?;
        match answer.status {
            Status::Error => Err(answer.refusal()),
            _ => Ok((answer, line)),
        }
    }

    fn take(&mut self) -> Option<Bytes> {
        let end = memchr::memchr(b'\n', &self.lines)? + 1;
        Some(self.lines.split_to(end))
    }
}

impl Drop for ReplyCollector {
    fn drop(&mut self) {
        self.outbox.abandon();
        self.outbox.wake();
        self.caller.context.subscriptions.remove_connection(&self.outbox);
    }
}

fn only_tasks(line: &[u8], limit: usize) -> Result<TaskRequest<'_>, ParseError<'_>> {
    if line.len() > limit {
        return Err(ParseError { refusal: too_long(limit), id: None });
    }
    match Message::parse(line)? {
        Message::Task(request) => {
            let reply = request.reply.or(Some(ReplyMode::Ack));
            Ok(TaskRequest { reply, ..request })
        }
        Message::Command(request) => {
            let message = format!("Here only tasks are taken, not the command \"{}\".", request.command);
            Err(ParseError { refusal: RequestError::new(ErrorCode::BadRequest, message), id: request.id })
        }
        Message::Help | Message::Data(_) => {
            let message = "Each line is a JSON object such as {\"function\":\"NAME\",\"args\":{..}}.";
            Err(ParseError { refusal: RequestError::new(ErrorCode::BadRequest, message), id: None })
        }
    }
}

pub(super) fn too_long(limit: usize) -> RequestError {
    let message = format!("The body, or a line of it, is longer than {limit} bytes (package_max_length).");
    RequestError::new(ErrorCode::TooLong, message)
}

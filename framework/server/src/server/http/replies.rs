//! The replies to one HTTP request that come as lines.

use std::sync::Arc;

use bytes::Bytes;
use framework_protocol::{
    CommandRequest, ErrorCode, Message, ParseError, ReplyMode, RequestError, ShownName, TaskRequest,
};

use super::params::Params;
use super::request_context::RequestContext;
use crate::server::metrics::Limit;
use crate::server::outbox::{Outbox, OutboxState};
use crate::server::service::Outcome;
use crate::server::session::request_group::RequestGroup;

/// The outbox of one HTTP request. Replies that come after the end of the request are dropped.
pub(super) struct ReplyCollector {
    pub(super) context: RequestContext,
    pub(super) outbox: Arc<Outbox>,
    /// Lines that were collected and not yet taken.
    lines: Bytes,
}

impl ReplyCollector {
    pub(super) fn new(context: RequestContext) -> Self {
        let outbox = Arc::new(Outbox::new(context.session.limits.max_output_buffer));
        context.record.hears_from(&outbox);
        Self { context, outbox, lines: Bytes::new() }
    }

    /// Calls a verb with parameters as its fields.
    ///
    /// # Errors
    /// The errors of [`crate::server::service::Service::call`].
    pub(super) async fn call(&self, verb: &'static str, params: &Params) -> Result<Outcome, RequestError> {
        let request = CommandRequest::new(verb, params.fields());
        self.context.service().call(self.context.caller(&self.outbox), request).await
    }

    /// Pushes the tasks of some lines.
    pub(super) async fn push_lines<'a>(&self, lines: impl Iterator<Item = &'a [u8]>, limit: usize) {
        let caller = self.context.caller(&self.outbox);
        let mut group = RequestGroup::new(self.context.service(), caller);
        for line in lines.filter(|line| !line.trim_ascii().is_empty()) {
            match parse_task(line, limit) {
                Ok(request) => group.task(&request),
                Err(ParseError { id, refusal }) => {
                    if refusal.code == ErrorCode::TooLong {
                        self.context.session.metrics.limits.hit(Limit::PackageMaxLength);
                    }
                    group.refuse(id, refusal);
                }
            }
        }
        group.push().await;
    }

    /// The next line; `None` when no more will come.
    pub(super) async fn line(&mut self) -> Option<Bytes> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.lines) {
                return Some(self.lines.split_to(end + 1));
            }
            let mut output = Vec::new();
            let end = self.outbox.collect(&mut output);
            self.lines = output.into();
            if self.lines.is_empty() {
                if end == OutboxState::Overflowed {
                    self.context.session.metrics.limits.hit(Limit::MaxOutputBuffer);
                }
                if end != OutboxState::Open || self.outbox.is_settled() {
                    return None;
                }
                self.outbox.changed().await;
            }
        }
    }
}

impl Drop for ReplyCollector {
    fn drop(&mut self) {
        self.outbox.abandon();
        self.outbox.wake();
        self.context.service().remove_connection(&self.outbox);
    }
}

/// A line of `POST /tasks`, whose reply is the acknowledgement unless it says otherwise.
fn parse_task(line: &[u8], limit: usize) -> Result<TaskRequest<'_>, ParseError<'_>> {
    if line.len() > limit {
        return Err(ParseError { refusal: too_long(limit), id: None });
    }
    match Message::parse(line)? {
        Message::Task(request) => {
            let reply = request.reply.or(Some(ReplyMode::Ack));
            Ok(TaskRequest { reply, ..request })
        }
        Message::Command(request) => {
            let command = ShownName(&request.command);
            let message = format!("Here only tasks are taken, not the command {command}.");
            Err(ParseError { refusal: RequestError::bad_request(message), id: request.id })
        }
        Message::Help | Message::Empty | Message::Data(_) => {
            let message = "Each line is a JSON object such as {\"function\":\"NAME\",\"args\":{..}}.";
            Err(ParseError { refusal: RequestError::bad_request(message), id: None })
        }
    }
}

pub(super) fn too_long(limit: usize) -> RequestError {
    RequestError::too_long(format!(
        "The body, or a line of it, is longer than {limit} bytes (package_max_length)."
    ))
}

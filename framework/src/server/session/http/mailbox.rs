//! Where the answers to one HTTP request arrive, as lines.

use std::sync::Arc;

use bytes::Bytes;

use super::Caller;
use crate::protocol::{Answer, Code, Message, Misunderstood, Refusal, ReplyMode, Status, TaskRequest};
use crate::server::outbox::{End, Outbox};
use crate::server::session::batch::Batch;
use crate::server::status::Limit;

/// The answers to one HTTP request; what comes after its end is dropped.
pub(super) struct Mailbox {
    pub(super) caller: Caller,
    pub(super) outbox: Arc<Outbox>,
    /// Lines that have come and were not taken yet.
    lines: Bytes,
}

impl Mailbox {
    pub(super) fn new(caller: Caller) -> Self {
        let outbox = Arc::new(Outbox::new(caller.hall.settings.output_buffer_max));
        caller.guest.hears_from(&outbox);
        Self { caller, outbox, lines: Bytes::new() }
    }

    /// Does what a request of the wire asks for; its answers are lines.
    pub(super) async fn ask(&self, request: &Bytes) {
        let Caller { hall, door, access, .. } = &self.caller;
        let mut batch = Batch::new(hall, *access, door, &self.outbox, request);
        match Message::parse(request) {
            Ok(Message::Task(request)) => batch.task(&request),
            Ok(Message::Command(request)) => batch.command(request).await,
            Ok(Message::Help | Message::Data(_)) => {
                batch.refuse(None, Refusal::new(Code::BadRequest, "This is no JSON."))
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
        let Caller { hall, door, access, .. } = &self.caller;
        let mut batch = Batch::new(hall, *access, door, &self.outbox, page);
        for line in lines.filter(|line| !line.trim_ascii().is_empty()) {
            match only_tasks(line, limit) {
                Ok(request) => batch.task(&request),
                Err(Misunderstood { id, refusal }) if refusal.code == Code::TooLong => {
                    hall.board.limits.hit(Limit::PackageMaxLength);
                    batch.refuse(id, refusal);
                }
                Err(Misunderstood { id, refusal }) => batch.refuse(id, refusal),
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
                if end == End::Overflowed {
                    self.caller.hall.board.limits.hit(Limit::OutputBufferMax);
                }
                if end != End::Open || self.outbox.is_settled() {
                    return None;
                }
                self.outbox.changed().await;
            }
        }
    }

    /// The answer to a request that gets exactly one.
    pub(super) async fn answer(&mut self) -> Result<(Answer, Bytes), Refusal> {
        let gone = || Refusal::new(Code::Internal, "The server gave no answer.");
        let line = self.line().await.ok_or_else(gone)?;
        let answer: Answer = serde_json::from_slice(&line).map_err(|_| gone())?;
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

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.outbox.abandon();
        self.outbox.wake();
        self.caller.hall.audience.leave(&self.outbox);
    }
}

fn only_tasks(line: &[u8], limit: usize) -> Result<TaskRequest<'_>, Misunderstood<'_>> {
    if line.len() > limit {
        return Err(Misunderstood { refusal: too_long(limit), id: None });
    }
    match Message::parse(line)? {
        Message::Task(request) => {
            let reply = request.reply.or(Some(ReplyMode::Ack));
            Ok(TaskRequest { reply, ..request })
        }
        Message::Command(request) => {
            let message = format!("Here only tasks are taken, not the command \"{}\".", request.command);
            Err(Misunderstood { refusal: Refusal::new(Code::BadRequest, message), id: request.id })
        }
        Message::Help | Message::Data(_) => {
            let message = "Each line is a JSON object such as {\"function\":\"NAME\",\"args\":{..}}.";
            Err(Misunderstood { refusal: Refusal::new(Code::BadRequest, message), id: None })
        }
    }
}

pub(super) fn too_long(limit: usize) -> Refusal {
    let message = format!("The body, or a line of it, is longer than {limit} bytes (package_max_length).");
    Refusal::new(Code::TooLong, message)
}

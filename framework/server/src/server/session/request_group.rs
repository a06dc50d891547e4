//! The requests of one read: checked one by one, made durable together, answered in one go.

use framework_protocol::task::NewTask;
use framework_protocol::{CommandRequest, ReplyMode, ReplyWriter, RequestError, TaskRequest};
use serde_json::value::RawValue;

use crate::server::access::Access;
use crate::server::intake::acknowledge;
use crate::server::outbox::{ReplyOrder, Slot};
use crate::server::service::{Caller, Outcome, Service};
use crate::server::waiters::{EndFormat, Waiter};
use crate::store::Accepted;

/// Requests in their order, and their replies.
pub(crate) struct RequestGroup<'a> {
    service: &'a Service,
    caller: Caller<'a>,
    requests: Vec<PendingRequest<'a>>,
    tasks: Vec<NewTask>,
    /// The length of the replies that are known already.
    reply_bytes: usize,
}

struct PendingRequest<'a> {
    id: Option<&'a str>,
    kind: RequestKind,
}

enum RequestKind {
    /// The next one of the group's tasks.
    Task { reply: ReplyMode, result_only: bool },
    /// A reply that is known already.
    Reply(Vec<u8>),
    /// The help, whose lines are one message.
    Help,
}

impl<'a> RequestGroup<'a> {
    pub(crate) fn new(service: &'a Service, caller: Caller<'a>) -> Self {
        Self { service, caller, requests: Vec::new(), tasks: Vec::new(), reply_bytes: 0 }
    }

    /// The length of the replies that wait for [`RequestGroup::push`], in bytes; those to tasks do not count.
    pub(crate) fn reply_bytes(&self) -> usize {
        self.reply_bytes
    }

    /// The rights from now on.
    pub(crate) fn access(&self) -> Access {
        self.caller.access
    }

    pub(crate) fn task(&mut self, request: &TaskRequest<'a>) {
        match self.service.check_task(self.caller.access, request) {
            Ok(task) => {
                let reply = request.reply.unwrap_or(self.caller.policy.reply);
                let result_only =
                    reply == ReplyMode::Result && request.reply.is_none() && request.id.is_none();
                let kind = RequestKind::Task { reply, result_only };
                self.requests.push(PendingRequest { id: request.id.map(RawValue::get), kind });
                self.tasks.push(task);
            }
            Err(error) => self.refuse(request.id, error),
        }
    }

    /// Runs a verb once the tasks before it are pushed, so that it sees them.
    pub(crate) async fn command(&mut self, request: CommandRequest<'a>) {
        self.push().await;
        let id = request.id;
        match self.service.call(self.caller, request).await {
            Ok(outcome) => {
                if let Outcome::Granted(access) = outcome {
                    self.caller.access = access;
                }
                if let Some(result) = outcome.into_result() {
                    self.reply(id, |reply, id| reply.ok(id, &result));
                }
            }
            Err(error) => self.refuse(id, error),
        }
    }

    pub(crate) fn help(&mut self) {
        self.reply_bytes += self.service.verbs.help().len();
        self.requests.push(PendingRequest { id: None, kind: RequestKind::Help });
    }

    pub(crate) fn refuse(&mut self, id: Option<&'a RawValue>, error: RequestError) {
        self.reply(id, |reply, id| reply.refused(id, &error));
    }

    fn reply(&mut self, id: Option<&'a RawValue>, write: impl FnOnce(ReplyWriter, Option<&str>)) {
        let id = id.map(RawValue::get);
        let mut bytes = Vec::new();
        write(ReplyWriter::new(&mut bytes), id);
        self.reply_bytes += bytes.len();
        self.requests.push(PendingRequest { id, kind: RequestKind::Reply(bytes) });
    }

    /// Pushes the tasks that have gathered, and writes the replies.
    pub(crate) async fn push(&mut self) {
        if self.requests.is_empty() {
            return;
        }
        let requests = std::mem::take(&mut self.requests);
        self.reply_bytes = 0;
        let slots = self.open_slots(&requests);
        let waiters = self.waiters(&requests, &slots);
        if !waiters.is_empty() {
            self.caller.outbox.reserve(waiters.len());
        }
        let mut pushed = self.service.push(std::mem::take(&mut self.tasks), waiters).await;
        self.write(&requests, &slots, std::mem::take(&mut pushed.results));
        self.service.attach(pushed).await;
    }

    /// Opens the slots of the requests whose place matters; empty when no reply can overtake another anyway.
    fn open_slots(&self, requests: &[PendingRequest]) -> Vec<Option<Slot>> {
        if !requests.iter().any(PendingRequest::needs_slot) && !self.caller.outbox.is_ordered() {
            return Vec::new();
        }
        let slot = |request: &PendingRequest| {
            (request.id.is_none() || request.needs_slot()).then(|| self.caller.outbox.open_slot())
        };
        requests.iter().map(slot).collect()
    }

    /// The waiters for results, each with the index of its task.
    fn waiters(&self, requests: &[PendingRequest], slots: &[Option<Slot>]) -> Vec<(usize, Waiter)> {
        let of_tasks = requests
            .iter()
            .enumerate()
            .filter(|(_, request)| matches!(request.kind, RequestKind::Task { .. }));
        of_tasks
            .enumerate()
            .filter(|(_, (_, request))| request.awaits())
            .map(|(task, (index, request))| {
                let place = request.place(slots.get(index).copied().flatten());
                let (outbox, id) = (self.caller.outbox.clone(), request.id.map(Into::into));
                (task, Waiter { outbox, id, place, format: request.format() })
            })
            .collect()
    }

    /// Writes the replies that are due now.
    fn write(
        &self,
        requests: &[PendingRequest],
        slots: &[Option<Slot>],
        results: Vec<Result<Accepted, RequestError>>,
    ) {
        let outbox = self.caller.outbox;
        let durability = self.service.store.durability();
        let mut results = results.into_iter();
        let mut bytes = Vec::with_capacity(requests.len() * 64);
        for (index, request) in requests.iter().enumerate() {
            let slot = slots.get(index).copied().flatten();
            let mut start = bytes.len();
            match &request.kind {
                RequestKind::Reply(reply) => bytes.extend_from_slice(reply),
                RequestKind::Help => {
                    outbox.append(&std::mem::take(&mut bytes));
                    outbox.send_text(slot, self.service.verbs.help());
                    start = 0;
                }
                RequestKind::Task { reply, .. } => match (results.next(), reply) {
                    (Some(Ok(accepted)), ReplyMode::Ack | ReplyMode::Both) => {
                        acknowledge(accepted, ReplyWriter::new(&mut bytes), request.id, durability);
                    }
                    (Some(Ok(_)), ReplyMode::Result) => continue,
                    (Some(Ok(_)), ReplyMode::None) | (None, _) => {}
                    (Some(Err(error)), _) => ReplyWriter::new(&mut bytes).refused(request.id, &error),
                },
            }
            if let Some(slot) = slot {
                outbox.close_slot(slot, &bytes[start..]);
                bytes.truncate(start);
            }
        }
        outbox.append(&bytes);
    }
}

impl PendingRequest<'_> {
    /// The place of the result among the replies.
    fn place(&self, slot: Option<Slot>) -> ReplyOrder {
        match (&self.kind, slot) {
            (RequestKind::Task { reply: ReplyMode::Both, .. }, Some(slot)) => ReplyOrder::After(slot),
            (_, Some(slot)) => ReplyOrder::Within(slot),
            (_, None) => ReplyOrder::Anywhere,
        }
    }

    fn format(&self) -> EndFormat {
        match self.kind {
            RequestKind::Task { result_only: true, .. } => EndFormat::ResultOnly,
            _ => EndFormat::Reply,
        }
    }

    fn awaits(&self) -> bool {
        matches!(self.kind, RequestKind::Task { reply, .. } if reply.awaits())
    }

    /// A result without an `id` belongs to its request by its place; one with an acknowledgement comes after
    /// that.
    fn needs_slot(&self) -> bool {
        match self.kind {
            RequestKind::Task { reply: ReplyMode::Result, .. } => self.id.is_none(),
            RequestKind::Task { reply: ReplyMode::Both, .. } => true,
            _ => false,
        }
    }
}

//! The requests of one read: checked one by one, made durable together, answered in one go.

use std::sync::Arc;

use bytes::Bytes;
use framework_protocol::task::{NewTask, TaskId, WaiterId};
use framework_protocol::{
    CommandRequest, HELP, ParseError, ReplyMode, ReplyWriter, RequestError, TaskRequest,
};
use serde_json::value::RawValue;

use super::auth::{GrantedScopes, TokenMessage};
use super::{Session, SessionContext};
use crate::server::access::{Access, Scope};
use crate::server::listener::policy::ListenerPolicy;
use crate::server::outbox::{Outbox, ReplyOrder, Slot};
use crate::server::waiters::{Waiter, Waiters};
use crate::store::Accepted;

/// Requests in their order, and what is to be answered.
pub(super) struct RequestGroup<'a> {
    context: &'a SessionContext,
    access: Access,
    policy: &'a ListenerPolicy,
    outbox: &'a Arc<Outbox>,
    page: &'a Bytes,
    entries: Vec<PendingRequest<'a>>,
    tasks: Vec<NewTask>,
}

struct PendingRequest<'a> {
    id: Option<&'a str>,
    kind: RequestKind,
}

enum RequestKind {
    /// The next one of the batch's tasks.
    Task { reply: ReplyMode, is_bare: bool },
    /// An answer that is known already.
    Answer(Vec<u8>),
    /// The wire in a dozen lines, which are one message.
    Help,
}

impl<'a> RequestGroup<'a> {
    pub(super) fn new(
        context: &'a SessionContext,
        access: Access,
        policy: &'a ListenerPolicy,
        outbox: &'a Arc<Outbox>,
        page: &'a Bytes,
    ) -> Self {
        Self { context, access, policy, outbox, page, entries: Vec::new(), tasks: Vec::new() }
    }

    pub(super) fn task(&mut self, request: &TaskRequest<'a>) {
        let access = self.access.check(Scope::Send);
        match access.and_then(|()| self.context.queue.check(request, self.page)) {
            Ok(task) => {
                let reply = request.reply.unwrap_or(self.policy.reply);
                let is_bare = reply == ReplyMode::Result && request.reply.is_none() && request.id.is_none();
                let kind = RequestKind::Task { reply, is_bare };
                self.entries.push(PendingRequest { id: request.id.map(RawValue::get), kind });
                self.tasks.push(task);
            }
            Err(refusal) => self.refuse(request.id, refusal),
        }
    }

    /// Answers a command once the tasks before it are pushed, so that it sees them.
    pub(super) async fn command(&mut self, request: CommandRequest<'a>) {
        self.push().await;
        let id = request.id;
        match super::verbs::answer(self.context, self.access, self.outbox, request).await {
            Ok(Some(answer)) => self.answer(id, |reply, id| reply.ok(id, &answer)),
            Ok(None) => {}
            Err(refusal) => self.refuse(id, refusal),
        }
    }

    /// Answers a client that shows a token although it was let in already; gives what it may do from now on.
    pub(super) async fn authenticate(&mut self, session: &Session, request: CommandRequest<'a>) -> Access {
        self.push().await;
        let admitted = match TokenMessage::of_command(request) {
            Ok(TokenMessage { id, token }) => session
                .admit(&token)
                .await
                .map(|access| (id, access))
                .map_err(|refusal| ParseError { refusal, id }),
            Err(misunderstood) => Err(misunderstood),
        };
        match admitted {
            Ok((id, access)) => {
                self.access = access;
                self.answer(id, |reply, id| reply.ok(id, &GrantedScopes::of(access)));
            }
            Err(ParseError { refusal, id }) => self.refuse(id, refusal),
        }
        self.access
    }

    pub(super) fn help(&mut self) {
        self.entries.push(PendingRequest { id: None, kind: RequestKind::Help });
    }

    pub(super) fn refuse(&mut self, id: Option<&'a RawValue>, refusal: RequestError) {
        self.answer(id, |reply, id| reply.refused(id, &refusal));
    }

    fn answer(&mut self, id: Option<&'a RawValue>, write: impl FnOnce(ReplyWriter, Option<&str>)) {
        let id = id.map(RawValue::get);
        let mut bytes = Vec::new();
        write(ReplyWriter::new(&mut bytes), id);
        self.entries.push(PendingRequest { id, kind: RequestKind::Answer(bytes) });
    }

    /// Hands over what has gathered, and answers it.
    pub(super) async fn push(&mut self) {
        if self.entries.is_empty() {
            return;
        }
        let entries = std::mem::take(&mut self.entries);
        let slots = self.reserve_slots(&entries);
        let mut tasks = std::mem::take(&mut self.tasks);
        let mut tickets = WaiterGuard { waiters: &self.context.waiters, given: Vec::new() };
        tickets.given = self.register(&entries, &slots, &mut tasks);
        let results = match tasks.is_empty() {
            true => Vec::new(),
            false => self.context.queue.push(tasks).await,
        };
        let joining = self.deregister(std::mem::take(&mut tickets.given), &results);
        self.reply(&entries, &slots, results);
        for (task, waiter) in joining {
            self.context.subscriptions.attach(task, waiter).await;
        }
    }

    /// Takes back who waits for what was refused; gives those who wait for a task that was there already.
    fn deregister(
        &self,
        tickets: Vec<(usize, WaiterId)>,
        results: &[Result<Accepted, RequestError>],
    ) -> Vec<(TaskId, Waiter)> {
        let mut joining = Vec::new();
        for (task, waiter) in tickets {
            match results.get(task) {
                Some(Ok(Accepted { is_new: true, .. })) => {}
                Some(Ok(Accepted { id, .. })) => {
                    joining.extend(self.context.waiters.take(waiter).map(|waiter| (*id, waiter)));
                }
                Some(Err(_)) | None => {
                    self.context.waiters.take(waiter);
                    self.outbox.cancel_reservation();
                }
            }
        }
        joining
    }

    /// The slots of the entries whose place matters; empty when no answer can overtake another anyway.
    fn reserve_slots(&self, entries: &[PendingRequest]) -> Vec<Option<Slot>> {
        if !entries.iter().any(PendingRequest::needs_slot) && !self.outbox.is_ordered() {
            return Vec::new();
        }
        let slot = |entry: &PendingRequest| {
            (entry.id.is_none() || entry.needs_slot()).then(|| self.outbox.open_slot())
        };
        entries.iter().map(slot).collect()
    }

    /// Registers who waits, before any of the tasks can end; gives the places of their tasks with the tickets.
    fn register(
        &self,
        entries: &[PendingRequest],
        slots: &[Option<Slot>],
        tasks: &mut [NewTask],
    ) -> Vec<(usize, WaiterId)> {
        let of_tasks =
            entries.iter().enumerate().filter(|(_, entry)| matches!(entry.kind, RequestKind::Task { .. }));
        let (waiters, awaited): (Vec<_>, Vec<_>) = of_tasks
            .enumerate()
            .filter(|(_, (_, entry))| entry.awaits())
            .map(|(task, (index, entry))| {
                let place = entry.place(slots.get(index).copied().flatten());
                let (outbox, id) = (self.outbox.clone(), entry.id.map(Into::into));
                (Waiter { outbox, id, place, result_only: entry.is_bare() }, task)
            })
            .unzip();
        if waiters.is_empty() {
            return Vec::new();
        }
        self.outbox.reserve(waiters.len());
        let tickets: Vec<_> = awaited.into_iter().zip(self.context.waiters.register(waiters)).collect();
        for (task, waiter) in &tickets {
            tasks[*task].waiter = Some(*waiter);
        }
        tickets
    }

    /// Writes the answers that are due now.
    fn reply(
        &self,
        entries: &[PendingRequest],
        slots: &[Option<Slot>],
        results: Vec<Result<Accepted, RequestError>>,
    ) {
        let durability = self.context.queue.durability();
        let mut results = results.into_iter();
        let mut bytes = Vec::with_capacity(entries.len() * 64);
        for (index, entry) in entries.iter().enumerate() {
            let slot = slots.get(index).copied().flatten();
            let mut start = bytes.len();
            match &entry.kind {
                RequestKind::Answer(answer) => bytes.extend_from_slice(answer),
                RequestKind::Help => {
                    self.outbox.append(&std::mem::take(&mut bytes));
                    self.outbox.send_text(slot, HELP.trim_end());
                    start = 0;
                }
                RequestKind::Task { reply, .. } => match (results.next(), reply) {
                    (Some(Ok(accepted)), ReplyMode::Ack | ReplyMode::Both) => {
                        ReplyWriter::new(&mut bytes).queued(entry.id, accepted.id, durability);
                    }
                    (Some(Ok(_)), ReplyMode::Result) => continue,
                    (Some(Ok(_)), ReplyMode::None) | (None, _) => {}
                    (Some(Err(refusal)), _) => ReplyWriter::new(&mut bytes).refused(entry.id, &refusal),
                },
            }
            if let Some(slot) = slot {
                self.outbox.close_slot(slot, &bytes[start..]);
                bytes.truncate(start);
            }
        }
        self.outbox.append(&bytes);
    }
}

/// Who waits for tasks that are being pushed; taken back when their client goes away before the store has answered.
struct WaiterGuard<'a> {
    waiters: &'a Waiters,
    given: Vec<(usize, WaiterId)>,
}

impl Drop for WaiterGuard<'_> {
    fn drop(&mut self) {
        for (_, waiter) in self.given.drain(..) {
            self.waiters.take(waiter);
        }
    }
}

impl PendingRequest<'_> {
    /// How the outcome keeps its place.
    fn place(&self, slot: Option<Slot>) -> ReplyOrder {
        match (&self.kind, slot) {
            (RequestKind::Task { reply: ReplyMode::Both, .. }, Some(slot)) => ReplyOrder::After(slot),
            (_, Some(slot)) => ReplyOrder::Within(slot),
            (_, None) => ReplyOrder::Anywhere,
        }
    }

    fn is_bare(&self) -> bool {
        matches!(self.kind, RequestKind::Task { is_bare: true, .. })
    }

    fn awaits(&self) -> bool {
        matches!(self.kind, RequestKind::Task { reply, .. } if reply.awaits())
    }

    /// A result without an `id` is told by its place; with an acknowledgement, it must come after that.
    fn needs_slot(&self) -> bool {
        match self.kind {
            RequestKind::Task { reply: ReplyMode::Result, .. } => self.id.is_none(),
            RequestKind::Task { reply: ReplyMode::Both, .. } => true,
            _ => false,
        }
    }
}

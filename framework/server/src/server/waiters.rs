//! Who waits for the outcome of which task.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use framework_protocol::task::{Outcome, TaskId, WaiterId};
use framework_protocol::{ReplyWriter, RequestError};
use rustc_hash::FxHashMap;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::events::Finished;
use super::outbox::{Outbox, ReplyOrder};

/// The clients that wait, by the ticket their task carries.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    issued: AtomicU64,
    waiting: Mutex<FxHashMap<WaiterId, Waiter>>,
}

/// A client that waits, and how its answer is to look.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) outbox: Arc<Outbox>,
    pub(super) id: Option<Box<str>>,
    pub(super) place: ReplyOrder,
    /// Whether it expects a result alone, as Workerman's clients do.
    pub(super) result_only: bool,
}

impl Waiters {
    fn waiting(&self) -> MutexGuard<'_, FxHashMap<WaiterId, Waiter>> {
        self.waiting.lock().expect("no one panics while holding the waiters")
    }

    /// Registers clients before their tasks can end; the tickets, in the same order, go with the tasks.
    pub(super) fn register(&self, waiters: Vec<Waiter>) -> Vec<WaiterId> {
        let first = self.issued.fetch_add(waiters.len() as u64, Ordering::Relaxed) + 1;
        let tickets: Vec<_> =
            (first..).filter_map(NonZeroU64::new).map(WaiterId).take(waiters.len()).collect();
        self.waiting().extend(tickets.iter().copied().zip(waiters));
        tickets
    }

    /// Strikes off a client whose task was refused, or was there already.
    pub(super) fn take(&self, waiter: WaiterId) -> Option<Waiter> {
        self.waiting().remove(&waiter)
    }

    /// Tells everybody who is left that no outcome will come.
    pub(super) fn close_all(&self, refusal: &RequestError) {
        let waiting = std::mem::take(&mut *self.waiting());
        waiting.into_values().for_each(|waiter| waiter.send_error(refusal));
    }

    /// Sends each outcome to whoever waits for it.
    pub(super) fn answer(&self, batch: &[Finished]) {
        if !batch.iter().any(|finished| finished.waiter().is_some()) {
            return;
        }
        let waiters: Vec<_> = {
            let mut waiting = self.waiting();
            let tickets = batch.iter().filter_map(|finished| Some((finished, finished.waiter()?)));
            tickets.filter_map(|(finished, waiter)| Some((finished, waiting.remove(&waiter)?))).collect()
        };
        for group in waiters.chunk_by(|(_, a), (_, b)| Arc::ptr_eq(&a.outbox, &b.outbox)) {
            let mut bytes = Vec::with_capacity(group.len() * 64);
            let ends: Vec<_> = group
                .iter()
                .map(|(finished, waiter)| {
                    waiter.render(finished, &mut bytes);
                    bytes.len()
                })
                .collect();
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let parts = starts.zip(&ends).map(|(start, end)| &bytes[start..*end]);
            group[0].1.outbox.fulfil(group.iter().map(|(_, waiter)| waiter.place).zip(parts));
        }
    }
}

impl Waiter {
    /// Appends the line that tells of the end of a task.
    pub(super) fn render(&self, finished: &Finished, bytes: &mut Vec<u8>) {
        match finished.outcome() {
            Outcome::Done(result) => self.render_done(finished.id(), result, bytes),
            Outcome::Failed(_) => finished.render_reply(self.id.as_deref(), bytes),
        }
    }

    /// Appends the line that gives the result of a task. A result that could be taken for something else is given as
    /// the whole object even to those who expect it alone.
    pub(super) fn render_done(&self, task: TaskId, result: &[u8], bytes: &mut Vec<u8>) {
        if self.result_only && !has_status(result) {
            bytes.extend_from_slice(result);
            bytes.push(b'\n');
        } else {
            ReplyWriter::new(bytes).done(self.id.as_deref(), task, result);
        }
    }

    /// Gives the answer that was promised.
    pub(super) fn send(&self, bytes: &[u8]) {
        self.outbox.fulfil(std::iter::once((self.place, bytes)));
    }

    /// Says why the answer that was promised does not come.
    pub(super) fn send_error(&self, refusal: &RequestError) {
        let mut bytes = Vec::new();
        ReplyWriter::new(&mut bytes).refused(self.id.as_deref(), refusal);
        self.send(&bytes);
    }
}

/// Whether a result looks like a reply, all of which are objects with this field.
fn has_status(result: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Fields {
        #[serde(default, deserialize_with = "found")]
        status: bool,
    }
    fn found<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
        IgnoredAny::deserialize(value).map(|_| true)
    }
    // One in which it stands twice is no valid answer to this, and no result alone either.
    let has_field = || serde_json::from_slice(result).map_or(true, |fields: Fields| fields.status);
    result.trim_ascii_start().starts_with(b"{") && has_field()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_alone_cannot_be_taken_for_a_reply() {
        let waiter = |is_bare| Waiter {
            outbox: Arc::new(Outbox::new(64)),
            id: None,
            place: ReplyOrder::Anywhere,
            result_only: is_bare,
        };
        let done = |is_bare, result: &str| {
            let mut bytes = Vec::new();
            waiter(is_bare).render_done(7, result.as_bytes(), &mut bytes);
            String::from_utf8(bytes).unwrap()
        };
        for alone in ["null", "\"status\"", "[\"status\"]", "{}", r#"{"state":1,"in":{"status":2}}"#] {
            assert_eq!(done(true, alone), format!("{alone}\n"));
        }
        for whole in [r#"{"status":"done"}"#, r#"{"a":1,"status":null}"#, r#"{"status":1,"status":2}"#] {
            assert_eq!(
                done(true, whole),
                format!("{{\"task_id\":7,\"status\":\"done\",\"result\":{whole}}}\n")
            );
        }
        assert_eq!(done(false, "1"), "{\"task_id\":7,\"status\":\"done\",\"result\":1}\n");
    }
}

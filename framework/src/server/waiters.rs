//! Who waits for the outcome of which task.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rustc_hash::FxHashMap;

use super::events::Finished;
use super::outbox::{Outbox, Place};
use crate::protocol::{Refusal, Reply};
use crate::task::Ticket;

/// The clients that wait, by the ticket their task carries.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    issued: AtomicU64,
    waiting: Mutex<FxHashMap<Ticket, Waiter>>,
}

/// A client that waits, and how its answer is to look.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) outbox: Arc<Outbox>,
    pub(super) id: Option<Box<str>>,
    pub(super) place: Place,
}

impl Waiters {
    fn waiting(&self) -> MutexGuard<'_, FxHashMap<Ticket, Waiter>> {
        self.waiting.lock().expect("no one panics while holding the waiters")
    }

    /// Registers clients before their tasks can end; the tickets, in the same order, go with the tasks.
    pub(super) fn register(&self, waiters: Vec<Waiter>) -> Vec<Ticket> {
        let first = self.issued.fetch_add(waiters.len() as u64, Ordering::Relaxed) + 1;
        let tickets: Vec<_> = (first..).filter_map(NonZeroU64::new).map(Ticket).take(waiters.len()).collect();
        self.waiting().extend(tickets.iter().copied().zip(waiters));
        tickets
    }

    /// Strikes off a client whose task was refused, or was there already.
    pub(super) fn take(&self, ticket: Ticket) -> Option<Waiter> {
        self.waiting().remove(&ticket)
    }

    /// Tells everybody who is left that no outcome will come.
    pub(super) fn dismiss(&self, refusal: &Refusal) {
        let waiting = std::mem::take(&mut *self.waiting());
        waiting.into_values().for_each(|waiter| waiter.refuse(refusal));
    }

    /// Sends each outcome to whoever waits for it.
    pub(super) fn answer(&self, batch: &[Finished]) {
        if !batch.iter().any(|finished| finished.ticket().is_some()) {
            return;
        }
        let waiters: Vec<_> = {
            let mut waiting = self.waiting();
            let tickets = batch.iter().filter_map(|finished| Some((finished, finished.ticket()?)));
            tickets.filter_map(|(finished, ticket)| Some((finished, waiting.remove(&ticket)?))).collect()
        };
        for group in waiters.chunk_by(|(_, a), (_, b)| Arc::ptr_eq(&a.outbox, &b.outbox)) {
            let mut bytes = Vec::with_capacity(group.len() * 64);
            let ends: Vec<_> = group
                .iter()
                .map(|(finished, waiter)| {
                    finished.tell(waiter.id.as_deref(), &mut bytes);
                    bytes.len()
                })
                .collect();
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let parts = starts.zip(&ends).map(|(start, end)| &bytes[start..*end]);
            group[0].1.outbox.answer(group.iter().map(|(_, waiter)| waiter.place).zip(parts));
        }
    }
}

impl Waiter {
    /// Gives the answer that was promised.
    pub(super) fn answer(&self, bytes: &[u8]) {
        self.outbox.answer(std::iter::once((self.place, bytes)));
    }

    /// Says why the answer that was promised does not come.
    pub(super) fn refuse(&self, refusal: &Refusal) {
        let mut bytes = Vec::new();
        Reply::new(&mut bytes).refused(self.id.as_deref(), refusal);
        self.answer(&bytes);
    }
}

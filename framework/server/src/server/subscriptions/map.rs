//! Subscribers, by the subject they follow and by connection.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::server::outbox::Outbox;
use crate::server::waiters::Waiter;

/// Subscribers by the id of their subject: all of them tasks, or all of them batches.
#[derive(Debug)]
pub(super) struct SubscriptionMap<S> {
    /// The number of the next subscriber.
    next: u64,
    by_subject: FxHashMap<u64, Vec<Subscriber<S>>>,
    /// The subjects of each connection, by the address of its outbox.
    by_connection: FxHashMap<usize, FxHashSet<u64>>,
}

#[derive(Debug)]
pub(super) struct Subscriber<S> {
    number: u64,
    pub(super) waiter: Waiter,
    pub(super) state: S,
}

impl<S> Default for SubscriptionMap<S> {
    fn default() -> Self {
        Self { next: 0, by_subject: FxHashMap::default(), by_connection: FxHashMap::default() }
    }
}

impl<S> SubscriptionMap<S> {
    /// Inserts a subscriber and returns its number.
    pub(super) fn insert(&mut self, subject: u64, waiter: Waiter, state: S) -> u64 {
        let number = self.next;
        self.next += 1;
        self.by_connection.entry(address(&waiter.outbox)).or_default().insert(subject);
        self.by_subject.entry(subject).or_default().push(Subscriber { number, waiter, state });
        number
    }

    pub(super) fn find(&mut self, subject: u64, number: u64) -> Option<&mut Subscriber<S>> {
        self.by_subject.get_mut(&subject)?.iter_mut().find(|subscriber| subscriber.number == number)
    }

    /// The subscribers of a subject.
    pub(super) fn of(&mut self, subject: u64) -> impl Iterator<Item = &mut Subscriber<S>> {
        self.by_subject.get_mut(&subject).into_iter().flatten()
    }

    pub(super) fn is_followed(&self, subject: u64) -> bool {
        self.by_subject.contains_key(&subject)
    }

    /// All subjects with subscribers.
    pub(super) fn subjects(&self) -> impl Iterator<Item = u64> {
        self.by_subject.keys().copied()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_subject.is_empty() && self.by_connection.is_empty()
    }

    /// Removes one subscriber; `None` if it was removed already.
    pub(super) fn take(&mut self, subject: u64, number: u64) -> Option<Subscriber<S>> {
        self.remove(subject, |subscriber| subscriber.number == number).pop()
    }

    /// Removes all subscribers of a connection, and returns their number.
    pub(super) fn remove_connection(&mut self, outbox: &Arc<Outbox>) -> usize {
        let subjects = self.by_connection.get(&address(outbox)).cloned().unwrap_or_default();
        let is_its = |subscriber: &Subscriber<S>| Arc::ptr_eq(&subscriber.waiter.outbox, outbox);
        subjects.into_iter().map(|subject| self.remove(subject, is_its).len()).sum()
    }

    /// Removes the subscribers of a subject that fulfil `is_removed`.
    pub(super) fn remove(
        &mut self,
        subject: u64,
        is_removed: impl Fn(&Subscriber<S>) -> bool,
    ) -> Vec<Subscriber<S>> {
        let Some(subscribers) = self.by_subject.remove(&subject) else { return Vec::new() };
        let (removed, left): (Vec<_>, Vec<_>) =
            subscribers.into_iter().partition(|subscriber| is_removed(subscriber));
        for subscriber in &removed {
            let outbox = &subscriber.waiter.outbox;
            if left.iter().any(|other| Arc::ptr_eq(&other.waiter.outbox, outbox)) {
                continue;
            }
            let Some(subjects) = self.by_connection.get_mut(&address(outbox)) else { continue };
            subjects.remove(&subject);
            if subjects.is_empty() {
                self.by_connection.remove(&address(outbox));
            }
        }
        if !left.is_empty() {
            self.by_subject.insert(subject, left);
        }
        removed
    }

    /// Removes all subscribers.
    pub(super) fn clear(&mut self) -> impl Iterator<Item = (u64, Subscriber<S>)> + use<S> {
        let Self { by_subject, .. } = std::mem::take(self);
        by_subject.into_iter().flat_map(|(subject, subscribers)| {
            subscribers.into_iter().map(move |subscriber| (subject, subscriber))
        })
    }
}

fn address(outbox: &Arc<Outbox>) -> usize {
    Arc::as_ptr(outbox) as usize
}

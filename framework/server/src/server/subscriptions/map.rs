//! Who follows what, by what is followed and by connection.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::server::outbox::Outbox;
use crate::server::waiters::Waiter;

/// Followers by the id of what they follow: all of them tasks, or all of them batches.
#[derive(Debug)]
pub(super) struct SubscriptionMap<N> {
    /// Names the next follower.
    next: u64,
    by_subject: FxHashMap<u64, Vec<Follower<N>>>,
    /// What a connection follows, by the address of its outbox.
    by_connection: FxHashMap<usize, FxHashSet<u64>>,
}

#[derive(Debug)]
pub(super) struct Follower<N> {
    number: u64,
    pub(super) waiter: Waiter,
    /// What is to be remembered of it.
    pub(super) notes: N,
}

impl<N> Default for SubscriptionMap<N> {
    fn default() -> Self {
        Self { next: 0, by_subject: FxHashMap::default(), by_connection: FxHashMap::default() }
    }
}

impl<N> SubscriptionMap<N> {
    pub(super) fn insert(&mut self, subject: u64, waiter: Waiter, notes: N) -> u64 {
        let number = self.next;
        self.next += 1;
        self.by_connection.entry(address(&waiter.outbox)).or_default().insert(subject);
        self.by_subject.entry(subject).or_default().push(Follower { number, waiter, notes });
        number
    }

    pub(super) fn find(&mut self, subject: u64, number: u64) -> Option<&mut Follower<N>> {
        self.by_subject.get_mut(&subject)?.iter_mut().find(|follower| follower.number == number)
    }

    /// Those who follow one thing.
    pub(super) fn of(&mut self, subject: u64) -> impl Iterator<Item = &mut Follower<N>> {
        self.by_subject.get_mut(&subject).into_iter().flatten()
    }

    pub(super) fn is_followed(&self, subject: u64) -> bool {
        self.by_subject.contains_key(&subject)
    }

    /// All that is followed.
    pub(super) fn subjects(&self) -> impl Iterator<Item = u64> {
        self.by_subject.keys().copied()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_subject.is_empty() && self.by_connection.is_empty()
    }

    /// Takes one follower out, unless it has gone.
    pub(super) fn take(&mut self, subject: u64, number: u64) -> Option<Follower<N>> {
        self.remove(subject, |follower| follower.number == number).pop()
    }

    /// Takes out all that a connection follows; how many followers these were.
    pub(super) fn remove_connection(&mut self, outbox: &Arc<Outbox>) -> usize {
        let subjects = self.by_connection.get(&address(outbox)).cloned().unwrap_or_default();
        let is_of_it = |follower: &Follower<N>| Arc::ptr_eq(&follower.waiter.outbox, outbox);
        subjects.into_iter().map(|subject| self.remove(subject, is_of_it).len()).sum()
    }

    /// Takes out those followers of one thing.
    pub(super) fn remove(&mut self, subject: u64, goes: impl Fn(&Follower<N>) -> bool) -> Vec<Follower<N>> {
        let Some(followers) = self.by_subject.remove(&subject) else { return Vec::new() };
        let (gone, left): (Vec<_>, Vec<_>) = followers.into_iter().partition(|follower| goes(follower));
        for follower in &gone {
            let outbox = &follower.waiter.outbox;
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
        gone
    }

    /// Takes everybody out.
    pub(super) fn clear(&mut self) -> impl Iterator<Item = (u64, Follower<N>)> + use<N> {
        let Self { by_subject, .. } = std::mem::take(self);
        by_subject
            .into_iter()
            .flat_map(|(subject, followers)| followers.into_iter().map(move |follower| (subject, follower)))
    }
}

fn address(outbox: &Arc<Outbox>) -> usize {
    Arc::as_ptr(outbox) as usize
}

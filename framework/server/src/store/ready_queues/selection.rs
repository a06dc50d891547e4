//! The queues and lines that a taker takes from, and the queue whose turn it is.

use super::queue::{Lines, Taker};
use super::{ReadyQueues, TakeFrom};
use crate::store::clock::Now;
use crate::store::options::RemoteScope;

/// The queues and lines that are taken from, found once for many tasks.
pub(super) enum Selection {
    Group(usize),
    /// The indices of queues, each with those of its lines.
    Lines(Vec<(u16, Vec<u16>)>),
}

impl ReadyQueues {
    /// The queue whose turn it is, which had least of its share; and whether no other one is open.
    pub(super) fn next_queue<'a>(
        &self,
        from: &'a Selection,
        taker: Taker,
    ) -> Option<(usize, Lines<'a>, bool)> {
        let mut open = self.selected(from).filter(|(index, lines)| self.queues[*index].is_open(*lines));
        let mut next = open.next()?;
        let mut is_alone = true;
        for other in open {
            is_alone = false;
            if self.queues[other.0].pass(taker) < self.queues[next.0].pass(taker) {
                next = other;
            }
        }
        Some((next.0, next.1, is_alone))
    }

    pub(super) fn select(&self, from: TakeFrom) -> Selection {
        let lines = match from {
            TakeFrom::Group(group) => return Selection::Group(group),
            TakeFrom::Elsewhere(scopes) => self.lines(scopes),
        };
        let by_queue = lines.chunk_by(|(one, _), (other, _)| one == other);
        let by_queue = by_queue.map(|lines| (lines[0].0, lines.iter().map(|(_, line)| *line).collect()));
        Selection::Lines(by_queue.collect())
    }

    /// The lines within these scopes, each once: the indices of the queue, and of the line in it.
    pub(super) fn lines(&self, scopes: &[RemoteScope]) -> Vec<(u16, u16)> {
        let has_queue =
            |scope: &RemoteScope, queue: u16| scope.has_queue(&self.queues[usize::from(queue)].name);
        let of_scopes = scopes.iter().flat_map(|scope| {
            let of_functions = scope.functions.iter().filter_map(|function| self.by_function.get(function));
            of_functions.flatten().filter(move |(queue, _)| has_queue(scope, *queue))
        });
        let mut lines: Vec<_> = of_scopes.copied().collect();
        lines.sort_unstable();
        lines.dedup();
        lines
    }

    /// The indices of queues, with the lines that are taken from.
    pub(super) fn selected<'a>(&self, from: &'a Selection) -> impl Iterator<Item = (usize, Lines<'a>)> {
        let (group, lines) = match from {
            Selection::Group(group) => (self.by_group.get(*group), &[][..]),
            Selection::Lines(lines) => (None, lines.as_slice()),
        };
        let of_group = group.into_iter().flatten().map(|index| (usize::from(*index), Lines::Local));
        let of_functions = lines.iter().map(|(index, lines)| (usize::from(*index), Lines::These(lines)));
        of_group.chain(of_functions)
    }

    /// Gives queues with a rate the tokens that have come since the last time.
    pub(super) fn refill(&mut self, from: &Selection, now: Now) {
        let Self { queues, by_group, .. } = self;
        let mut refill = |index: &u16| queues[usize::from(*index)].refill(now.steady);
        match from {
            Selection::Group(group) => by_group[*group].iter().for_each(refill),
            Selection::Lines(lines) => lines.iter().for_each(|(index, _)| refill(index)),
        }
    }
}

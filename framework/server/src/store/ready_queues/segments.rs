//! A double-ended queue of segments, which grows without moving what it holds.

use std::collections::VecDeque;

/// The entries of a full segment.
#[cfg(not(test))]
const SEGMENT: usize = 4_096;
#[cfg(test)]
const SEGMENT: usize = 4;

/// An empty queue keeps room for so many segments, which are empty as well.
const SEGMENTS_KEPT: usize = 64;

/// A double-ended queue whose pushes take about the same time whatever its length: one that doubled its
/// memory would copy 100 MB at four million tasks, and everyone would wait for that.
#[derive(Debug)]
pub(super) struct Segments<T> {
    /// None is empty, unless it is the only one; all but the first and the last are full.
    segments: VecDeque<VecDeque<T>>,
    len: usize,
}

impl<T> Default for Segments<T> {
    fn default() -> Self {
        Self { segments: VecDeque::new(), len: 0 }
    }
}

impl<T> Segments<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push_back(&mut self, entry: T) {
        self.len += 1;
        match self.segments.back_mut().filter(|last| last.len() < SEGMENT) {
            Some(last) => last.push_back(entry),
            None => {
                let segment = self.next_segment(entry);
                self.segments.push_back(segment);
            }
        }
    }

    pub(super) fn push_front(&mut self, entry: T) {
        self.len += 1;
        match self.segments.front_mut().filter(|first| first.len() < SEGMENT) {
            Some(first) => first.push_front(entry),
            None => {
                let segment = self.next_segment(entry);
                self.segments.push_front(segment);
            }
        }
    }

    pub(super) fn pop_front(&mut self) -> Option<T> {
        let first = self.segments.front_mut()?;
        let entry = first.pop_front()?;
        self.len -= 1;
        if first.is_empty() && self.segments.len() > 1 {
            self.segments.pop_front();
        }
        Some(entry)
    }

    pub(super) fn front(&self) -> Option<&T> {
        self.get(0)
    }

    pub(super) fn back(&self) -> Option<&T> {
        self.segments.back()?.back()
    }

    pub(super) fn get(&self, index: usize) -> Option<&T> {
        let (segment, place) = self.place(index);
        self.segments.get(segment)?.get(place)
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        let (segment, place) = self.place(index);
        self.segments.get_mut(segment)?.get_mut(place)
    }

    /// The number of entries at the beginning for which this is true, if it is so for no later one.
    pub(super) fn partition_point(&self, mut is_before: impl FnMut(&T) -> bool) -> usize {
        let before = self.segments.partition_point(|segment| segment.back().is_some_and(&mut is_before));
        let Some(segment) = self.segments.get(before) else { return self.len };
        self.start(before) + segment.partition_point(is_before)
    }

    /// Removes all entries for which this is false.
    pub(super) fn retain(&mut self, mut is_kept: impl FnMut(&T) -> bool) {
        let mut kept = Self::default();
        while let Some(segment) = self.segments.pop_front() {
            segment.into_iter().filter(&mut is_kept).for_each(|entry| kept.push_back(entry));
        }
        *self = kept;
    }

    /// Removes all entries, and keeps the memory of one segment.
    pub(super) fn clear(&mut self) {
        self.segments.truncate(1);
        self.segments.iter_mut().for_each(VecDeque::clear);
        self.segments.shrink_to(SEGMENTS_KEPT);
        self.len = 0;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.segments.iter().flatten()
    }

    /// A segment that begins with this entry: a small one for a short queue.
    fn next_segment(&self, entry: T) -> VecDeque<T> {
        let mut segment = VecDeque::with_capacity(if self.segments.is_empty() { 1 } else { SEGMENT });
        segment.push_back(entry);
        segment
    }

    /// The segment of an entry, and its place there.
    fn place(&self, index: usize) -> (usize, usize) {
        let first = self.segments.front().map_or(0, VecDeque::len);
        match index.checked_sub(first) {
            None => (0, index),
            Some(behind) => (1 + behind / SEGMENT, behind % SEGMENT),
        }
    }

    /// The index of the first entry of a segment.
    fn start(&self, segment: usize) -> usize {
        let first = self.segments.front().map_or(0, VecDeque::len);
        segment.checked_sub(1).map_or(0, |behind| first + behind * SEGMENT)
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    #[test]
    fn segments_hold_what_a_plain_queue_holds() {
        let mut random = Rng::with_seed(1);
        let (mut segments, mut plain) = (Segments::default(), VecDeque::new());
        for step in 0..20_000_i32 {
            match random.u8(..64) {
                0..26 => (segments.push_back(step), plain.push_back(step)),
                26..32 => (segments.push_front(-step), plain.push_front(-step)),
                32..61 => (assert_eq!(segments.pop_front(), plain.pop_front()), ()),
                61 => {
                    let factor = random.i32(2..5);
                    let is_kept = |entry: &i32| entry % factor != 0;
                    (segments.retain(is_kept), plain.retain(is_kept))
                }
                62 if step % 50 == 0 => (segments.clear(), plain.clear()),
                _ => {
                    let index = random.usize(..plain.len() + 2);
                    if let Some(entry) = plain.get_mut(index) {
                        *entry *= 2;
                    }
                    (segments.get_mut(index).map_or((), |entry| *entry *= 2), ())
                }
            };
            assert!(segments.iter().eq(&plain) && segments.len() == plain.len());
            assert_eq!((segments.front(), segments.back()), (plain.front(), plain.back()));
            let index = random.usize(..plain.len() + 2);
            assert_eq!(segments.get(index), plain.get(index));
        }
    }

    #[test]
    fn partition_point_of_segments_is_that_of_a_plain_queue() {
        for (front, back) in [(0, 0), (3, 0), (0, 9), (6, 11), (2, 4)] {
            let mut segments = Segments::default();
            (0..front).rev().for_each(|entry| segments.push_front(entry));
            (front..front + back).for_each(|entry| segments.push_back(entry));
            for limit in 0..=front + back + 1 {
                let expected = limit.min(front + back);
                assert_eq!(segments.partition_point(|entry| *entry < limit), expected, "{front} {back}");
            }
        }
    }
}

//! The content of a file: as programs see it, as it is on the platter, and the changes between the two.

use std::collections::BTreeMap;
use std::ops::Range;

use fastrand::Rng;

/// The unit that a disk writes as a whole, in bytes.
const SECTOR: usize = 512;

/// The content of a file.
#[derive(Debug, Default, Clone)]
pub(super) struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// The changes since the last sync, in their order.
    pending: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate { from: usize, to: usize },
}

/// The pending changes that a cut leaves.
#[derive(Debug, Clone, Copy)]
enum Remains {
    /// Nothing had reached the platter.
    None,
    /// All of them had.
    All,
    /// The first ones had, in their order.
    First,
    /// Any of them had.
    Some,
    /// Any of their sectors had.
    Torn,
}

impl Content {
    /// Content that is all durable.
    pub(super) fn durable(bytes: Vec<u8>) -> Self {
        Self { seen: bytes.clone(), durable: bytes, pending: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }

    /// Fills the buffer as far as the file goes, the rest with zeros; returns how much there was.
    pub(super) fn read(&self, offset: usize, buffer: &mut [u8]) -> usize {
        let there = self.seen.get(offset..).unwrap_or_default();
        let count = there.len().min(buffer.len());
        buffer[..count].copy_from_slice(&there[..count]);
        buffer[count..].fill(0);
        count
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        put(&mut self.seen, offset, bytes);
        self.pending.push(Change::Write { offset, bytes: bytes.to_vec() });
    }

    pub(super) fn truncate(&mut self, length: usize) {
        self.pending.push(Change::Truncate { from: self.seen.len(), to: length });
        resize(&mut self.seen, length);
    }

    pub(super) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            match change {
                Change::Write { offset, bytes } => put(&mut self.durable, offset, &bytes),
                Change::Truncate { to, .. } => resize(&mut self.durable, to),
            }
        }
    }

    /// A sync that fails: some changes are on the platter, the others never will be, and it is unknown which.
    pub(super) fn fail_to_sync(&mut self, random: &mut Rng) {
        self.durable = self.after_power_cut(random);
        self.pending.clear();
    }

    /// The content of the platter after a power cut now: everything that was synced, and some pending
    /// changes.
    ///
    /// Each sector holds one of the versions it had since the last sync; the size is one that it had, and
    /// follows the order of the changes, as file systems log it.
    pub(super) fn after_power_cut(&self, random: &mut Rng) -> Vec<u8> {
        let fates = self.fates(random);
        let mut content = self.durable.clone();
        resize(&mut content, self.size_after(&fates));
        if content.len() > self.durable.len() && random.u8(..4) == 0 {
            // Space that was allocated but never written may hold anything.
            random.fill(&mut content[self.durable.len()..]);
        }
        for (sector, changes) in self.by_sector() {
            // A sector whose file was not cut short after all was not written anew either.
            let lost = |index: &&usize| !fates[**index].kept && self.pending[**index].is_truncate();
            let reachable = changes.iter().position(|index| lost(&index)).unwrap_or(changes.len());
            let survives = |index: &usize| match fates[*index] {
                Fate { torn: true, .. } => random.bool(),
                Fate { kept, .. } => kept,
            };
            let Some(last) = changes[..reachable].iter().rposition(survives) else { continue };
            for index in &changes[..=last] {
                self.pending[*index].apply_within(sector * SECTOR..(sector + 1) * SECTOR, &mut content);
            }
        }
        content
    }

    fn fates(&self, random: &mut Rng) -> Vec<Fate> {
        let remains =
            [Remains::None, Remains::All, Remains::First, Remains::Some, Remains::Torn][random.usize(..5)];
        let count = self.pending.len();
        let first = random.usize(..=count);
        // The size is logged in the order of the changes: a prefix of them.
        let logged = match remains {
            Remains::None => 0,
            Remains::All => count,
            Remains::First => first,
            Remains::Some | Remains::Torn => random.usize(..=count),
        };
        let fate = |(index, change): (usize, &Change)| match (change, remains) {
            (Change::Truncate { .. }, _) => {
                Fate { kept: index < logged, torn: false, logged: index < logged }
            }
            (_, Remains::None) => Fate { kept: false, torn: false, logged: false },
            (_, Remains::All) => Fate { kept: true, torn: false, logged: true },
            (_, Remains::First) => Fate { kept: index < first, torn: false, logged: index < first },
            (_, Remains::Some) => Fate { kept: random.bool(), torn: false, logged: index < logged },
            (_, Remains::Torn) => {
                let torn = random.bool();
                Fate { kept: random.bool(), torn, logged: index < logged }
            }
        };
        self.pending.iter().enumerate().map(fate).collect()
    }

    fn size_after(&self, fates: &[Fate]) -> usize {
        let logged = self.pending.iter().zip(fates).filter(|(_, fate)| fate.logged);
        logged.fold(self.durable.len(), |size, (change, _)| match change {
            Change::Write { offset, bytes } => size.max(offset + bytes.len()),
            Change::Truncate { to, .. } => *to,
        })
    }

    /// The changes that touch each sector, in their order.
    fn by_sector(&self) -> BTreeMap<usize, Vec<usize>> {
        let mut sectors = BTreeMap::<usize, Vec<usize>>::new();
        for (index, change) in self.pending.iter().enumerate() {
            let Range { start, end } = change.touches();
            for sector in start / SECTOR..end.div_ceil(SECTOR) {
                sectors.entry(sector).or_default().push(index);
            }
        }
        sectors
    }
}

/// The effect of a cut on one change.
#[derive(Debug, Clone, Copy)]
struct Fate {
    kept: bool,
    /// Each sector of it is kept or lost on its own.
    torn: bool,
    /// The size that it gave the file is kept.
    logged: bool,
}

impl Change {
    fn is_truncate(&self) -> bool {
        matches!(self, Self::Truncate { .. })
    }

    fn touches(&self) -> Range<usize> {
        match self {
            Self::Write { offset, bytes } => *offset..offset + bytes.len(),
            Self::Truncate { from, to } => (*to).min(*from)..(*to).max(*from),
        }
    }

    /// Applies the part of it that lies within a sector and within the file.
    fn apply_within(&self, sector: Range<usize>, content: &mut [u8]) {
        let touched = self.touches();
        let (start, end) = (touched.start.max(sector.start), touched.end.min(sector.end).min(content.len()));
        if start >= end {
            return;
        }
        match self {
            Self::Write { offset, bytes } => {
                content[start..end].copy_from_slice(&bytes[start - offset..end - offset]);
            }
            Self::Truncate { .. } => content[start..end].fill(0),
        }
    }
}

fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    grow(file, offset);
    let within = bytes.len().min(file.len() - offset);
    file[offset..offset + within].copy_from_slice(&bytes[..within]);
    file.extend_from_slice(&bytes[within..]);
}

/// Adds zeros, many at a time: tests are not optimised, and byte by byte this would take most of their time.
fn grow(file: &mut Vec<u8>, length: usize) {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    while file.len() < length {
        let count = ZEROS.len().min(length - file.len());
        file.extend_from_slice(&ZEROS[..count]);
    }
}

fn resize(file: &mut Vec<u8>, length: usize) {
    file.truncate(length);
    grow(file, length);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that a thousand cuts leave of a file that is `old`, and then changed without a sync.
    fn left(old: &[u8], change: impl Fn(&mut Content)) -> Vec<Vec<u8>> {
        let mut random = Rng::with_seed(3);
        let mut content = Content::durable(old.to_vec());
        change(&mut content);
        let mut all: Vec<_> = (0..1_000).map(|_| content.after_power_cut(&mut random)).collect();
        all.sort();
        all.dedup();
        all
    }

    #[test]
    fn synced_bytes_survive_every_cut() {
        let all = left(b"old", |content| {
            content.write(1, b"new");
            content.sync();
        });
        assert_eq!(all, [b"onew"]);
    }

    #[test]
    fn unsynced_sectors_are_kept_or_lost_separately() {
        let all = left(&[0; 2 * SECTOR], |content| content.write(0, &[1; 2 * SECTOR]));
        let ends: Vec<_> = all.iter().map(|left| (left[0], left[2 * SECTOR - 1])).collect();
        assert_eq!(ends, [(0, 0), (0, 1), (1, 0), (1, 1)]);
    }

    #[test]
    fn sector_holds_one_of_its_versions() {
        let all = left(b"..", |content| {
            content.write(0, b"a");
            content.write(1, b"b");
        });
        assert_eq!(all, [b"..".to_vec(), b"a.".to_vec(), b"ab".to_vec()], "the sector never held \".b\"");
    }

    #[test]
    fn truncate_and_write_keep_their_order() {
        let all = left(b"old", |content| {
            content.truncate(0);
            content.write(0, b"n");
        });
        for content in [&b"old"[..], b"", b"n", b"\0"] {
            assert!(all.contains(&content.to_vec()), "{content:?} may be left");
        }
        assert!(!all.contains(&b"nld".to_vec()), "the old block is not written any more");
    }
}

//! The slots in which no running attempt is marked.

use crate::store::running_marks::RunningMarks;

/// The number of no slot.
const NONE: u32 = u32::MAX;

/// The slots in which no attempt is marked; the last one is used first.
#[derive(Debug, Default)]
pub(super) struct FreeSlots {
    local: Vec<u32>,
    remote: Vec<u32>,
    /// Those from this one on are for attempts elsewhere.
    first_remote: u32,
}

impl FreeSlots {
    /// All slots; none without marks.
    pub(super) fn of(marks: Option<&dyn RunningMarks>) -> Self {
        let Some(marks) = marks else { return Self::default() };
        let (local, remote) = marks.slots();
        Self { first_remote: remote.start, local: local.rev().collect(), remote: remote.rev().collect() }
    }

    /// Takes a slot; `u32::MAX` when none is free.
    pub(super) fn take(&mut self, is_remote: bool) -> u32 {
        let free = if is_remote { &mut self.remote } else { &mut self.local };
        free.pop().unwrap_or(NONE)
    }

    /// Lets slots be used again.
    pub(super) fn put_back(&mut self, slots: impl IntoIterator<Item = u32>) {
        for slot in slots.into_iter().filter(|slot| *slot != NONE) {
            let free = if slot >= self.first_remote { &mut self.remote } else { &mut self.local };
            free.push(slot);
        }
    }
}

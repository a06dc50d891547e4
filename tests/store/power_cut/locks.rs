//! The locks of a file and of the memory that its connections share, counted within this process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use rusqlite::ffi;

/// The number of locks on the shared memory.
const SLOTS: usize = ffi::SQLITE_SHM_NLOCK as usize;

/// Names one open file among all of the process.
pub(super) type Owner = usize;

/// The locks of a file, and the memory its connections share.
#[derive(Debug, Default)]
pub(super) struct Locks {
    /// The level of each owner: `SQLITE_LOCK_SHARED` to `SQLITE_LOCK_EXCLUSIVE`.
    held: Mutex<BTreeMap<Owner, i32>>,
    slots: Mutex<[Slot; SLOTS]>,
    /// Regions stay where they are as long as the file is there.
    shared: Mutex<Vec<Box<[AtomicU64]>>>,
    mapped: Mutex<usize>,
}

/// A lock on shared memory.
#[derive(Debug, Default)]
struct Slot {
    shared: Vec<Owner>,
    exclusive: Option<Owner>,
}

/// A name for one more open file.
pub(super) fn new_owner() -> Owner {
    static OWNERS: AtomicUsize = AtomicUsize::new(1);
    OWNERS.fetch_add(1, Ordering::Relaxed)
}

impl Locks {
    /// Raises the level of this owner; `false` when the locks of others prevent it.
    pub(super) fn lock(&self, owner: Owner, level: i32) -> bool {
        let mut held = self.held();
        let mine = held.get(&owner).copied().unwrap_or(ffi::SQLITE_LOCK_NONE);
        let highest = held.iter().filter(|(other, _)| **other != owner).map(|(_, level)| *level).max();
        let others = highest.unwrap_or(ffi::SQLITE_LOCK_NONE);
        if mine >= level {
            return true;
        }
        let is_free = match level {
            ffi::SQLITE_LOCK_SHARED => others < ffi::SQLITE_LOCK_PENDING,
            ffi::SQLITE_LOCK_RESERVED | ffi::SQLITE_LOCK_PENDING => others < ffi::SQLITE_LOCK_RESERVED,
            _ => others < ffi::SQLITE_LOCK_SHARED,
        };
        if is_free {
            held.insert(owner, level);
        } else if level == ffi::SQLITE_LOCK_EXCLUSIVE && others <= ffi::SQLITE_LOCK_SHARED {
            // Keeps new readers out until the present ones are done.
            held.insert(owner, ffi::SQLITE_LOCK_PENDING);
        }
        is_free
    }

    /// Lowers the level of this owner.
    pub(super) fn unlock(&self, owner: Owner, level: i32) {
        let mut held = self.held();
        let _ = match level {
            ffi::SQLITE_LOCK_NONE => held.remove(&owner),
            level => held.insert(owner, level),
        };
    }

    pub(super) fn is_reserved(&self) -> bool {
        self.held().values().any(|level| *level >= ffi::SQLITE_LOCK_RESERVED)
    }

    /// Takes these slots, all or none of them.
    pub(super) fn lock_slots(&self, owner: Owner, first: usize, count: usize, is_exclusive: bool) -> bool {
        let mut slots = self.slots();
        let Some(wanted) = slots.get_mut(first..first + count) else { return false };
        let is_free = |slot: &Slot| {
            let is_shared = slot.shared.iter().any(|other| *other != owner);
            slot.exclusive.is_none_or(|other| other == owner) && !(is_exclusive && is_shared)
        };
        if !wanted.iter().all(is_free) {
            return false;
        }
        for slot in wanted {
            if is_exclusive {
                slot.exclusive = Some(owner);
            } else if !slot.shared.contains(&owner) {
                slot.shared.push(owner);
            }
        }
        true
    }

    pub(super) fn unlock_slots(&self, owner: Owner, first: usize, count: usize) {
        for slot in self.slots().iter_mut().skip(first).take(count) {
            slot.shared.retain(|other| *other != owner);
            slot.exclusive = slot.exclusive.filter(|other| *other != owner);
        }
    }

    /// Releases all locks of an owner.
    pub(super) fn release(&self, owner: Owner) {
        self.unlock(owner, ffi::SQLITE_LOCK_NONE);
        self.unlock_slots(owner, 0, SLOTS);
    }

    /// The address of a region of the shared memory; `None` when there is none yet and none is to be made.
    pub(super) fn region(&self, index: usize, bytes: usize, extend: bool) -> Option<*mut std::ffi::c_void> {
        let mut shared = self.shared.lock().expect("no one panics while holding the regions");
        while shared.len() <= index && extend {
            shared.push((0..bytes / size_of::<u64>()).map(|_| AtomicU64::new(0)).collect());
        }
        shared.get(index).map(|region| region.as_ptr().cast_mut().cast())
    }

    pub(super) fn map(&self) {
        *self.mapped.lock().expect("no one panics while counting") += 1;
    }

    /// Counts one user of the shared memory less, and clears it after the last one.
    pub(super) fn unmap(&self) {
        let mut mapped = self.mapped.lock().expect("no one panics while counting");
        *mapped -= 1;
        if *mapped == 0 {
            self.shared.lock().expect("no one panics while holding the regions").clear();
        }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Owner, i32>> {
        self.held.lock().expect("no one panics while holding the locks")
    }

    fn slots(&self) -> MutexGuard<'_, [Slot; SLOTS]> {
        self.slots.lock().expect("no one panics while holding the locks")
    }
}

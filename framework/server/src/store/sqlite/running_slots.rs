//! The attempts that run, in a small mapped file that survives the process: a store into memory marks each of
//! them.
//!
//! The file also carries the lock of the store, and the process that holds it.
#![expect(unsafe_code, reason = "the file is mapped into memory, where every attempt marks itself")]

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, Result};
use framework_protocol::task::TaskId;
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{FlockOperation, flock};

use crate::store::RunningMarks;

/// The number of attempts that can be marked; more than can run at once.
const SLOTS: usize = 128 * 1024;
/// The numbers before the slots: a magic number, the process, and two for the boot of the machine.
const HEAD: usize = 8;
const MAGIC: u64 = u64::from_le_bytes(*b"thnkrun1");

/// The mapped file. A slot holds the id of a running task plus one, and nothing otherwise.
#[derive(Debug)]
pub(super) struct RunningSlots {
    map: MmapRaw,
    /// Holds the lock until it is released or dropped, or the process ends.
    file: File,
    /// Whether the slots belong to another process by now.
    is_released: AtomicBool,
}

/// The file beside a queue's.
pub(super) fn path_of(queue: &Path) -> PathBuf {
    let mut path = queue.as_os_str().to_owned();
    path.push(".running");
    path.into()
}

impl RunningSlots {
    /// Locks the store and returns the tasks that were running when the last process died; none if the
    /// machine itself went down since, for then the file does not say.
    ///
    /// # Errors
    /// When another process holds the lock: it is named.
    pub(super) fn open(queue: &Path) -> Result<(Self, Vec<TaskId>)> {
        let path = path_of(queue);
        let context = || format!("opening {}", path.display());
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(&path).with_context(context)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(QueueLocked { file: queue.to_owned(), pid: holder(&mut file) }.into());
        }
        let size = ((HEAD + SLOTS) * 8) as u64;
        if file.metadata()?.len() != size {
            file.set_len(0)?;
            file.set_len(size).with_context(context)?;
        }
        // SAFETY: the lock keeps every other process of this program out, and the file keeps its size as long
        // as it is held; what is in it is only ever read and written as atomic numbers, any of which is
        // valid.
        let map = MmapOptions::new().map_raw(&file).with_context(context)?;
        let slots = Self { map, file, is_released: AtomicBool::new(false) };
        let running = slots.running();
        slots.begin();
        Ok((slots, running))
    }

    fn at(&self, index: usize) -> &AtomicU64 {
        assert!(index < HEAD + SLOTS, "the file has no such slot");
        // SAFETY: within the map, whose start is aligned to a page, and used only as atomics.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().cast::<u64>().add(index)) }
    }

    fn running(&self) -> Vec<TaskId> {
        let head = |index| self.at(index).load(Ordering::Relaxed);
        let (first, second) = boot();
        if head(0) != MAGIC || head(2) != first || head(3) != second {
            return Vec::new();
        }
        let slots = (HEAD..HEAD + SLOTS).map(head);
        slots.filter_map(|id| id.checked_sub(1)).collect()
    }

    fn begin(&self) {
        (HEAD..HEAD + SLOTS).filter(|slot| self.at(*slot).load(Ordering::Relaxed) != 0).for_each(|slot| {
            self.at(slot).store(0, Ordering::Relaxed);
        });
        let (first, second) = boot();
        for (index, number) in [MAGIC, u64::from(std::process::id()), first, second].into_iter().enumerate() {
            self.at(index).store(number, Ordering::Relaxed);
        }
    }

    pub(super) fn clear(&self, slot: u32) {
        self.set(slot, 0);
    }

    fn set(&self, slot: u32, number: u64) {
        if !self.is_released.load(Ordering::Relaxed) {
            self.at(HEAD + slot as usize).store(number, Ordering::Relaxed);
        }
    }

    /// Releases the lock; marks are without effect from now on.
    pub(super) fn release(&self) {
        self.is_released.store(true, Ordering::SeqCst);
        if let Err(error) = flock(&self.file, FlockOperation::Unlock) {
            tracing::error!("the queue stays locked until this process has ended: {error}");
        }
    }

    /// Every slot, the first one last.
    pub(super) fn all() -> Vec<u32> {
        (0..SLOTS as u32).rev().collect()
    }
}

impl RunningMarks for RunningSlots {
    fn mark(&self, slot: u32, task: TaskId) {
        self.set(slot, task + 1);
    }
}

/// Another process uses the queue.
#[derive(Debug, thiserror::Error)]
#[error("another process uses {}: the task server with pid {pid}", file.display())]
pub struct QueueLocked {
    pub file: PathBuf,
    /// The process that holds the lock, as far as the file says.
    pub pid: u64,
}

fn holder(file: &mut File) -> u64 {
    let mut head = [0; 16];
    let read = file.read_exact(&mut head);
    read.map_or(0, |()| u64::from_le_bytes(head[8..].try_into().unwrap_or_default()))
}

/// Tells this run of the machine from the next one.
fn boot() -> (u64, u64) {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = id.chars().filter(char::is_ascii_hexdigit).collect();
    let half = |range| digits.get(range).and_then(|half| u64::from_str_radix(half, 16).ok()).unwrap_or(0);
    (half(0..16), half(16..32))
}

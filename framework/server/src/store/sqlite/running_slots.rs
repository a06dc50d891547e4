//! The attempts that run, in a small mapped file that survives the process: a store into memory marks each of
//! them.
//!
//! Beside these are the attempts that run elsewhere, whose workers may outlive the process.
//!
//! The file also carries a lock of the name of the store, the process that holds it, and the id of the next
//! task, by which tasks are missed that are not in the queue's file any more.
#![expect(unsafe_code, reason = "the file is mapped into memory, where every attempt marks itself")]

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, Result};
use framework_console::files;
use framework_protocol::task::TaskId;
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::reserve::allocate;
use crate::store::LeaseHolder;
use crate::store::running_marks::{AssignedTask, LastProcess, RunningMarks};

/// The number of attempts that can be marked; more than can run at once.
const SLOTS: usize = 128 * 1024;
/// The number of attempts elsewhere that can be marked; others wait again when the process dies.
const REMOTE_SLOTS: usize = 32 * 1024;
/// The numbers of such a slot: the task plus one, two for the session, two for the lease, and its begin.
const REMOTE_WORDS: usize = 6;
/// The numbers in the file.
const WORDS: usize = HEAD + SLOTS + REMOTE_SLOTS * REMOTE_WORDS;
/// The numbers before the slots: a magic number, the process, two for the boot of the machine, and the id of
/// the next task.
const HEAD: usize = 8;
const NEXT_ID: usize = 4;
const MAGIC: u64 = u64::from_le_bytes(*b"thnkrun1");

/// The mapped file. A slot holds the id of a running task plus one, and nothing otherwise.
#[derive(Debug)]
pub struct RunningSlots {
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
    /// Locks the store and returns what the last process has left.
    ///
    /// # Errors
    /// When another process holds the lock: it is named. When the file cannot be locked or mapped at all.
    pub fn open(queue: &Path) -> Result<(Self, LastProcess)> {
        let path = path_of(queue);
        let context = || format!("opening {}", path.display());
        if let Some(folder) = path.parent() {
            files::create_folder(folder).with_context(context)?;
        }
        let file = files::private().read(true).write(true).open(&path).with_context(context)?;
        lock(&file, queue)?;
        files::restrict(&path).with_context(context)?;
        let size = (WORDS * 8) as u64;
        let found = file.metadata()?.len();
        if found != size {
            // That of an earlier version has no slots for tasks elsewhere.
            if found != ((HEAD + SLOTS) * 8) as u64 {
                file.set_len(0)?;
            }
            file.set_len(size).with_context(context)?;
        }
        // A store into a page for which the disk has no room would end the process (SIGBUS).
        allocate(&file, size)
            .with_context(|| format!("taking {size} bytes of the disk for {}", path.display()))?;
        // SAFETY: the lock keeps every other process of this program out, and the file keeps its size as long
        // as it is held; what is in it is only ever read and written as atomic numbers, any of which is
        // valid.
        let map = MmapOptions::new().map_raw(&file).with_context(context)?;
        let slots = Self { map, file, is_released: AtomicBool::new(false) };
        let last = slots.last_process();
        slots.begin();
        Ok((slots, last))
    }

    fn at(&self, index: usize) -> &AtomicU64 {
        assert!(index < WORDS, "the file has no such slot");
        // SAFETY: within the map, whose start is aligned to a page, and used only as atomics.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().cast::<u64>().add(index)) }
    }

    fn last_process(&self) -> LastProcess {
        let number = |index| self.at(index).load(Ordering::Relaxed);
        if number(0) != MAGIC {
            return LastProcess::default();
        }
        let is_this_boot = (number(2), number(3)) == boot();
        let slots = (HEAD..HEAD + SLOTS).filter(|_| is_this_boot).map(number);
        let running = slots.filter_map(|id| id.checked_sub(1)).collect();
        let assigned = (0..REMOTE_SLOTS).filter(|_| is_this_boot).filter_map(|slot| self.assigned(slot));
        LastProcess { running, assigned: assigned.collect(), next_id: number(NEXT_ID) }
    }

    /// The task in a slot for those elsewhere.
    fn assigned(&self, slot: usize) -> Option<AssignedTask> {
        let words: [u64; REMOTE_WORDS] =
            std::array::from_fn(|word| self.at(remote(slot) + word).load(Ordering::Acquire));
        let [task, first, second, epoch, token, started_ms] = words;
        let task = task.checked_sub(1)?;
        let mut session = [0; 16];
        session[..8].copy_from_slice(&first.to_le_bytes());
        session[8..].copy_from_slice(&second.to_le_bytes());
        Some(AssignedTask { task, holder: LeaseHolder { session, epoch, token }, started_ms })
    }

    fn begin(&self) {
        let slots = (HEAD..HEAD + SLOTS).chain((0..REMOTE_SLOTS).map(remote));
        slots.filter(|slot| self.at(*slot).load(Ordering::Relaxed) != 0).for_each(|slot| {
            self.at(slot).store(0, Ordering::Relaxed);
        });
        let (first, second) = boot();
        for (index, number) in [MAGIC, u64::from(std::process::id()), first, second].into_iter().enumerate() {
            self.at(index).store(number, Ordering::Relaxed);
        }
    }

    fn set(&self, index: usize, number: u64) {
        if !self.is_released.load(Ordering::Relaxed) {
            self.at(index).store(number, Ordering::Release);
        }
    }

    /// Releases the lock; marks are without effect from now on.
    pub fn release(&self) {
        self.is_released.store(true, Ordering::SeqCst);
        if let Err(error) = flock(&self.file, FlockOperation::Unlock) {
            tracing::error!("the queue stays locked until this process has ended: {error}");
        }
    }

    /// Whether a slot is one for tasks elsewhere.
    fn is_remote(slot: u32) -> bool {
        slot as usize >= SLOTS
    }
}

impl RunningMarks for RunningSlots {
    fn slots(&self) -> (Range<u32>, Range<u32>) {
        (0..SLOTS as u32, SLOTS as u32..(SLOTS + REMOTE_SLOTS) as u32)
    }

    fn mark(&self, slot: u32, task: TaskId) {
        if !Self::is_remote(slot) {
            self.set(HEAD + slot as usize, task + 1);
        }
    }

    fn assign(&self, slot: u32, task: TaskId, holder: &LeaseHolder, started_ms: u64) -> bool {
        let Some(slot) = (slot as usize).checked_sub(SLOTS).filter(|slot| *slot < REMOTE_SLOTS) else {
            return false;
        };
        let first = u64::from_le_bytes(*holder.session.first_chunk().expect("it has 16 bytes"));
        let second = u64::from_le_bytes(*holder.session.last_chunk().expect("it has 16 bytes"));
        // The task last: a process that dies here leaves a slot that is complete, or none.
        let words = [first, second, holder.epoch, holder.token, started_ms];
        words.into_iter().enumerate().for_each(|(word, number)| self.set(remote(slot) + 1 + word, number));
        self.set(remote(slot), task + 1);
        true
    }

    fn clear(&self, slots: &[u32]) {
        for slot in slots {
            let slot = *slot as usize;
            let index = if slot < SLOTS { HEAD + slot } else { remote(slot - SLOTS) };
            self.set(index, 0);
        }
    }

    fn note_next_id(&self, id: TaskId) {
        if !self.is_released.load(Ordering::Relaxed) {
            self.at(NEXT_ID).store(id, Ordering::Relaxed);
        }
    }
}

/// Where a slot for a task elsewhere begins.
fn remote(slot: usize) -> usize {
    HEAD + SLOTS + slot * REMOTE_WORDS
}

/// Another process uses the queue.
#[derive(Debug, thiserror::Error)]
#[error("another process uses {}{}", file.display(), pid.map(|pid| format!(": the task server with pid {pid}")).unwrap_or_default())]
pub struct QueueLocked {
    pub file: PathBuf,
    /// The process that holds the lock, as far as it is known.
    pub pid: Option<u64>,
}

/// Locks a file of the queue at `path` for this process alone.
///
/// # Errors
/// [`QueueLocked`] when another process holds the lock, and any other error as what it is.
pub(super) fn lock(file: &File, path: &Path) -> Result<()> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => {
            let resolved = path.canonicalize().unwrap_or_else(|_| path.to_owned());
            let pid = holder(&resolved);
            Err(QueueLocked { file: path.to_owned(), pid }.into())
        }
        Err(error) => Err(no_lock(error)).with_context(|| format!("locking {}", path.display())),
    }
}

/// What a failed lock means for people.
fn no_lock(error: Errno) -> anyhow::Error {
    let advice = match error {
        Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL => {
            "its file system gives no locks, without which two servers could use the queue at once; \
             choose a queue_file on a local disk"
        }
        _ => "the file cannot be locked",
    };
    anyhow::Error::new(error).context(advice)
}

/// Checks that no other process holds the lock of the queue's name, without creating anything.
///
/// # Errors
/// [`QueueLocked`].
pub(super) fn check_unlocked(queue: &Path) -> Result<()> {
    match File::open(path_of(queue)) {
        Ok(file) => lock(&file, queue),
        // There is none, or opening it later says why not.
        Err(_) => Ok(()),
    }
}

/// The process that uses the queue or has used it last, if the file beside it says so.
pub(super) fn holder(queue: &Path) -> Option<u64> {
    let mut head = [0; 16];
    File::open(path_of(queue)).and_then(|mut file| file.read_exact(&mut head)).ok()?;
    let pid = u64::from_le_bytes(head[8..].try_into().unwrap_or_default());
    (pid != 0).then_some(pid)
}

/// Tells this run of the machine from the next one.
fn boot() -> (u64, u64) {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = id.chars().filter(char::is_ascii_hexdigit).collect();
    let half = |range| digits.get(range).and_then(|half| u64::from_str_radix(half, 16).ok()).unwrap_or(0);
    (half(0..16), half(16..32))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn slots_have_their_room_on_the_disk_before_any_task_runs() {
        let folder = tempfile::TempDir::new().unwrap();
        let queue = folder.path().join("queue.db");
        // As an earlier version made it: without any room.
        File::create(path_of(&queue)).unwrap().set_len(((HEAD + SLOTS) * 8) as u64).unwrap();
        let (slots, _) = RunningSlots::open(&queue).unwrap();
        let allocated = slots.file.metadata().unwrap().blocks() * 512;
        assert!(allocated >= ((HEAD + SLOTS) * 8) as u64, "{allocated} bytes");
    }

    #[test]
    fn assigned_tasks_outlive_their_process_with_their_holders() {
        let folder = tempfile::TempDir::new().unwrap();
        let queue = folder.path().join("queue.db");
        // As an earlier version made it: without slots for these.
        let (slots, _) = RunningSlots::open(&queue).unwrap();
        slots.mark(3, 7);
        slots.note_next_id(9);
        slots.file.set_len(((HEAD + SLOTS) * 8) as u64).unwrap();
        drop(slots);
        let (slots, last) = RunningSlots::open(&queue).unwrap();
        assert_eq!((last.running, last.assigned, last.next_id), (vec![7], Vec::new(), 9));
        let assigned = |task| AssignedTask {
            task,
            holder: LeaseHolder { session: *b"0123456789abcdef", epoch: 5, token: task },
            started_ms: 11,
        };
        let free: Vec<_> = slots.slots().1.collect();
        for (slot, task) in free.iter().zip(0..3) {
            assert!(slots.assign(*slot, task, &assigned(task).holder, 11));
        }
        slots.clear(&free[1..2]);
        assert!(
            !slots.assign(0, 4, &assigned(4).holder, 11)
                && !slots.assign(u32::MAX, 4, &assigned(4).holder, 11)
        );
        drop(slots);
        let (slots, mut last) = RunningSlots::open(&queue).unwrap();
        last.assigned.sort_by_key(|assigned| assigned.task);
        assert_eq!((last.running, last.assigned), (Vec::new(), vec![assigned(0), assigned(2)]));
        drop(slots);
        assert!(RunningSlots::open(&queue).unwrap().1.assigned.is_empty(), "the process has taken them over");
    }

    #[test]
    fn lock_that_the_file_system_does_not_give_is_reported_with_advice() {
        for error in [Errno::NOLCK, Errno::OPNOTSUPP, Errno::NOSYS] {
            let report = format!("{:#}", no_lock(error));
            assert!(report.contains("choose a queue_file on a local disk"), "{report}");
        }
        assert!(!format!("{:#}", no_lock(Errno::IO)).contains("local disk"));
    }

    #[test]
    fn slots_of_an_earlier_boot_do_not_count_as_running() {
        let folder = tempfile::TempDir::new().unwrap();
        let queue = folder.path().join("queue.db");
        let (slots, _) = RunningSlots::open(&queue).unwrap();
        slots.mark(0, 7);
        slots.mark(1, 8);
        slots.clear(&[1]);
        drop(slots);
        let (slots, last) = RunningSlots::open(&queue).unwrap();
        assert_eq!(last.running, [7], "those of this boot do, until they are cleared");
        slots.mark(0, 7);
        slots.note_next_id(9);
        slots.at(2).fetch_xor(1, Ordering::Relaxed);
        drop(slots);
        let last = RunningSlots::open(&queue).unwrap().1;
        assert!(last.running.is_empty(), "the boot is another one");
        assert_eq!(last.next_id, 9, "ids are given once, whatever the boot");
    }
}

//! Room on the disk that is kept for the ends of tasks, in a file beside the queue's: on a disk that is full
//! it is given up for them, and taken again when there is room.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use framework_console::files;
use rustix::fs::{FallocateFlags, fallocate, fstatvfs};

/// The most bytes of a reserve, and the fewest.
const BYTES_MAX: u64 = 8 * 1024 * 1024;
const BYTES_MIN: u64 = 512 * 1024;
/// The part of the disk that a reserve may take.
const SHARE_OF_DISK: u64 = 24;

/// The reserve of one queue.
#[derive(Debug)]
pub(super) struct Reserve {
    file: File,
    bytes: u64,
    is_held: bool,
}

/// The file beside a queue's.
pub(super) fn path_of(queue: &Path) -> PathBuf {
    let mut path = queue.as_os_str().to_owned();
    path.push(".reserve");
    path.into()
}

impl Reserve {
    /// Takes the reserve, as far as the disk has room for it now.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub(super) fn open(queue: &Path) -> io::Result<Self> {
        let file = files::private().read(true).write(true).open(path_of(queue))?;
        let disk = fstatvfs(&file)?;
        let bytes = disk.f_blocks.saturating_mul(disk.f_frsize) / SHARE_OF_DISK;
        let mut reserve = Self { file, bytes: bytes.clamp(BYTES_MIN, BYTES_MAX), is_held: false };
        reserve.take();
        Ok(reserve)
    }

    pub(super) fn is_held(&self) -> bool {
        self.is_held
    }

    /// Leaves the room to others.
    pub(super) fn release(&mut self) {
        self.is_held = false;
        if let Err(error) = self.file.set_len(0) {
            tracing::error!("the reserve of the queue cannot be given up: {error}");
        }
    }

    /// Takes the room again; `false` if there is too little, or would be too little left beside it.
    pub(super) fn take(&mut self) -> bool {
        let has_room = fstatvfs(&self.file).is_ok_and(|disk| {
            let held = self.file.metadata().map_or(0, |metadata| metadata.len());
            disk.f_bavail.saturating_mul(disk.f_frsize).saturating_add(held) >= self.bytes + BYTES_MIN
        });
        self.is_held = has_room && allocate(&self.file, self.bytes).is_ok();
        if !self.is_held {
            self.release();
        }
        self.is_held
    }
}

/// Gives a file so many bytes that the disk has for certain, and keeps what is in it.
///
/// # Errors
/// There is too little room.
pub(super) fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        // A file system that cannot promise room may have it all the same.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => write_through(file, bytes),
        allocated => allocated.map_err(io::Error::from),
    }
}

/// Writes every block of a file again, and zeros after its end.
fn write_through(file: &File, bytes: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    const BLOCK: usize = 64 * 1024;
    for offset in (0..bytes).step_by(BLOCK) {
        let mut block = vec![0; BLOCK.min(usize::try_from(bytes - offset).unwrap_or(BLOCK))];
        let mut read = 0;
        while read < block.len() {
            match file.read_at(&mut block[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(error) => return Err(error),
            }
        }
        file.write_all_at(&block, offset)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::store::StoreOptions;
    use crate::store::durable::journal::{Journal, Room};
    use crate::store::sqlite::{SqliteJournal, SqliteOptions};

    #[test]
    fn reserve_has_its_room_on_the_disk_until_it_is_given_up() {
        let folder = tempfile::TempDir::new().unwrap();
        let mut reserve = Reserve::open(&folder.path().join("queue.db")).unwrap();
        let allocated = |reserve: &Reserve| reserve.file.metadata().unwrap().blocks() * 512;
        assert!(reserve.is_held() && reserve.bytes >= BYTES_MIN);
        assert!(allocated(&reserve) >= reserve.bytes, "{} bytes", allocated(&reserve));
        reserve.release();
        assert!(!reserve.is_held() && allocated(&reserve) == 0);
        assert!(reserve.take() && allocated(&reserve) >= reserve.bytes);
    }

    #[test]
    fn journal_gives_the_reserve_up_for_ends_and_takes_it_again_before_tasks_have_room() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("queue.db");
        let opened = SqliteJournal::open(SqliteOptions::at(&file), &StoreOptions::default()).unwrap();
        let mut journal = opened.journal;
        let allocated = || path_of(&file).metadata().unwrap().blocks() * 512;
        assert_eq!((journal.begin(0).unwrap(), allocated() >= BYTES_MIN), (None, true));
        assert_eq!((journal.make_room(), allocated()), (Room::ForEnds, 0));
        assert_eq!((journal.make_room(), allocated() >= BYTES_MIN), (Room::ForAll, true));
    }
}

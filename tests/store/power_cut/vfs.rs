//! A virtual file system of SQLite, under a name of its own, for the disks of these tests.
#![expect(unsafe_code, reason = "SQLite calls this in C; nothing else of the tests needs it")]

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, Once};

use rusqlite::ffi;

use super::disk::{Disk, DiskError, File};
use super::locks::{Owner, new_owner};

/// The name by which SQLite opens files on the disks of these tests.
pub(crate) const VFS: &str = "memory-disk";
const VFS_NAME: &CStr = c"memory-disk";

/// The disks, by the directory that they appear as.
static MOUNTED: Mutex<BTreeMap<PathBuf, Arc<Disk>>> = Mutex::new(BTreeMap::new());

/// A disk that SQLite finds below a directory, until this is dropped.
#[derive(Debug)]
pub(crate) struct Mounted {
    directory: PathBuf,
    pub(crate) disk: Arc<Disk>,
}

impl Mounted {
    pub(crate) fn at(directory: &Path, disk: Disk) -> Self {
        register();
        let disk = Arc::new(disk);
        let before = mounted().insert(directory.to_owned(), disk.clone());
        assert!(before.is_none(), "another disk is mounted at {}", directory.display());
        Self { directory: directory.to_owned(), disk }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        mounted().remove(&self.directory);
    }
}

fn mounted() -> MutexGuard<'static, BTreeMap<PathBuf, Arc<Disk>>> {
    MOUNTED.lock().expect("no one panics while holding the mounts")
}

/// An open file as SQLite holds it: its methods come first, the rest belongs to this file.
#[repr(C)]
struct Opened {
    base: ffi::sqlite3_file,
    /// From `Box::into_raw`; null until the file is open.
    inner: *mut Inner,
}

struct Inner {
    disk: Arc<Disk>,
    file: Arc<File>,
    owner: Owner,
    /// It uses the memory that is shared with the other connections.
    is_mapped: bool,
    /// To be removed when it is closed.
    temporary: Option<String>,
}

fn register() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // SAFETY: what is registered lives as long as the process, and the default VFS does, too.
        let code = unsafe {
            let default = ffi::sqlite3_vfs_find(std::ptr::null());
            assert!(!default.is_null(), "SQLite has a default VFS");
            let vfs = ffi::sqlite3_vfs {
                iVersion: 2,
                szOsFile: size_of::<Opened>() as c_int,
                mxPathname: 1024,
                pNext: std::ptr::null_mut(),
                zName: VFS_NAME.as_ptr(),
                xOpen: Some(open),
                xDelete: Some(delete),
                xAccess: Some(access),
                xFullPathname: Some(full_path_name),
                // Time and chance are the machine's.
                ..*default
            };
            ffi::sqlite3_vfs_register(Box::leak(Box::new(vfs)), 0)
        };
        assert_eq!(code, ffi::SQLITE_OK);
    });
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// The disk and the name on it that a path means.
///
/// # Safety
/// `path` is null or ends with a zero byte.
unsafe fn found(path: *const c_char) -> Option<(Arc<Disk>, String)> {
    if path.is_null() {
        return None;
    }
    // SAFETY: as promised by the caller.
    let path = Path::new(unsafe { CStr::from_ptr(path) }.to_str().ok()?);
    let disk = mounted().get(path.parent()?)?.clone();
    Some((disk, path.file_name()?.to_str()?.to_owned()))
}

/// Our part of an open file.
///
/// # Safety
/// `file` was opened by [`open`] and is used by one thread at a time, as SQLite does.
unsafe fn inner<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Inner {
    // SAFETY: the pointer came from `Box::into_raw` in `open`, and `close` alone ends it.
    unsafe { &mut *(*file.cast::<Opened>()).inner }
}

fn code_of(done: Result<(), DiskError>, failed: c_int) -> c_int {
    match done {
        Ok(()) => ffi::SQLITE_OK,
        Err(DiskError::Full) => ffi::SQLITE_FULL,
        Err(DiskError::NotWritten) => ffi::SQLITE_IOERR_WRITE,
        Err(DiskError::NotSynced) => ffi::SQLITE_IOERR_FSYNC,
        Err(DiskError::Off) => failed,
    }
}

unsafe extern "C" fn open(
    _vfs: *mut ffi::sqlite3_vfs,
    path: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives a path that ends with a zero byte, and `szOsFile` bytes for the file, which count
    // as not open while `pMethods` is null.
    unsafe {
        let opened = file.cast::<Opened>();
        (*opened).base.pMethods = std::ptr::null();
        (*opened).inner = std::ptr::null_mut();
        let (disk, name) = if path.is_null() {
            (Arc::new(Disk::new(0)), "temporary".to_owned())
        } else {
            let Some(found) = found(path) else { return ffi::SQLITE_CANTOPEN };
            found
        };
        let create = path.is_null() || flags & ffi::SQLITE_OPEN_CREATE != 0;
        let Ok(Some(file)) = disk.open(&name, create) else { return ffi::SQLITE_CANTOPEN };
        let temporary = (flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0).then_some(name);
        let inner = Inner { disk, file, owner: new_owner(), is_mapped: false, temporary };
        (*opened).inner = Box::into_raw(Box::new(inner));
        (*opened).base.pMethods = &raw const METHODS;
        if !flags_out.is_null() {
            *flags_out = flags;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file once and does not use it afterwards.
    let inner = unsafe { Box::from_raw((*file.cast::<Opened>()).inner) };
    inner.file.locks.release(inner.owner);
    if inner.is_mapped {
        inner.file.locks.unmap();
    }
    if let Some(name) = &inner.temporary {
        // It stays after a power cut.
        inner.disk.remove(name, false).ok();
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    buffer: *mut c_void,
    amount: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: the file is open, and the buffer holds `amount` bytes.
    let (inner, buffer) =
        unsafe { (inner(file), std::slice::from_raw_parts_mut(buffer.cast::<u8>(), amount as usize)) };
    match inner.disk.read(&inner.file, offset as usize, buffer) {
        Ok(count) if count == buffer.len() => ffi::SQLITE_OK,
        Ok(_) => ffi::SQLITE_IOERR_SHORT_READ,
        Err(_) => ffi::SQLITE_IOERR_READ,
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    amount: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: the file is open, and there are `amount` bytes.
    let (inner, bytes) =
        unsafe { (inner(file), std::slice::from_raw_parts(bytes.cast::<u8>(), amount as usize)) };
    code_of(inner.disk.write(&inner.file, offset as usize, bytes), ffi::SQLITE_IOERR_WRITE)
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    // SAFETY: the file is open.
    let inner = unsafe { inner(file) };
    code_of(inner.disk.truncate(&inner.file, size as usize), ffi::SQLITE_IOERR_TRUNCATE)
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: the file is open.
    let inner = unsafe { inner(file) };
    code_of(inner.disk.sync(&inner.file), ffi::SQLITE_IOERR_FSYNC)
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: the file is open, and `size` is there for the answer.
    unsafe {
        let inner = inner(file);
        let found = inner.disk.size(&inner.file).map(|bytes| *size = bytes as ffi::sqlite3_int64);
        code_of(found, ffi::SQLITE_IOERR_FSTAT)
    }
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: the file is open.
    let inner = unsafe { inner(file) };
    if inner.file.locks.lock(inner.owner, level) { ffi::SQLITE_OK } else { ffi::SQLITE_BUSY }
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: the file is open.
    let inner = unsafe { inner(file) };
    inner.file.locks.unlock(inner.owner, level);
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, is_held: *mut c_int) -> c_int {
    // SAFETY: the file is open, and `is_held` is there for the answer.
    unsafe { *is_held = inner(file).file.locks.is_reserved().into() };
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(_: *mut ffi::sqlite3_file, _operation: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    // The sector size that SQLite assumes on Unix; this disk tears smaller ones.
    4096
}

unsafe extern "C" fn device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    // As on Unix: a write harms nothing beside what it writes.
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    size: c_int,
    extend: c_int,
    place: *mut *mut c_void,
) -> c_int {
    // SAFETY: the file is open, and `place` is there for the answer.
    unsafe {
        let inner = inner(file);
        if !inner.is_mapped {
            inner.is_mapped = true;
            inner.file.locks.map();
        }
        let found = inner.file.locks.region(region as usize, size as usize, extend != 0);
        *place = found.unwrap_or(std::ptr::null_mut());
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    first: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    // SAFETY: the file is open.
    let inner = unsafe { inner(file) };
    let (first, count) = (first as usize, count as usize);
    let locks = &inner.file.locks;
    if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        locks.unlock_slots(inner.owner, first, count);
        return ffi::SQLITE_OK;
    }
    let is_exclusive = flags & ffi::SQLITE_SHM_EXCLUSIVE != 0;
    if locks.lock_slots(inner.owner, first, count, is_exclusive) { ffi::SQLITE_OK } else { ffi::SQLITE_BUSY }
}

unsafe extern "C" fn shm_barrier(_: *mut ffi::sqlite3_file) {
    fence(Ordering::SeqCst);
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, _delete: c_int) -> c_int {
    // SAFETY: the file is open.
    let inner = unsafe { inner(file) };
    if std::mem::take(&mut inner.is_mapped) {
        inner.file.locks.unmap();
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(_vfs: *mut ffi::sqlite3_vfs, path: *const c_char, sync: c_int) -> c_int {
    // SAFETY: SQLite gives a path that ends with a zero byte.
    let Some((disk, name)) = (unsafe { found(path) }) else { return ffi::SQLITE_IOERR_DELETE };
    match disk.remove(&name, sync != 0) {
        Ok(true) => ffi::SQLITE_OK,
        Ok(false) => ffi::SQLITE_IOERR_DELETE_NOENT,
        Err(_) => ffi::SQLITE_IOERR_DELETE,
    }
}

unsafe extern "C" fn access(
    _vfs: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    _flags: c_int,
    is_there: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives a path that ends with a zero byte, and a place for the answer.
    unsafe {
        let exists = match found(path) {
            Some((disk, name)) => disk.exists(&name),
            None => Ok(false),
        };
        let Ok(exists) = exists else { return ffi::SQLITE_IOERR_ACCESS };
        *is_there = exists.into();
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_path_name(
    _vfs: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    size: c_int,
    full: *mut c_char,
) -> c_int {
    // SAFETY: SQLite gives a path that ends with a zero byte, and `size` bytes for the full one.
    unsafe {
        let length = CStr::from_ptr(path).to_bytes_with_nul().len();
        if length > size as usize {
            return ffi::SQLITE_CANTOPEN;
        }
        // These tests name files by their full paths only.
        std::ptr::copy_nonoverlapping(path, full, length);
    }
    ffi::SQLITE_OK
}

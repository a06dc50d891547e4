//! A disk in memory that keeps what was synced, and of the rest what a power cut leaves.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use fastrand::Rng;
use tokio::sync::Notify;

use super::content::Content;
use super::locks::Locks;

/// A disk with one directory of files.
#[derive(Debug)]
pub(crate) struct Disk {
    state: Mutex<State>,
    is_off: AtomicBool,
    went_off: Notify,
}

#[derive(Debug)]
struct State {
    files: BTreeMap<String, Arc<File>>,
    /// Removed from the directory as programs see it, and perhaps not yet on the platter.
    removed: Vec<(String, Arc<File>)>,
    random: Rng,
    /// The number of further changes until the power is cut.
    fuse: Option<u64>,
    /// The bound on the size of all files together, in bytes.
    room: Option<usize>,
    /// Whether syncs fail.
    fails_to_sync: bool,
    /// The name of a file that cannot be written.
    unwritable: Option<String>,
    /// Syncs report success without doing anything.
    fakes_syncs: bool,
}

/// One file of a disk.
#[derive(Debug, Default)]
pub(super) struct File {
    content: Mutex<Content>,
    /// Its name is on the platter.
    has_synced_name: AtomicBool,
    pub(super) locks: Locks,
}

/// The errors of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DiskError {
    Off,
    Full,
    NotSynced,
    NotWritten,
}

impl Disk {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with(Rng::with_seed(seed), BTreeMap::new())
    }

    fn with(random: Rng, files: BTreeMap<String, Arc<File>>) -> Self {
        let state = State {
            files,
            removed: Vec::new(),
            random,
            fuse: None,
            room: None,
            fails_to_sync: false,
            unwritable: None,
            fakes_syncs: false,
        };
        Self { state: Mutex::new(state), is_off: AtomicBool::new(false), went_off: Notify::new() }
    }

    /// Cuts the power at the change after so many others; nothing works from then on.
    pub(crate) fn cut_after(&self, changes: u64) {
        self.state().fuse = Some(changes);
    }

    /// Cuts the power now.
    pub(crate) fn cut(&self) {
        self.is_off.store(true, Ordering::SeqCst);
        self.went_off.notify_waiters();
    }

    /// Waits until the power is cut.
    pub(crate) async fn off(&self) {
        let went_off = self.went_off.notified();
        // Enlisted since the line above: a cut from now on is not missed.
        if !self.is_off() {
            went_off.await;
        }
    }

    /// A reply that was received while this was `false` was sent before the cut.
    pub(crate) fn is_off(&self) -> bool {
        self.is_off.load(Ordering::SeqCst)
    }

    /// Has every sync report success without doing anything from now on.
    pub(crate) fn fake_syncs(&self) {
        self.state().fakes_syncs = true;
    }

    /// Has every sync fail from now on, or none.
    pub(crate) fn fail_to_sync(&self, fails: bool) {
        self.state().fails_to_sync = fails;
    }

    /// Has every write to the files whose names end so fail from now on; none without a name.
    pub(crate) fn fail_to_write(&self, name: Option<&str>) {
        self.state().unwritable = name.map(str::to_owned);
    }

    /// Leaves space for this many more bytes, or without a bound.
    pub(crate) fn limit_space(&self, bytes: Option<usize>) {
        let mut state = self.state();
        state.room = bytes.map(|bytes| state.size() + bytes);
    }

    /// The disk as the next start finds it.
    pub(crate) fn after_power_cut(&self, random: &mut Rng) -> Self {
        self.cut();
        let state = self.state();
        let mut files = BTreeMap::new();
        let mut keep = |name: &str, file: &Arc<File>, random: &mut Rng| {
            let content = file.content().after_power_cut(random);
            let file = File { content: Mutex::new(Content::durable(content)), ..File::default() };
            file.has_synced_name.store(true, Ordering::Relaxed);
            files.insert(name.to_owned(), Arc::new(file));
        };
        for (name, file) in &state.removed {
            if file.has_synced_name() && random.bool() {
                keep(name, file, random);
            }
        }
        for (name, file) in &state.files {
            if file.has_synced_name() || random.bool() {
                keep(name, file, random);
            }
        }
        let left = Self::with(random.fork(), files);
        left.state().fakes_syncs = state.fakes_syncs;
        left
    }

    pub(super) fn open(&self, name: &str, create: bool) -> Result<Option<Arc<File>>, DiskError> {
        self.check_power()?;
        let mut state = self.state();
        if let Some(file) = state.files.get(name) {
            return Ok(Some(file.clone()));
        }
        if !create {
            return Ok(None);
        }
        state.burn();
        Ok(Some(state.files.entry(name.to_owned()).or_default().clone()))
    }

    pub(super) fn exists(&self, name: &str) -> Result<bool, DiskError> {
        self.check_power()?;
        Ok(self.state().files.contains_key(name))
    }

    /// Removes a file; `false` if there was none.
    pub(super) fn remove(&self, name: &str, is_synced: bool) -> Result<bool, DiskError> {
        self.change(|state| {
            let Some(file) = state.files.remove(name) else { return Ok(false) };
            state.removed.push((name.to_owned(), file));
            if is_synced {
                state.sync_directory();
            }
            Ok(true)
        })
    }

    pub(super) fn read(&self, file: &File, offset: usize, buffer: &mut [u8]) -> Result<usize, DiskError> {
        self.check_power()?;
        Ok(file.content().read(offset, buffer))
    }

    pub(super) fn size(&self, file: &File) -> Result<usize, DiskError> {
        self.check_power()?;
        Ok(file.content().len())
    }

    pub(super) fn write(&self, file: &File, offset: usize, bytes: &[u8]) -> Result<(), DiskError> {
        self.change(|state| {
            if state.is_unwritable(file) {
                return Err(DiskError::NotWritten);
            }
            let mut content = file.content();
            let more = (offset + bytes.len()).saturating_sub(content.len());
            drop(content);
            if more > 0 && state.room.is_some_and(|room| state.size() + more > room) {
                return Err(DiskError::Full);
            }
            content = file.content();
            content.write(offset, bytes);
            Ok(())
        })
    }

    pub(super) fn truncate(&self, file: &File, length: usize) -> Result<(), DiskError> {
        self.change(|_| {
            file.content().truncate(length);
            Ok(())
        })
    }

    pub(super) fn sync(&self, file: &File) -> Result<(), DiskError> {
        self.check_power()?;
        let mut state = self.state();
        if state.fails_to_sync {
            file.content().fail_to_sync(&mut state.random);
            return Err(DiskError::NotSynced);
        }
        if state.fakes_syncs {
            return Ok(());
        }
        // The power may be cut when everything is on the platter and the caller does not know it yet.
        let is_late = state.random.bool();
        let goes = state.burn();
        if goes && !is_late {
            self.cut();
            return Err(DiskError::Off);
        }
        file.content().sync();
        file.has_synced_name.store(true, Ordering::Relaxed);
        // SQLite's own files sync their directory with the first sync of a log.
        state.sync_directory();
        if goes {
            self.cut();
            return Err(DiskError::Off);
        }
        Ok(())
    }

    /// Makes a change, which may be the last one before the power is cut.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> Result<T, DiskError>) -> Result<T, DiskError> {
        self.check_power()?;
        let mut state = self.state();
        let changed = change(&mut state);
        if state.burn() {
            self.cut();
            return Err(DiskError::Off);
        }
        changed
    }

    fn check_power(&self) -> Result<(), DiskError> {
        if self.is_off() { Err(DiskError::Off) } else { Ok(()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no one panics while holding the disk")
    }
}

impl State {
    /// Counts a change; `true` if the power is cut at it.
    fn burn(&mut self) -> bool {
        match &mut self.fuse {
            None => false,
            Some(0) => true,
            Some(fuse) => {
                *fuse -= 1;
                false
            }
        }
    }

    /// Syncs the directory.
    fn sync_directory(&mut self) {
        self.removed.clear();
        for file in self.files.values() {
            file.has_synced_name.store(true, Ordering::Relaxed);
        }
    }

    fn is_unwritable(&self, file: &File) -> bool {
        let Some(end) = &self.unwritable else { return false };
        self.files.iter().any(|(name, other)| name.ends_with(end) && std::ptr::eq(&**other, file))
    }

    fn size(&self) -> usize {
        self.files.values().map(|file| file.content().len()).sum()
    }
}

impl File {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().expect("no one panics while holding a file")
    }

    fn has_synced_name(&self) -> bool {
        self.has_synced_name.load(Ordering::Relaxed)
    }
}

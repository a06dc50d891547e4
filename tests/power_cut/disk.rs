//! A disk over memory that keeps what was synced, and of the rest what a power cut leaves.

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
    /// How many more changes there are until the power goes.
    fuse: Option<u64>,
    /// How large all files together may become, in bytes.
    room: Option<usize>,
    /// Whether a sync fails.
    fails_to_sync: bool,
    /// Whether a sync does nothing and says that it did.
    lies: bool,
}

/// One file of a disk.
#[derive(Debug, Default)]
pub(super) struct File {
    content: Mutex<Content>,
    /// Whether its name is on the platter.
    is_entered: AtomicBool,
    pub(super) locks: Locks,
}

/// Why a disk does not do what it is asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    Off,
    Full,
    NotSynced,
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
            lies: false,
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

    /// Waits until the power goes.
    pub(crate) async fn off(&self) {
        let went_off = self.went_off.notified();
        // Enlisted since the line above: a cut from now on is not missed.
        if !self.is_off() {
            went_off.await;
        }
    }

    /// What was heard while the power was on was said before the cut.
    pub(crate) fn is_off(&self) -> bool {
        self.is_off.load(Ordering::SeqCst)
    }

    /// Lets every sync do nothing from now on, and say that it did.
    pub(crate) fn lie_about_syncs(&self) {
        self.state().lies = true;
    }

    /// Lets every sync fail from now on, or none.
    pub(crate) fn fail_to_sync(&self, fails: bool) {
        self.state().fails_to_sync = fails;
    }

    /// Leaves room for so many more bytes, or without a bound.
    pub(crate) fn leave_room(&self, bytes: Option<usize>) {
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
            file.is_entered.store(true, Ordering::Relaxed);
            files.insert(name.to_owned(), Arc::new(file));
        };
        for (name, file) in &state.removed {
            if file.is_entered() && random.bool() {
                keep(name, file, random);
            }
        }
        for (name, file) in &state.files {
            if file.is_entered() || random.bool() {
                keep(name, file, random);
            }
        }
        let left = Self::with(random.fork(), files);
        left.state().lies = state.lies;
        left
    }

    pub(super) fn open(&self, name: &str, create: bool) -> Result<Option<Arc<File>>, Trouble> {
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

    pub(super) fn exists(&self, name: &str) -> Result<bool, Trouble> {
        self.check_power()?;
        Ok(self.state().files.contains_key(name))
    }

    /// Removes a file; whether there was one.
    pub(super) fn remove(&self, name: &str, is_synced: bool) -> Result<bool, Trouble> {
        self.change(|state| {
            let Some(file) = state.files.remove(name) else { return Ok(false) };
            state.removed.push((name.to_owned(), file));
            if is_synced {
                state.enter();
            }
            Ok(true)
        })
    }

    pub(super) fn read(&self, file: &File, offset: usize, buffer: &mut [u8]) -> Result<usize, Trouble> {
        self.check_power()?;
        Ok(file.content().read(offset, buffer))
    }

    pub(super) fn size(&self, file: &File) -> Result<usize, Trouble> {
        self.check_power()?;
        Ok(file.content().len())
    }

    pub(super) fn write(&self, file: &File, offset: usize, bytes: &[u8]) -> Result<(), Trouble> {
        self.change(|state| {
            let mut content = file.content();
            let more = (offset + bytes.len()).saturating_sub(content.len());
            drop(content);
            if more > 0 && state.room.is_some_and(|room| state.size() + more > room) {
                return Err(Trouble::Full);
            }
            content = file.content();
            content.write(offset, bytes);
            Ok(())
        })
    }

    pub(super) fn truncate(&self, file: &File, length: usize) -> Result<(), Trouble> {
        self.change(|_| {
            file.content().truncate(length);
            Ok(())
        })
    }

    pub(super) fn sync(&self, file: &File) -> Result<(), Trouble> {
        self.check_power()?;
        let mut state = self.state();
        if state.fails_to_sync {
            file.content().fail_to_sync(&mut state.random);
            return Err(Trouble::NotSynced);
        }
        if state.lies {
            return Ok(());
        }
        // The power may go when all is on the platter and nobody has been told.
        let is_late = state.random.bool();
        let goes = state.burn();
        if goes && !is_late {
            self.cut();
            return Err(Trouble::Off);
        }
        file.content().sync();
        file.is_entered.store(true, Ordering::Relaxed);
        // SQLite's own files sync their directory with the first sync of a log.
        state.enter();
        if goes {
            self.cut();
            return Err(Trouble::Off);
        }
        Ok(())
    }

    /// Makes a change, which may be the last one before the power goes.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> Result<T, Trouble>) -> Result<T, Trouble> {
        self.check_power()?;
        let mut state = self.state();
        let changed = change(&mut state);
        if state.burn() {
            self.cut();
            return Err(Trouble::Off);
        }
        changed
    }

    fn check_power(&self) -> Result<(), Trouble> {
        if self.is_off() { Err(Trouble::Off) } else { Ok(()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no one panics while holding the disk")
    }
}

impl State {
    /// Counts a change; whether it is the one at which the power goes.
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

    /// Brings the directory to the platter.
    fn enter(&mut self) {
        self.removed.clear();
        for file in self.files.values() {
            file.is_entered.store(true, Ordering::Relaxed);
        }
    }

    fn size(&self) -> usize {
        self.files.values().map(|file| file.content().len()).sum()
    }
}

impl File {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().expect("no one panics while holding a file")
    }

    fn is_entered(&self) -> bool {
        self.is_entered.load(Ordering::Relaxed)
    }
}

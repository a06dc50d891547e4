//! The lock on a queue's file itself, whatever name it is opened by, and the check that it is still there.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result};
use framework_console::files::{self, Identity, identity};
use rustix::fs::{FlockOperation, flock};

use super::running_slots;

/// The locked file of a queue. The lock is on its device and inode: a symbolic link, a hard link or another
/// path leads to the same one.
///
/// Dropped only after all connections of SQLite: closing a file drops the locks that SQLite has on it.
#[derive(Debug)]
pub(super) struct QueueLock {
    /// The path that the settings name.
    path: PathBuf,
    /// The same without symbolic links; SQLite's other files are beside it.
    resolved: PathBuf,
    /// The write-ahead log.
    log: PathBuf,
    file: File,
    identity: Identity,
    log_identity: OnceLock<Identity>,
}

impl QueueLock {
    /// Locks the file, creating it for its owner alone if need be.
    ///
    /// # Errors
    /// [`QueueLocked`](super::QueueLocked) when another process holds the lock; or the file cannot be opened
    /// or locked.
    pub(super) fn take(path: &Path) -> Result<Self> {
        running_slots::check_unlocked(path)?;
        if let Some(folder) = path.parent() {
            files::create_folder(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        loop {
            let context = || format!("opening {}", path.display());
            let file = files::private().read(true).write(true).open(path).with_context(context)?;
            running_slots::lock(&file, path)?;
            let found = file.metadata().with_context(context)?;
            let identity = (found.dev(), found.ino());
            // It may have been replaced before it was locked.
            if files::identity(path) == Some(identity) {
                let (path, resolved) = (path.to_owned(), path.canonicalize().with_context(context)?);
                let (log, log_identity) = (with_suffix(&resolved, "-wal"), OnceLock::new());
                return Ok(Self { path, resolved, log, file, identity, log_identity });
            }
        }
    }

    /// Takes the file, and what an earlier version has left beside it, away from all but its owner.
    ///
    /// # Errors
    /// When it belongs to another user.
    pub(super) fn restrict(&self) -> Result<()> {
        for suffix in ["", "-wal", "-shm"] {
            let file = with_suffix(&self.resolved, suffix);
            files::restrict(&file).with_context(|| format!("taking {} away from others", file.display()))?;
        }
        Ok(())
    }

    /// The path of the file without symbolic links.
    pub(super) fn resolved(&self) -> &Path {
        &self.resolved
    }

    /// The path of its write-ahead log.
    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    /// The file that is not at its path any more, or that another one has replaced there; `None` if all is
    /// well.
    pub(super) fn missing(&self) -> Option<&Path> {
        if identity(&self.path) != Some(self.identity) {
            return Some(&self.path);
        }
        let found = identity(&self.log);
        // SQLite creates it with the first write.
        let is_known = match (self.log_identity.get(), found) {
            (Some(known), found) => found == Some(*known),
            (None, Some(found)) => self.log_identity.set(found).is_ok(),
            (None, None) => true,
        };
        (!is_known).then_some(&self.log)
    }

    /// Releases the lock for another process.
    pub(super) fn release(&self) {
        if let Err(error) = flock(&self.file, FlockOperation::Unlock) {
            tracing::error!("the queue stays locked until this process has ended: {error}");
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

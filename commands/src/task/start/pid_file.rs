//! The pid file of a server, locked for as long as its process runs.
//!
//! The lock decides, and the number in the file is for people: a file without a lock is stale, whatever
//! process has that number by now.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use framework::prelude::*;
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::process::{
    Flock, FlockOffsetType, FlockType, Pid, Signal, fcntl_getlk, kill_process, test_kill_process,
};

/// The locked pid file of this process, removed when this is dropped.
pub(crate) struct PidFile {
    path: PathBuf,
    file: File,
    /// Whether it is not removed, because another process is about to lock it.
    is_released: bool,
    /// A remark on the stale content that was in it.
    pub(crate) stale: Option<String>,
}

/// The process that has locked a pid file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holder(Option<Pid>);

impl PidFile {
    /// Locks the file, creating it if need be, and writes the number of this process into it.
    ///
    /// # Errors
    /// [`Exit::AlreadyRunning`] when another process holds it; or it cannot be written.
    pub(crate) fn take(path: &Path) -> Result<Self> {
        let context = || format!("writing pid_file {}", path.display());
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).with_context(context)?;
        }
        loop {
            let mut file = match options().write(true).create(true).truncate(false).open(path) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                    return Err(permission_denied(path, error));
                }
                Err(error) => return Err(error).with_context(context),
            };
            if fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                return Err(already_running(path, holder_of(&file)));
            }
            // The last holder may have removed it between our opening and our locking.
            if !is_same(&file, path) {
                continue;
            }
            let stale = stale_remark(path, &mut file);
            file.set_len(0)
                .and_then(|()| file.rewind())
                .and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()))
                .with_context(context)?;
            return Ok(Self { path: path.to_owned(), file, is_released: false, stale });
        }
    }

    /// Unlocks the file without removing it, for another process to lock.
    pub(crate) fn release(mut self) -> Released {
        self.is_released = true;
        Released(self.path.clone())
    }

    /// The process that has locked the file at `path`; `None` when there is none, or no such file.
    pub(crate) fn holder(path: &Path) -> Option<Holder> {
        File::open(path).ok().as_ref().and_then(holder_of)
    }
}

/// A pid file that another process may have locked by now.
pub(crate) struct Released(PathBuf);

impl Released {
    /// Removes the file if it still names this process: then the new one has another file, or none.
    pub(crate) fn remove_if_own(self) {
        let pid = fs::read_to_string(&self.0).unwrap_or_default();
        if pid.trim() == std::process::id().to_string() {
            let _ = fs::remove_file(&self.0);
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if !self.is_released && is_same(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Holder {
    /// Its pid; `None` when it is in another pid namespace, as in a container.
    pub(crate) fn pid(self) -> Option<u32> {
        self.0.map(|pid| pid.as_raw_pid() as u32)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is another user's, or has exited.
    pub(crate) fn signal(self, signal: Signal) -> Result<()> {
        let pid = self.0.context("the server's process cannot be reached from here")?;
        kill_process(pid, signal).with_context(|| format!("sending {signal:?} to the server with {self}"))
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self.pid() {
            Some(pid) => write!(formatter, "pid {pid}"),
            None => formatter.write_str("a pid of another container"),
        }
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true);
    options
}

fn holder_of(file: &File) -> Option<Holder> {
    let (typ, offset_type) = (FlockType::WriteLock, FlockOffsetType::Set);
    let whole = Flock { start: 0, length: 0, pid: None, typ, offset_type };
    fcntl_getlk(file, &whole).ok().flatten().map(|lock| Holder(lock.pid))
}

fn is_same(file: &File, path: &Path) -> bool {
    let ours = file.metadata();
    fs::metadata(path)
        .is_ok_and(|there| ours.is_ok_and(|ours| (ours.dev(), ours.ino()) == (there.dev(), there.ino())))
}

fn already_running(path: &Path, holder: Option<Holder>) -> anyhow::Error {
    let who =
        holder.map_or_else(|| "another process".to_owned(), |holder| format!("a task server with {holder}"));
    Exit::AlreadyRunning.error(format!("{who} runs already: it holds {}", path.display()))
}

/// The error for a file that this user may not write.
fn permission_denied(path: &Path, error: std::io::Error) -> anyhow::Error {
    let owner = fs::metadata(path).map_or(0, |metadata| metadata.uid());
    match PidFile::holder(path) {
        Some(holder) => Exit::AlreadyRunning.error(format!(
            "a task server of another user (uid {owner}) runs with {holder}: it holds {}",
            path.display()
        )),
        None => anyhow::Error::from(error).context(format!(
            "writing pid_file {}, which was left behind by a server of another user (uid {owner})",
            path.display()
        )),
    }
}

/// A remark on what was in the file before this process locked it; `None` when it was empty.
fn stale_remark(path: &Path, file: &mut File) -> Option<String> {
    let mut text = String::new();
    Read::by_ref(file).take(32).read_to_string(&mut text).ok()?;
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    let path = path.display();
    let Some(pid) = text.parse().ok().and_then(Pid::from_raw) else {
        return Some(format!("{path} held {text:?}, which is no pid; it was taken over"));
    };
    Some(match test_kill_process(pid) {
        Err(rustix::io::Errno::SRCH) => {
            format!("{path} was left behind by process {text}, which exited without removing it")
        }
        _ => format!("{path} was left behind; process {text} is another program by now"),
    })
}

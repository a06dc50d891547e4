//! The pid file of a server, locked for as long as its process runs.
//!
//! The lock decides, and the number in the file is for people: a file without a lock is stale, whatever
//! process has that number by now. A lock of another process than the one that the file names is no server's.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use framework::files;
use framework::prelude::*;
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;
use rustix::process::{
    Flock, FlockOffsetType, FlockType, Pid, Signal, fcntl_getlk, geteuid, kill_process, test_kill_process,
};

/// The number of times, and the pauses, in which a server that has just locked its file names itself in it.
const NAMING_TRIES: usize = 20;
const NAMING_PAUSE: Duration = Duration::from_millis(10);
/// A pid is not longer; neither is what a pid file holds.
const CONTENT_MAX: u64 = 32;

/// The locked pid file of this process, removed when this is dropped.
pub(crate) struct PidFile {
    path: PathBuf,
    file: File,
    /// Whether it is not removed, because another process is about to lock it.
    is_released: bool,
    /// Whether it was there, and empty: then it is emptied again instead of removed.
    was_empty: bool,
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
    /// [`Exit::AlreadyRunning`] when another process holds it; when it cannot be written, or is something
    /// else than a pid file of this user: then it is left as it is.
    pub(crate) fn take(path: &Path) -> Result<Self> {
        let context = || format!("writing pid_file {}", path.display());
        if let Some(directory) = path.parent() {
            files::create_folder(directory).with_context(context)?;
        }
        loop {
            let (mut file, is_new) = open(path)?;
            check(path, &file)?;
            match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::ACCESS | Errno::AGAIN) => return Err(locked(path, &file)),
                Err(error) => {
                    return Err(error).with_context(|| format!("locking pid_file {}", path.display()));
                }
            }
            // The last holder may have removed it between our opening and our locking.
            if !is_same(&file, path) {
                continue;
            }
            let content = content(path, &mut file)?;
            file.set_len(0)
                .and_then(|()| file.rewind())
                .and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()))
                .with_context(context)?;
            let (stale, was_empty) =
                (content.map(|pid| stale_remark(path, pid)), !is_new && content.is_none());
            return Ok(Self { path: path.to_owned(), file, is_released: false, was_empty, stale });
        }
    }

    /// Unlocks the file without removing it, for another process to lock.
    pub(crate) fn release(mut self) -> Released {
        self.is_released = true;
        Released(self.path.clone())
    }

    /// The process that has locked the file at `path`; `None` when there is none, or no such file.
    pub(crate) fn holder(path: &Path) -> Option<Holder> {
        files::itself().read(true).open(path).ok().as_ref().and_then(holder_of)
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
        if self.is_released || !is_same(&self.file, &self.path) {
            return;
        }
        let _ = if self.was_empty { self.file.set_len(0) } else { fs::remove_file(&self.path) };
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

/// Opens the file itself, and creates it if need be; also whether it was created.
fn open(path: &Path) -> Result<(File, bool)> {
    let options = || {
        let mut options: OpenOptions = files::itself();
        options.read(true).write(true);
        options
    };
    loop {
        let error = match options().create_new(true).open(path) {
            Ok(file) => return Ok((file, true)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => match options().open(path) {
                Ok(file) => return Ok((file, false)),
                // Removed in between.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => error,
            },
            Err(error) => error,
        };
        return Err(match Errno::from_io_error(&error) {
            Some(Errno::LOOP) => anyhow::anyhow!(
                "pid_file {} is a symbolic link: name the file itself, or another one",
                path.display()
            ),
            _ if error.kind() == ErrorKind::PermissionDenied => permission_denied(path, error),
            _ => anyhow::Error::from(error).context(format!("writing pid_file {}", path.display())),
        });
    }
}

/// Refuses what is no file of this user alone, with a single name.
fn check(path: &Path, file: &File) -> Result<()> {
    let found = file.metadata().with_context(|| format!("reading pid_file {}", path.display()))?;
    let path = path.display();
    ensure!(found.is_file(), "pid_file {path} is not a regular file: choose another path");
    let (owner, user) = (found.uid(), geteuid().as_raw());
    ensure!(owner == user, "pid_file {path} belongs to another user (uid {owner}): choose another path");
    ensure!(found.nlink() <= 1, "pid_file {path} is known under another name as well: choose another path");
    Ok(())
}

/// The pid in the file; `None` when it is empty.
///
/// # Errors
/// When it holds something else, which is not to be overwritten.
fn content(path: &Path, file: &mut File) -> Result<Option<Pid>> {
    let mut bytes = Vec::new();
    Read::by_ref(file)
        .take(CONTENT_MAX + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("reading pid_file {}", path.display()))?;
    let text = String::from_utf8_lossy(&bytes);
    match text.trim() {
        "" if bytes.len() as u64 <= CONTENT_MAX => Ok(None),
        pid => match pid.parse().ok().and_then(Pid::from_raw) {
            Some(pid) => Ok(Some(pid)),
            None => bail!(
                "pid_file {} holds something else than a pid, and is left as it is: choose another path",
                path.display()
            ),
        },
    }
}

/// The server that has locked the file: a process of the owner of the file that is named in it.
fn holder_of(file: &File) -> Option<Holder> {
    let (typ, offset_type) = (FlockType::WriteLock, FlockOffsetType::Set);
    let whole = Flock { start: 0, length: 0, pid: None, typ, offset_type };
    let lock = fcntl_getlk(file, &whole).ok().flatten().filter(|lock| lock.typ == FlockType::WriteLock)?;
    let Some(pid) = lock.pid else { return Some(Holder(None)) };
    let mut named = String::new();
    let mut reader = file;
    reader.rewind().ok()?;
    reader.take(CONTENT_MAX).read_to_string(&mut named).ok()?;
    // Where there is no /proc, the number has to do.
    let owner = fs::metadata(format!("/proc/{}", pid.as_raw_pid())).ok().map(|process| process.uid());
    let is_of_owner = owner.is_none() || owner == file.metadata().ok().map(|found| found.uid());
    (named.trim() == pid.as_raw_pid().to_string() && is_of_owner).then_some(Holder(Some(pid)))
}

fn is_same(file: &File, path: &Path) -> bool {
    let ours = file.metadata();
    fs::symlink_metadata(path)
        .is_ok_and(|there| ours.is_ok_and(|ours| (ours.dev(), ours.ino()) == (there.dev(), there.ino())))
}

/// The error for a file that another process has locked: a server, or one that only keeps it locked.
fn locked(path: &Path, file: &File) -> anyhow::Error {
    let path = path.display();
    for _ in 0..NAMING_TRIES {
        if let Some(holder) = holder_of(file) {
            return already_running(format!("a task server with {holder} runs already: it holds {path}"));
        }
        thread::sleep(NAMING_PAUSE);
    }
    let who = "a process that is no task server of this project";
    anyhow::anyhow!("{who} has locked pid_file {path}: choose another path, or end that process")
}

fn already_running(message: String) -> anyhow::Error {
    Exit::AlreadyRunning.error(message)
}

/// The error for a file that this user may not write.
fn permission_denied(path: &Path, error: std::io::Error) -> anyhow::Error {
    let owner = owner_of(path);
    match PidFile::holder(path) {
        Some(holder) => already_running(format!(
            "a task server of another user (uid {owner}) runs with {holder}: it holds {}",
            path.display()
        )),
        None => anyhow::Error::from(error).context(format!(
            "writing pid_file {}, which belongs to another user (uid {owner}), as does a server that may run here",
            path.display()
        )),
    }
}

/// The user that a file belongs to, or the nearest folder above it that can be looked at.
pub(crate) fn owner_of(path: &Path) -> u32 {
    path.ancestors().find_map(|path| fs::symlink_metadata(path).ok()).map_or(0, |found| found.uid())
}

/// A remark on the pid that was in the file before this process locked it.
fn stale_remark(path: &Path, pid: Pid) -> String {
    let (path, number) = (path.display(), pid.as_raw_pid());
    match test_kill_process(pid) {
        result if result == Err(Errno::SRCH) || is_zombie(pid) => {
            format!("{path} was left behind by process {number}, which exited without removing it")
        }
        _ => format!("{path} was left behind; process {number} is another program by now"),
    }
}

/// Whether the process has exited, and only its parent does not know it yet.
fn is_zombie(pid: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).unwrap_or_default();
    // The name of the program, in parentheses, may contain any character.
    status.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
}

//! Unix sockets: files that only their owner may open, and that a dead server leaves behind.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::server::inherited_sockets::InheritedSocket;

/// Read and written by its owner alone.
const MODE: u32 = 0o600;

/// Another server answers where this one was to listen.
#[derive(Debug, thiserror::Error)]
#[error("a server answers at {} already", .0.display())]
pub struct AlreadyRunning(pub PathBuf);

/// The path does not fit into the system's address of a socket.
#[derive(Debug, thiserror::Error)]
#[error("{} is too long for a Unix socket, whose path has at most about 100 bytes", .0.display())]
pub(super) struct TooLong(PathBuf);

/// The file of a socket; removed when dropped, unless it is another process's by then.
pub(crate) struct Entry {
    /// As the settings name it.
    name: PathBuf,
    path: PathBuf,
    /// Device and number of the file: another one in its place is not ours to remove.
    identity: Option<(u64, u64)>,
    /// Whether it stays.
    is_detached: AtomicBool,
}

impl Entry {
    fn at(root: &Path, name: &Path) -> Self {
        let path = root.join(name);
        Self { name: name.into(), identity: identity(&path), path, is_detached: AtomicBool::new(false) }
    }

    /// Whether the file is left where it is.
    pub(super) fn is_detached(&self) -> bool {
        self.is_detached.load(Ordering::SeqCst)
    }

    /// Leaves the file where it is: whoever has the socket removes it.
    pub(super) fn detach(&self) {
        self.is_detached.store(true, Ordering::SeqCst);
    }

    pub(super) fn address(&self) -> String {
        format!("unix:{}", self.name.display())
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.is_detached() && self.identity.is_some() && identity(&self.path) == self.identity {
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Listens on a path relative to the root.
///
/// # Errors
/// [`AlreadyRunning`], [`TooLong`], or that something else is there.
pub(super) fn bind(root: &Path, name: &Path, backlog: u32) -> Result<(UnixListener, Entry)> {
    let path = root.join(name);
    let address = SockAddr::unix(&path).map_err(|_| TooLong(path.clone()))?;
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
    }
    clear(&path, &address)?;
    let bind = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&address)?;
        // Before anybody can connect, which is only once it listens.
        fs::set_permissions(&path, fs::Permissions::from_mode(MODE))?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        socket.set_nonblocking(true)?;
        io::Result::Ok(socket)
    };
    let socket = bind().with_context(|| format!("cannot listen on {}", path.display()))?;
    Ok((UnixListener::from(OwnedFd::from(socket)), Entry::at(root, name)))
}

/// Goes on listening on a path relative to the root. The file of a service manager's socket is not ours to remove.
pub(super) fn go_on(root: &Path, name: &Path, given: InheritedSocket) -> (UnixListener, Entry) {
    let entry = Entry::at(root, name);
    if given.is_managed {
        entry.detach();
    }
    (UnixListener::from(given.socket), entry)
}

/// Removes what a dead server left behind, and nothing else.
fn clear(path: &Path, address: &SockAddr) -> Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    if !found.file_type().is_socket() {
        bail!("{} is there already and no socket: move it away, or choose another path", path.display());
    }
    let probe = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // A server whose queue is full must not hold up this one.
        socket.set_nonblocking(true)?;
        socket.connect(address)
    };
    match probe().map_err(|error| error.kind()) {
        Err(ErrorKind::ConnectionRefused) => {
            fs::remove_file(path).with_context(|| format!("removing {}", path.display()))
        }
        Err(ErrorKind::NotFound) => Ok(()),
        Ok(()) | Err(ErrorKind::WouldBlock) => Err(AlreadyRunning(path.to_owned()).into()),
        Err(kind) => bail!("cannot tell whether a server answers at {}: {kind}", path.display()),
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

//! Unix sockets: files that only their owner may open, and that a crashed server leaves behind.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use framework_console::files;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::server::takeover::sockets::InheritedSocket;

/// Read and write for the owner only.
const MODE: u32 = 0o600;

/// Another server answers at the address of this one.
#[derive(Debug, thiserror::Error)]
#[error("a server answers at {} already", .0.display())]
pub struct AlreadyRunning(pub PathBuf);

/// The path is longer than a socket address of the system.
#[derive(Debug, thiserror::Error)]
#[error("{} is too long for a Unix socket, whose path has at most about 100 bytes", .0.display())]
pub(super) struct TooLong(PathBuf);

/// The file of a socket; removed when dropped, unless it is another process's by then.
pub(crate) struct SocketFile {
    /// The path as the settings name it.
    name: PathBuf,
    path: PathBuf,
    /// Device and inode of the file: another file in its place is not ours to remove.
    identity: Option<(u64, u64)>,
    /// The file stays when this is dropped.
    is_detached: AtomicBool,
}

impl SocketFile {
    fn at(path: PathBuf, name: &Path) -> Self {
        Self { name: name.into(), identity: identity(&path), path, is_detached: AtomicBool::new(false) }
    }

    /// `true` if the file stays when this is dropped.
    pub(super) fn is_detached(&self) -> bool {
        self.is_detached.load(Ordering::SeqCst)
    }

    /// Leaves the file to the process that goes on listening.
    pub(super) fn detach(&self) {
        self.is_detached.store(true, Ordering::SeqCst);
    }

    pub(super) fn address(&self) -> String {
        format!("unix:{}", self.name.display())
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.is_detached() && self.identity.is_some() && identity(&self.path) == self.identity {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens on a path, which the settings call `name`.
///
/// # Errors
/// [`AlreadyRunning`], [`TooLong`], or the path is taken by another kind of file.
pub(super) fn bind(path: PathBuf, name: &Path, backlog: u32) -> Result<(UnixListener, SocketFile)> {
    let address = SockAddr::unix(&path).map_err(|_| TooLong(path.clone()))?;
    if let Some(directory) = path.parent() {
        files::create_folder(directory).with_context(|| format!("creating {}", directory.display()))?;
    }
    clear(&path, &address)?;
    let bind = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&address)?;
        // Before `listen`, from which on anybody could connect.
        fs::set_permissions(&path, fs::Permissions::from_mode(MODE))?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        socket.set_nonblocking(true)?;
        io::Result::Ok(socket)
    };
    let socket = bind().with_context(|| format!("cannot listen on {}", path.display()))?;
    Ok((UnixListener::from(OwnedFd::from(socket)), SocketFile::at(path, name)))
}

/// Goes on listening with an inherited socket. The file of a service manager's socket is not ours to remove.
pub(super) fn adopt(path: PathBuf, name: &Path, inherited: InheritedSocket) -> (UnixListener, SocketFile) {
    let file = SocketFile::at(path, name);
    if inherited.is_managed {
        file.detach();
    }
    (UnixListener::from(inherited.socket), file)
}

/// Removes the socket file of a crashed server, and no other file.
fn clear(path: &Path, address: &SockAddr) -> Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    if !found.file_type().is_socket() {
        bail!("{} exists and is not a socket: move it away, or choose another path", path.display());
    }
    let probe = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // A server with a full backlog must not block this one.
        socket.set_nonblocking(true)?;
        socket.connect(address)
    };
    match probe().map_err(|error| error.kind()) {
        Err(ErrorKind::ConnectionRefused) => {
            fs::remove_file(path).with_context(|| format!("removing {}", path.display()))
        }
        Err(ErrorKind::NotFound) => Ok(()),
        Ok(()) | Err(ErrorKind::WouldBlock) => Err(AlreadyRunning(path.to_owned()).into()),
        Err(kind) => bail!("cannot find out whether a server answers at {}: {kind}", path.display()),
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

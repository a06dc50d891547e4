//! Files that hold what only their owner may see: how they are created, and how secrets are read from them.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::OFlags;
use rustix::process::geteuid;

/// Read and write for the owner alone.
const FILE_MODE: u32 = 0o600;
/// The same for a folder.
const FOLDER_MODE: u32 = 0o700;
/// The permissions of the group and of others.
const FOREIGN: u32 = 0o077;
/// The permissions of the group except to read, and those of others.
const FOREIGN_BUT_GROUP_READ: u32 = 0o037;

/// Options to open a file for writing that only its owner can read, whatever the umask. A file that is there
/// already keeps its permissions.
pub fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).mode(FILE_MODE);
    options
}

/// Options that open only the file itself: no symbolic link is followed, and the other end of a pipe is not
/// waited for.
pub fn itself() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32).mode(FILE_MODE);
    options
}

/// Creates a folder and those above it as far as they are missing, for the owner alone.
///
/// # Errors
/// When one cannot be created, or the path is taken by a file.
pub fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path)
}

/// Takes a file away from all but its owner; a file that is missing or no regular one is left as it is.
///
/// # Errors
/// When it belongs to another user.
pub fn restrict(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => take_away(path, found.mode()),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn take_away(path: &Path, mode: u32) -> io::Result<()> {
    if mode & FOREIGN == 0 {
        return Ok(());
    }
    match fs::set_permissions(path, Permissions::from_mode(mode & !FOREIGN & 0o7777)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Takes a folder and what is in it away from all but its owner; what its folders hold is out of reach then.
///
/// # Errors
/// When one of them belongs to another user.
pub fn restrict_folder(folder: &Path) -> io::Result<()> {
    take_away(folder, fs::metadata(folder)?.mode())?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // It may be gone by now; a link has no permissions of its own.
        let Ok(found) = entry.metadata() else { continue };
        if !found.is_symlink() {
            take_away(&entry.path(), found.mode())?;
        }
    }
    Ok(())
}

/// Takes a folder away from all but its owner, and leaves what is in it as it is: that is out of reach then.
///
/// # Errors
/// When it belongs to another user.
pub fn restrict_folder_alone(folder: &Path) -> io::Result<()> {
    take_away(folder, fs::metadata(folder)?.mode())
}

/// Whether only its owner can open a folder, or nothing is in it, or it is not there.
///
/// # Errors
/// When it cannot be read, or is no folder.
pub fn is_private_or_empty(folder: &Path) -> io::Result<bool> {
    match fs::metadata(folder) {
        Ok(found) => Ok(found.mode() & FOREIGN == 0 || fs::read_dir(folder)?.next().is_none()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Whether there is a regular file of this user at a path, and no link to one.
pub fn is_own_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.uid() == geteuid().as_raw())
}

/// Reads a text file; a pipe, a device or a folder is refused, not waited for.
///
/// # Errors
/// When it cannot be read, is no regular file, or no UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open_regular(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// Reads a file of secrets, which only its owner may be able to read: this user, or the system's
/// administrator, whose file the group may read as well.
///
/// # Errors
/// When it cannot be read, is no regular file, belongs to another user, or can be opened by others.
pub fn read_secret(path: &Path) -> Result<Vec<u8>> {
    let mut file = open_regular(path).with_context(|| format!("reading {}", path.display()))?;
    let found = file.metadata()?;
    let (owner, user, mode) = (found.uid(), geteuid().as_raw(), found.mode());
    let path = path.display();
    let foreign = match owner {
        0 => FOREIGN_BUT_GROUP_READ,
        owner if owner == user => FOREIGN,
        owner => bail!(
            "{path} holds secrets and belongs to another user (uid {owner}): it must belong to uid {user} or to root"
        ),
    };
    ensure!(
        mode & foreign == 0,
        "{path} can be opened by others than its owner, and holds secrets; run: chmod 600 {path}"
    );
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).with_context(|| format!("reading {path}"))?;
    Ok(bytes)
}

fn open_regular(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"))
}

/// The device and the inode of a file, which tell it from any other.
pub type Identity = (u64, u64);

/// The identity of the file at a path, links followed; `None` when there is none.
pub fn identity(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn restrict_folder_leaves_links_and_the_owners_rights_alone() {
        let root = std::env::temp_dir().join(format!("think-files-{}", std::process::id()));
        let folder = root.join("deep/runtime");
        create_folder(&folder).unwrap();
        assert_eq!((mode(&folder), mode(&root)), (0o700, 0o700));
        let [file, outside] = [folder.join("file"), root.join("outside")];
        for path in [&file, &outside] {
            fs::write(path, "x").unwrap();
            fs::set_permissions(path, Permissions::from_mode(0o744)).unwrap();
        }
        std::os::unix::fs::symlink(&outside, folder.join("link")).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
        restrict_folder(&folder).unwrap();
        assert_eq!((mode(&folder), mode(&file), mode(&outside)), (0o700, 0o700, 0o744));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn read_secret_refuses_what_others_can_open_and_what_is_no_file() {
        let root = std::env::temp_dir().join(format!("think-secrets-{}", std::process::id()));
        create_folder(&root).unwrap();
        let file = root.join("secret");
        private().write(true).open(&file).unwrap();
        assert_eq!(read_secret(&file).unwrap(), b"");
        fs::set_permissions(&file, Permissions::from_mode(0o604)).unwrap();
        assert!(read_secret(&file).unwrap_err().to_string().contains("chmod 600"));
        let error = format!("{:#}", read_secret(&root).unwrap_err());
        assert!(error.contains("not a regular file"), "{error}");
        fs::remove_dir_all(root).unwrap();
    }
}

//! Where a new project gets the framework from.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use framework::prelude::*;

/// The folder that this crate was built in.
const BUILT_IN: &str = env!("CARGO_MANIFEST_DIR");
/// What the path of a folder contains that cargo has made for itself, and may remove.
const OF_CARGO: [&str; 2] = ["/registry/src/", "/git/checkouts/"];

/// Where a new project gets the framework from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FrameworkSource {
    /// A folder with its sources, absolute.
    Folder(PathBuf),
    Git {
        url: String,
        /// A tag or a commit.
        revision: Option<String>,
    },
    /// A version of it in the registry of crates.
    Registry(String),
}

impl FrameworkSource {
    /// The sources that this program was built from, if they are here; else its version.
    ///
    /// # Errors
    /// It was built from a git repository, whose address cargo does not tell.
    pub(super) fn own() -> Result<Self> {
        let folder = Path::new(BUILT_IN).parent().unwrap_or(Path::new(BUILT_IN));
        if !OF_CARGO.iter().any(|part| BUILT_IN.contains(part)) && has_framework(folder) {
            return Ok(Self::Folder(folder.to_owned()));
        }
        ensure!(
            !BUILT_IN.contains(OF_CARGO[1]),
            Exit::Usage
                .error("this program was built from a git repository: name its address with --git URL")
        );
        Ok(Self::Registry(env!("CARGO_PKG_VERSION").to_owned()))
    }

    /// The sources in this folder.
    ///
    /// # Errors
    /// They are not there.
    pub(super) fn folder(folder: &Path) -> Result<Self> {
        let found = folder.canonicalize().with_context(|| format!("opening {}", folder.display()))?;
        ensure!(
            has_framework(&found) && found.to_str().is_some_and(|path| !path.contains(['"', '\\', '\n'])),
            Exit::Usage.error(format!(
                "{} has no folders `framework` and `commands` with a Cargo.toml, or characters that cannot stand in one",
                found.display()
            ))
        );
        Ok(Self::Folder(found))
    }

    /// The lock file with the versions of everything that the framework depends on, as they were tested.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn lock(&self) -> Result<Option<String>> {
        let Self::Folder(folder) = self else { return Ok(None) };
        let lock = folder.join("Cargo.lock");
        match fs::read_to_string(&lock) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", lock.display())),
        }
    }
}

impl fmt::Display for FrameworkSource {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(formatter, "{}", folder.display()),
            Self::Git { url, revision: None } => write!(formatter, "{url}"),
            Self::Git { url, revision: Some(revision) } => write!(formatter, "{url} at {revision}"),
            Self::Registry(version) => write!(formatter, "the registry of crates, version {version}"),
        }
    }
}

fn has_framework(folder: &Path) -> bool {
    ["framework", "commands"].iter().all(|name| folder.join(name).join("Cargo.toml").is_file())
}

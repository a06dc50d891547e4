//! Puts mails into a folder, one .eml file each, for development: any mail program opens them.

use std::fs;
use std::path::{Path, PathBuf};

use framework::prelude::*;
use lettre::Message;

pub(super) struct Folder {
    root: PathBuf,
    /// As it stands in the configuration; receipts name their files by it.
    path: PathBuf,
}

impl Folder {
    pub(super) fn new(root: &Path, path: &Path) -> Self {
        Self { root: root.into(), path: path.into() }
    }

    /// Writes the mail under a name that tells it from all others; another attempt replaces the file.
    pub(super) async fn put(&self, name: &str, mail: &Message) -> Result<PathBuf> {
        let file = self.path.join(format!("{name}.eml"));
        let (target, text) = (self.root.join(&file), mail.formatted());
        tokio::task::spawn_blocking(move || write(&target, &text)).await??;
        Ok(file)
    }
}

/// Gives the file its name only once it is complete, so that nobody reads half a mail.
fn write(target: &Path, text: &[u8]) -> Result<()> {
    let unfinished = target.with_extension("unfinished");
    let folder = target.parent().expect("a file's name was joined to the folder's");
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&unfinished, text))
        .and_then(|()| fs::rename(&unfinished, target))
        // On a full disk, half a mail only takes the room that another one needs.
        .inspect_err(|_| drop(fs::remove_file(&unfinished)))
        .with_context(|| format!("writing {}", target.display()))
}

//! Writes mails to a folder, one .eml file each, for development.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use framework::files;
use framework::prelude::*;
use lettre::Message;

/// A folder of mails.
pub(super) struct Folder {
    folder: PathBuf,
    /// The path as in the configuration, which receipts show.
    path: PathBuf,
}

impl Folder {
    pub(super) fn new(folder: PathBuf, path: &Path) -> Self {
        Self { folder, path: path.into() }
    }

    /// Writes the mail under a unique name; another attempt of the same task replaces the file.
    pub(super) async fn put(&self, name: &str, mail: &Message) -> Result<PathBuf> {
        let file = format!("{name}.eml");
        let (target, text) = (self.folder.join(&file), mail.formatted());
        tokio::task::spawn_blocking(move || write(&target, &text)).await??;
        Ok(self.path.join(file))
    }
}

/// Renames the file once it is complete, so that no reader sees half a mail.
fn write(target: &Path, text: &[u8]) -> Result<()> {
    let unfinished = target.with_extension("unfinished");
    let folder = target.parent().expect("a file's name was joined to the folder's");
    files::create_folder(folder)
        .and_then(|()| files::private().write(true).truncate(true).open(&unfinished))
        .and_then(|mut file| file.write_all(text))
        .and_then(|()| fs::rename(&unfinished, target))
        .inspect_err(|_| {
            // On a full disk, half a mail would take the space that another one needs.
            let _ = fs::remove_file(&unfinished);
        })
        .with_context(|| format!("writing {}", target.display()))
}

//! Commands of which only one may run at a time: a lock file for each in `runtime/`.

use std::fs::File;
use std::io::{Read, Write};

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};

use crate::app::App;
use crate::command::{CommandEntry, Exit};
use crate::files;
use crate::output::escape_control;

/// The folder of the lock files, below runtime/.
const FOLDER: &str = "locks";
/// The longest number of a process, in bytes.
const NUMBER: u64 = 20;

/// The right to run an isolated command, until it is dropped.
pub(super) struct Isolation(
    #[expect(dead_code, reason = "the lock is held as long as the file is open")] File,
);

/// Takes the lock of a command that says [`ISOLATED`](crate::command::Execute::ISOLATED).
///
/// # Errors
/// When the command runs already in this project, with [`Exit::AlreadyRunning`].
pub(super) fn isolate(entry: &CommandEntry, app: &App) -> Result<Option<Isolation>> {
    if !entry.isolated {
        return Ok(None);
    }
    let folder = app.config()?.runtime(FOLDER)?;
    let path = folder.join(format!("{}.lock", entry.name.replace(':', ".")));
    let file = files::private().create(true).truncate(false).read(true).write(true).open(&path);
    let mut file = file.with_context(|| format!("opening {}", path.display()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(runs_already(entry, &file)),
        Err(error) => return Err(error).with_context(|| format!("locking {}", path.display())),
    }
    // The number is for people; the lock is what counts.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(Some(Isolation(file)))
}

fn runs_already(entry: &CommandEntry, file: &File) -> anyhow::Error {
    let mut number = String::new();
    let read = file.take(NUMBER).read_to_string(&mut number);
    let number = escape_control(number.trim());
    let process =
        if read.is_ok() && !number.is_empty() { format!(" as process {number}") } else { String::new() };
    let name = entry.name;
    Exit::AlreadyRunning.error(format!(
        "{name} runs already{process}, and only one may run at a time; run it again when that has ended"
    ))
}

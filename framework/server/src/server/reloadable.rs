//! A value read from files, read again when they have changed.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use tokio::sync::watch;

/// The time between two checks of the files.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A value read from files. Files that cannot be read any more leave it as it was.
pub(super) struct Reloadable<T> {
    /// The setting that names the files, for the log.
    setting: &'static str,
    files: Vec<PathBuf>,
    read: Box<dyn Fn() -> Result<T> + Send + Sync>,
    state: Mutex<State<T>>,
    /// Notified of every change that is in force.
    changes: watch::Sender<()>,
}

struct State<T> {
    value: Arc<T>,
    stamps: Vec<Stamp>,
    checked: Instant,
}

/// Modification time, size and inode of a file; `None` when there is none.
type Stamp = Option<(SystemTime, u64, u64)>;

impl<T> Reloadable<T> {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// The errors of `read`.
    pub(super) fn open(
        setting: &'static str,
        files: Vec<PathBuf>,
        read: impl Fn() -> Result<T> + Send + Sync + 'static,
    ) -> Result<Self> {
        // Before reading, so that a change in between is seen the next time.
        let stamps = stamps(&files);
        let state = State { value: Arc::new(read()?), stamps, checked: Instant::now() };
        let (changes, _) = watch::channel(());
        Ok(Self { setting, files, read: Box::new(read), state: Mutex::new(state), changes })
    }

    /// The current value; the files are checked at most once a second.
    pub(super) fn current(&self) -> Arc<T> {
        let mut state = self.state.lock().expect("reading a file does not panic");
        if state.checked.elapsed() >= CHECK_INTERVAL {
            self.check(&mut state);
        }
        state.value.clone()
    }

    /// The changes from now on.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Checks the files at once.
    pub(super) fn reload(&self) {
        self.check(&mut self.state.lock().expect("reading a file does not panic"));
    }

    fn check(&self, state: &mut State<T>) {
        state.checked = Instant::now();
        let stamps = stamps(&self.files);
        if stamps == state.stamps {
            return;
        }
        state.stamps = stamps;
        match (self.read)() {
            Ok(value) => {
                state.value = Arc::new(value);
                self.changes.send_replace(());
                tracing::info!("{}: the change is in force", self.setting);
            }
            Err(error) => tracing::error!("{}: the change is not taken over: {error:#}", self.setting),
        }
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    use std::os::unix::fs::MetadataExt;
    let stamp = |file: &PathBuf| {
        let file = fs::metadata(file).ok()?;
        Some((file.modified().ok()?, file.len(), file.ino()))
    };
    files.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reload_takes_a_change_and_ignores_a_broken_one() {
        let directory = std::env::temp_dir().join(format!("think-watched-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join("number");
        let write = |text: &str| fs::write(&file, text).unwrap();
        write("1");
        let read = {
            let file = file.clone();
            move || Ok(fs::read_to_string(&file)?.parse::<u32>()?)
        };
        let value = Reloadable::open("number", vec![file.clone()], read).unwrap();
        let reread = || {
            value.reload();
            *value.current()
        };
        write("22");
        assert_eq!(reread(), 22);
        write("broken");
        assert_eq!(reread(), 22);
        fs::remove_file(&file).unwrap();
        assert_eq!(reread(), 22);
        write("4444");
        assert_eq!(reread(), 4444);
        fs::remove_dir_all(directory).unwrap();
    }
}

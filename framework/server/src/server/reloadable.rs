//! What a file holds, read again when the file has changed.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;

/// How long a file is believed unchanged.
const PATIENCE: Duration = Duration::from_secs(1);

/// A value that some files say. Files that cannot be read any more leave it as it was.
pub(super) struct Reloadable<T> {
    /// The setting that names the files, for the log.
    setting: &'static str,
    files: Vec<PathBuf>,
    read: Box<dyn Fn() -> Result<T> + Send + Sync>,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: Arc<T>,
    stamps: Vec<Stamp>,
    looked: Instant,
}

/// What changes when a file does; `None` when there is none.
type Stamp = Option<(SystemTime, u64, u64)>;

impl<T> Reloadable<T> {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// Those of `read`.
    pub(super) fn open(
        setting: &'static str,
        files: Vec<PathBuf>,
        read: impl Fn() -> Result<T> + Send + Sync + 'static,
    ) -> Result<Self> {
        // Before reading: a change in between is then seen the next time.
        let stamps = stamps(&files);
        let state = State { value: Arc::new(read()?), stamps, looked: Instant::now() };
        Ok(Self { setting, files, read: Box::new(read), state: Mutex::new(state) })
    }

    /// What the files say; looks at them at most once a second.
    pub(super) fn current(&self) -> Arc<T> {
        let mut state = self.state.lock().expect("reading a file does not panic");
        if state.looked.elapsed() >= PATIENCE {
            self.look(&mut state);
        }
        state.value.clone()
    }

    /// Looks at the files at once.
    pub(super) fn reload(&self) {
        self.look(&mut self.state.lock().expect("reading a file does not panic"));
    }

    fn look(&self, state: &mut State<T>) {
        state.looked = Instant::now();
        let stamps = stamps(&self.files);
        if stamps == state.stamps {
            return;
        }
        state.stamps = stamps;
        match (self.read)() {
            Ok(value) => {
                state.value = Arc::new(value);
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
    fn a_change_is_taken_over_and_a_broken_one_is_not() {
        let directory = std::env::temp_dir().join(format!("think-watched-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join("number");
        let write = |text: &str| fs::write(&file, text).unwrap();
        write("1");
        let read = {
            let file = file.clone();
            move || Ok(fs::read_to_string(&file)?.parse::<u32>()?)
        };
        let watched = Reloadable::open("number", vec![file.clone()], read).unwrap();
        let reread = || {
            watched.reload();
            *watched.current()
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

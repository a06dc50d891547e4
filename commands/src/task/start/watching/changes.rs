//! Waits until files of the project have changed, and whoever changes them has come to an end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use framework::prelude::*;
use notify::{Config, ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::project::{Part, Project};

/// So long nothing more may come before a change counts as complete: an editor saves all files, a branch is changed.
const QUIET: Duration = Duration::from_millis(200);
/// But it counts after this time, though more still comes.
const LONGEST: Duration = Duration::from_secs(5);

/// The watched files of a project.
pub(super) struct Changes {
    watcher: RecommendedWatcher,
    seen: Arc<Seen>,
}

/// What has changed since the last time.
#[derive(Debug, Default)]
pub(super) struct Changed {
    pub(super) sources: bool,
    pub(super) config: bool,
    /// Changes that may not be seen from now on, with the reason.
    pub(super) problems: Vec<String>,
    /// Whether a whole directory has come or gone.
    directories: bool,
}

#[derive(Default)]
struct Seen {
    changed: Mutex<Changed>,
    news: Notify,
}

impl Changes {
    /// # Errors
    /// When the system lets no more be watched; it says which limit that is.
    pub(super) fn watch(project: &Project) -> Result<Self> {
        let seen = Arc::<Seen>::default();
        let handler = handler(project, seen.clone());
        let watcher = RecommendedWatcher::new(handler, Config::default()).map_err(explain)?;
        let mut changes = Self { watcher, seen };
        // What lies in it is replaced by renaming, and directories are.
        changes.watcher.watch(&project.root, RecursiveMode::NonRecursive).map_err(explain)?;
        changes.watch_directories(project)?;
        Ok(changes)
    }

    /// Waits for changes. Nothing is lost when this is dropped.
    pub(super) async fn settled(&mut self, project: &Project) -> Changed {
        while self.seen.lock().is_nothing() {
            self.seen.news.notified().await;
        }
        let begun = Instant::now();
        while timeout(QUIET, self.seen.news.notified()).await.is_ok() && begun.elapsed() < LONGEST {}
        let mut changed = std::mem::take(&mut *self.seen.lock());
        if changed.directories {
            let problem = self.watch_directories(project).err();
            changed.problems.extend(problem.map(|error| format!("{error:#}")));
        }
        changed
    }

    fn watch_directories(&mut self, project: &Project) -> Result<()> {
        for directory in project.directories() {
            self.watcher.watch(&directory, RecursiveMode::Recursive).map_err(explain)?;
        }
        Ok(())
    }
}

impl Changed {
    /// Nothing but the sources, if these.
    pub(super) fn sources(sources: bool) -> Self {
        Self { sources, ..Self::default() }
    }

    fn is_nothing(&self) -> bool {
        !self.sources && !self.config && self.problems.is_empty()
    }

    fn add(&mut self, event: &Event, project: &Project) {
        // Some were lost: then anything may have changed.
        let is_lost = event.need_rescan();
        let mut parts = event.paths.iter().filter_map(|path| project.part_of(path));
        self.sources |= is_lost || parts.clone().any(|part| part == Part::Sources);
        self.config |= is_lost || parts.any(|part| part == Part::Config);
        self.directories |= is_lost || event.paths.iter().any(|path| project.is_directory(path));
    }
}

impl Seen {
    fn lock(&self) -> std::sync::MutexGuard<'_, Changed> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the thread of the watcher does with each thing that it hears of.
fn handler(project: &Project, seen: Arc<Seen>) -> impl Fn(notify::Result<Event>) + Send + 'static {
    let project = project.clone();
    move |event| {
        let mut changed = seen.lock();
        match event {
            // A build reads every file.
            Ok(Event { kind: EventKind::Access(_), .. }) => return,
            Ok(event) => changed.add(&event, &project),
            Err(error) => {
                let problem = format!("{:#}", explain(error));
                if !changed.problems.contains(&problem) {
                    changed.problems.push(problem);
                }
            }
        }
        if !changed.is_nothing() {
            seen.news.notify_one();
        }
    }
}

fn explain(error: notify::Error) -> anyhow::Error {
    const TOO_MANY_OPEN: i32 = rustix::io::Errno::MFILE.raw_os_error();
    let limit = match &error.kind {
        ErrorKind::MaxFilesWatch => "fs.inotify.max_user_watches",
        ErrorKind::Io(io) if io.raw_os_error() == Some(TOO_MANY_OPEN) => "fs.inotify.max_user_instances",
        _ => return anyhow::Error::from(error).context("watching files for changes"),
    };
    anyhow::anyhow!(
        "not all changes can be seen: the system's limit {limit} is reached; raise it with \
         `sudo sysctl {limit}=...`, or end other programs that watch files"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_the_system_is_named() {
        let said = |error| explain(error).to_string();
        assert!(
            said(notify::Error::new(ErrorKind::MaxFilesWatch))
                .contains("sysctl fs.inotify.max_user_watches=")
        );
        let too_many_open = notify::Error::io(rustix::io::Errno::MFILE.into());
        assert!(said(too_many_open).contains("sysctl fs.inotify.max_user_instances="));
        let gone = notify::Error::path_not_found().add_path("/house/app".into());
        assert!(format!("{:#}", explain(gone)).contains("/house/app"));
    }
}

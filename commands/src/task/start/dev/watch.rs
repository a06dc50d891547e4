//! Waits until files of the project have changed.

use std::time::Duration;

use framework::prelude::*;
use notify_debouncer_full::notify::{self, ErrorKind, EventKind, RecommendedWatcher, RecursiveMode};
use notify_debouncer_full::{
    DebounceEventResult, DebouncedEvent, Debouncer, RecommendedCache, new_debouncer,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, timeout};

use super::project::{FileKind, Project};

/// How long the debouncer holds an event back, to merge it with what follows.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// How long nothing more may come before a change is complete: an editor saves all files, a branch is checked
/// out.
const QUIET: Duration = Duration::from_millis(100);
/// A change is taken for complete after this time, although more still comes.
const QUIET_TIMEOUT: Duration = Duration::from_secs(5);

/// Watches the files of a project.
pub(super) struct ProjectWatcher {
    debouncer: Debouncer<RecommendedWatcher, RecommendedCache>,
    events: UnboundedReceiver<DebounceEventResult>,
    /// The changes that were not returned yet.
    changes: Changes,
}

/// Changes of files of the project.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) sources: bool,
    pub(super) config: bool,
    /// Reasons why further changes may not be noticed.
    pub(super) problems: Vec<String>,
    /// A watched directory has appeared or disappeared.
    directories: bool,
}

impl ProjectWatcher {
    /// # Errors
    /// When the system lets no more be watched; the error names the limit.
    pub(super) fn start(project: &Project) -> Result<Self> {
        let (sender, events) = unbounded_channel();
        let forward = move |result| {
            // The receiver is gone when nobody waits for changes any more.
            let _ = sender.send(result);
        };
        let debouncer = new_debouncer(DEBOUNCE, None, forward).map_err(explain)?;
        let mut watcher = Self { debouncer, events, changes: Changes::default() };
        // Files in it may be replaced by renaming, and directories, too.
        watcher.debouncer.watch(&project.root, RecursiveMode::NonRecursive).map_err(explain)?;
        watcher.watch_directories(project)?;
        Ok(watcher)
    }

    /// Waits for a change, and until no more of it comes. Cancel safe.
    pub(super) async fn next(&mut self, project: &Project) -> Changes {
        while self.changes.is_empty() {
            match self.events.recv().await {
                Some(result) => self.changes.add(result, project),
                None => std::future::pending().await,
            }
        }
        let deadline = Instant::now() + QUIET_TIMEOUT;
        while Instant::now() < deadline {
            let Ok(Some(result)) = timeout(QUIET, self.events.recv()).await else { break };
            self.changes.add(result, project);
        }
        let mut changes = std::mem::take(&mut self.changes);
        if changes.directories {
            let problem = self.watch_directories(project).err();
            changes.problems.extend(problem.map(|error| format!("{error:#}")));
        }
        changes
    }

    fn watch_directories(&mut self, project: &Project) -> Result<()> {
        for directory in project.directories() {
            self.debouncer.watch(&directory, RecursiveMode::Recursive).map_err(explain)?;
        }
        Ok(())
    }
}

impl Changes {
    /// A change of the sources alone, or none.
    pub(super) fn of_sources(sources: bool) -> Self {
        Self { sources, ..Self::default() }
    }

    fn is_empty(&self) -> bool {
        !self.sources && !self.config && self.problems.is_empty()
    }

    fn add(&mut self, result: DebounceEventResult, project: &Project) {
        match result {
            Ok(events) => events.iter().for_each(|event| self.add_event(event, project)),
            Err(errors) => errors.into_iter().for_each(|error| self.add_problem(error)),
        }
    }

    fn add_event(&mut self, event: &DebouncedEvent, project: &Project) {
        // A build reads every file.
        if matches!(event.kind, EventKind::Access(_)) {
            return;
        }
        // When events were lost, anything may have changed.
        let is_rescan = event.need_rescan();
        let mut kinds = event.paths.iter().filter_map(|path| project.kind_of(path));
        self.sources |= is_rescan || kinds.clone().any(|kind| kind == FileKind::Source);
        self.config |= is_rescan || kinds.any(|kind| kind == FileKind::Config);
        self.directories |= is_rescan || event.paths.iter().any(|path| project.is_directory(path));
    }

    fn add_problem(&mut self, error: notify::Error) {
        let problem = format!("{:#}", explain(error));
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}

/// Names the limit of the system that an error comes from, and how to raise it.
fn explain(error: notify::Error) -> anyhow::Error {
    const TOO_MANY_OPEN: i32 = rustix::io::Errno::MFILE.raw_os_error();
    let limit = match &error.kind {
        ErrorKind::MaxFilesWatch => "fs.inotify.max_user_watches",
        ErrorKind::Io(io) if io.raw_os_error() == Some(TOO_MANY_OPEN) => "fs.inotify.max_user_instances",
        _ => return anyhow::Error::from(error).context("watching files for changes"),
    };
    anyhow::anyhow!(
        "changes may be missed: the system's limit {limit} is reached; raise it with \
         `sudo sysctl {limit}=...`, or end other programs that watch files"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_watcher_names_the_limit_of_the_system() {
        let text = |error| explain(error).to_string();
        let watches = text(notify::Error::new(ErrorKind::MaxFilesWatch));
        assert!(watches.contains("sysctl fs.inotify.max_user_watches="), "{watches}");
        let instances = text(notify::Error::io(rustix::io::Errno::MFILE.into()));
        assert!(instances.contains("sysctl fs.inotify.max_user_instances="), "{instances}");
        let missing = notify::Error::path_not_found().add_path("/project/app".into());
        assert!(format!("{:#}", explain(missing)).contains("/project/app"));
    }
}

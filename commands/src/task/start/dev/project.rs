//! Which files of a project are watched, and what a change of each affects.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use framework::prelude::*;

/// The directories that the launcher builds from.
const SOURCES: [&str; 4] = ["app", "framework", "commands", ".cargo"];
/// The files beside them.
const FILES: [&str; 3] = ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml"];
const CONFIG: &str = "config";

/// The watched files of a project.
#[derive(Clone)]
pub(super) struct Project {
    pub(super) root: PathBuf,
    /// The running program's own file.
    pub(super) program: PathBuf,
    pub(super) launcher: PathBuf,
    /// The file whose time says when the program was built, to the launcher as well.
    stamp: PathBuf,
    /// Why the sources are not watched; `None` when they are.
    unwatched: Option<&'static str>,
}

/// The kind of a watched file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    /// The program is built from it.
    Source,
    /// It holds settings.
    Config,
}

impl Project {
    pub(super) fn at(root: &Path) -> Result<Self> {
        let program = std::env::current_exe().context("finding the program's own file")?;
        let launcher = root.join("think");
        let has_sources =
            root.join("app").is_dir() && root.join("Cargo.toml").is_file() && launcher.is_file();
        let mut stamp = program.clone().into_os_string();
        stamp.push(".stamp");
        let stamp = PathBuf::from(stamp);
        let unwatched = match (has_sources, stamp.exists()) {
            (true, true) => None,
            (false, _) => Some("there are no sources here"),
            // Such as one of `cargo run`: what the launcher builds would not take its place.
            (true, false) => Some("this program is not the one that ./think builds"),
        };
        Ok(Self { root: root.to_owned(), program, launcher, stamp, unwatched })
    }

    pub(super) fn describe(&self, output: &mut Output) {
        match self.unwatched {
            None => output.note("Watching the sources and the configuration for changes."),
            Some(unwatched) => {
                output.note(format_args!("Watching only the configuration for changes: {unwatched}."));
            }
        }
    }

    /// The directories to watch recursively, those that exist.
    pub(super) fn directories(&self) -> impl Iterator<Item = PathBuf> {
        let sources = SOURCES.iter().filter(|_| self.unwatched.is_none());
        sources.chain([&CONFIG]).map(|name| self.root.join(name)).filter(|directory| directory.is_dir())
    }

    /// Whether a source has changed since the build of the running program began.
    pub(super) fn is_stale(&self) -> bool {
        let files = FILES.map(|name| self.root.join(name));
        fs::metadata(&self.stamp).is_ok_and(|stamp| {
            let built = (stamp.mtime(), stamp.mtime_nsec());
            self.directories().chain(files).any(|path| self.has_newer(&path, built))
        })
    }

    fn has_newer(&self, path: &Path, built: (i64, i64)) -> bool {
        let Ok(file) = fs::symlink_metadata(path) else { return false };
        let inside = || fs::read_dir(path).into_iter().flatten().flatten();
        self.kind_of(path) == Some(FileKind::Source)
            && ((file.ctime(), file.ctime_nsec()) > built
                || file.is_dir() && inside().any(|entry| self.has_newer(&entry.path(), built)))
    }

    /// `None` when a change of this file affects nothing.
    pub(super) fn kind_of(&self, path: &Path) -> Option<FileKind> {
        let inside = path.strip_prefix(&self.root).ok()?;
        let mut names = inside.iter().map(|name| name.to_string_lossy());
        let top = names.next()?;
        let is_alone = inside.iter().nth(1).is_none();
        // The launcher does not build anew for tests, either.
        if names.any(|name| name == "tests" || is_scratch(&name)) {
            return None;
        }
        let is_settings = || is_alone || inside.extension().is_some_and(|extension| extension == "toml");
        match &*top {
            CONFIG => is_settings().then_some(FileKind::Config),
            top if SOURCES.contains(&top) || is_alone && FILES.contains(&top) => {
                self.unwatched.is_none().then_some(FileKind::Source)
            }
            _ => None,
        }
    }

    /// Whether this is a watched directory itself, not something in it.
    pub(super) fn is_directory(&self, path: &Path) -> bool {
        path.parent() == Some(&self.root) && self.directories().any(|directory| directory == path)
    }
}

/// Whether an editor writes such a file beside the one that it changes: a swap file, a backup, a probe.
fn is_scratch(name: &str) -> bool {
    let ends = ["~", ".swp", ".swx", ".tmp", ".bak", ".orig", "___jb_tmp___", "___jb_old___"];
    name.starts_with(['.', '#']) || ends.iter().any(|end| name.ends_with(end)) || name == "4913"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(path: &str, unwatched: Option<&'static str>) -> Option<FileKind> {
        let [program, launcher, stamp] = [const { PathBuf::new() }; 3];
        let project = Project { root: "/project".into(), program, launcher, stamp, unwatched };
        project.kind_of(&Path::new("/project").join(path))
    }

    #[test]
    fn what_the_launcher_builds_from_is_source() {
        for path in [
            "app/main.rs",
            "app/task/mail.html",
            "framework/macros/src/lib.rs",
            "Cargo.lock",
            ".cargo/config.toml",
        ] {
            assert_eq!(kind(path, None), Some(FileKind::Source), "{path}");
            assert_eq!(kind(path, Some("")), None, "{path}");
        }
    }

    #[test]
    fn settings_are_configuration() {
        for path in ["config/server.toml", "config"] {
            assert_eq!(kind(path, None), Some(FileKind::Config), "{path}");
            assert_eq!(kind(path, Some("")), Some(FileKind::Config), "{path}");
        }
    }

    #[test]
    fn what_is_made_while_one_works_is_neither() {
        for path in [
            "",
            "target/release/think",
            "runtime/queue.db",
            ".git/index",
            "tests/main.rs",
            "framework/macros/tests/ui/name.rs",
            "README.md",
            "app/.main.rs.swp",
            "app/main.rs~",
            "app/#main.rs#",
            "app/.#main.rs",
            "app/4913",
            "config/.server.toml.swp",
            "config/server.toml~",
            "config/notes.txt",
            "config/.git/x.toml",
        ] {
            assert_eq!(kind(path, None), None, "{path}");
        }
    }
}

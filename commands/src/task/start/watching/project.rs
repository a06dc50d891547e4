//! What of a project is watched, and what a change of it means.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use framework::prelude::*;

/// The directories that the launcher builds from.
const SOURCES: [&str; 4] = ["app", "framework", "commands", ".cargo"];
/// The files beside them.
const FILES: [&str; 3] = ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml"];
const CONFIG: &str = "config";

/// A project, as far as it is watched.
#[derive(Clone)]
pub(super) struct Project {
    pub(super) root: PathBuf,
    /// The running program's own file.
    pub(super) program: PathBuf,
    pub(super) launcher: PathBuf,
    /// When the program was built, by which the launcher goes, too.
    stamp: PathBuf,
    /// Why its sources are not watched, if they are not.
    excuse: Option<&'static str>,
}

/// What a changed file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Sources,
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
        let excuse = match (has_sources, stamp.exists()) {
            (true, true) => None,
            (false, _) => Some("there are no sources here"),
            // Such as one of `cargo run`: what the launcher builds would not take its place.
            (true, false) => Some("this program is not the one that ./think builds"),
        };
        Ok(Self { root: root.to_owned(), program, launcher, stamp, excuse })
    }

    pub(super) fn tell(&self, output: &mut Output) {
        match self.excuse {
            None => output.note("Watching the sources and the configuration for changes."),
            Some(excuse) => {
                output.note(format_args!("Watching only the configuration for changes: {excuse}."));
            }
        }
    }

    /// The directories that are watched, with all that is in them, as far as there are any.
    pub(super) fn directories(&self) -> impl Iterator<Item = PathBuf> {
        let sources = SOURCES.iter().filter(|_| self.excuse.is_none());
        sources.chain([&CONFIG]).map(|name| self.root.join(name)).filter(|directory| directory.is_dir())
    }

    /// Whether a source has changed while the program was built, or since.
    pub(super) fn is_behind(&self) -> bool {
        let files = FILES.map(|name| self.root.join(name));
        fs::metadata(&self.stamp).is_ok_and(|stamp| {
            let built = (stamp.mtime(), stamp.mtime_nsec());
            self.directories().chain(files).any(|path| self.has_newer(&path, built))
        })
    }

    fn has_newer(&self, path: &Path, built: (i64, i64)) -> bool {
        let Ok(file) = fs::symlink_metadata(path) else { return false };
        let inside = || fs::read_dir(path).into_iter().flatten().flatten();
        self.part_of(path) == Some(Part::Sources)
            && ((file.ctime(), file.ctime_nsec()) > built
                || file.is_dir() && inside().any(|entry| self.has_newer(&entry.path(), built)))
    }

    /// `None`: a change there means nothing.
    pub(super) fn part_of(&self, path: &Path) -> Option<Part> {
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
            CONFIG => is_settings().then_some(Part::Config),
            top if SOURCES.contains(&top) || is_alone && FILES.contains(&top) => {
                self.excuse.is_none().then_some(Part::Sources)
            }
            _ => None,
        }
    }

    /// Whether this is a directory that is watched, and not something in it.
    pub(super) fn is_directory(&self, path: &Path) -> bool {
        path.parent() == Some(&self.root) && self.directories().any(|directory| directory == path)
    }
}

/// What editors write beside the file that they change: swap files, backups, attempts.
fn is_scratch(name: &str) -> bool {
    let ends = ["~", ".swp", ".swx", ".tmp", ".bak", ".orig", "___jb_tmp___", "___jb_old___"];
    name.starts_with(['.', '#']) || ends.iter().any(|end| name.ends_with(end)) || name == "4913"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(path: &str, excuse: Option<&'static str>) -> Option<Part> {
        let [program, launcher, stamp] = [const { PathBuf::new() }; 3];
        let project = Project { root: "/house".into(), program, launcher, stamp, excuse };
        project.part_of(&Path::new("/house").join(path))
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
            assert_eq!(part(path, None), Some(Part::Sources), "{path}");
            assert_eq!(part(path, Some("")), None, "{path}");
        }
    }

    #[test]
    fn settings_are_configuration() {
        for path in ["config/server.toml", "config"] {
            assert_eq!(part(path, None), Some(Part::Config), "{path}");
            assert_eq!(part(path, Some("")), Some(Part::Config), "{path}");
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
            assert_eq!(part(path, None), None, "{path}");
        }
    }
}

//! The folder of everything that the program writes: `runtime/`, or the one in config/runtime.toml.

use std::io;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::environment::{ROOT, RUNTIME_DIR};
use super::validation::{Invalid, Validator};
use super::{Config, Problems, Section, read};
use crate::files;

/// The file that says that a folder which the settings name is the program's own.
const MARKER: &str = ".think-runtime";
/// The folder's name at the beginning of paths in the settings, wherever it is.
const NAME: &str = "runtime";

/// The settings of `config/runtime.toml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct RuntimeSettings {
    /// The folder of everything that the program writes, relative to the project's root.
    pub dir: PathBuf,
}

impl Default for RuntimeSettings {
    fn default() -> Self {
        Self { dir: NAME.into() }
    }
}

impl Section for RuntimeSettings {
    const NAME: &'static str = NAME;

    fn check(&self) -> Result<(), Invalid> {
        Validator::new()
            .that("dir", !self.dir.as_os_str().is_empty(), || "must name a folder".to_owned())
            .done()
    }
}

crate::section!(RuntimeSettings);

impl Config {
    /// The folder of everything that the program writes: `runtime/` of the project, or the one that
    /// config/runtime.toml or `THINK_RUNTIME_DIR` names.
    pub fn runtime_dir(&self) -> &Path {
        self.sources.runtime.get_or_init(|| {
            // A mistake in it is an error of whatever section is read next.
            let read = read::read::<RuntimeSettings>(self, &self.section_names(), |_| Ok(()));
            let settings = read.map(|reading| reading.settings).unwrap_or_default();
            self.root().join(settings.dir)
        })
    }

    /// The mistakes in the settings of the runtime folder.
    pub(super) fn runtime_problems(&self) -> Problems {
        read::read::<RuntimeSettings>(self, &self.section_names(), |_| Ok(())).err().unwrap_or_default()
    }

    /// The place of a path in the settings: one that begins with `runtime/` is in [`Config::runtime_dir`],
    /// any other relative one in the project's root.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        let mut components = path.components().skip_while(|component| *component == Component::CurDir);
        match components.next() {
            Some(Component::Normal(first)) if first == NAME => {
                // Without a slash at the end for the folder itself.
                components.fold(self.runtime_dir().to_owned(), |path, component| path.join(component))
            }
            _ => self.root().join(path),
        }
    }

    /// The folder `sub` in [`Config::runtime_dir`], created for its owner alone when missing; `""` is that
    /// folder itself.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn runtime(&self, sub: &str) -> Result<PathBuf> {
        let mut directory = self.runtime_dir().to_owned();
        directory.extend(Path::new(sub));
        files::create_folder(&directory).with_context(|| {
            format!(
                "creating {}: make it writable, or set {RUNTIME_DIR} to another folder, or {ROOT} to another project",
                directory.display()
            )
        })?;
        Ok(directory)
    }

    /// Checks, before anything is written, that the runtime folder can be taken away from all but its owner:
    /// it is `runtime/` of the project, or private already, or empty, or not there yet, or was the runtime
    /// folder before: what mounts volumes or starts services may set its mode again and again.
    ///
    /// # Errors
    /// When the settings name another folder, such as `/tmp` or `/etc`, that others use.
    pub fn check_runtime(&self) -> Result<()> {
        let folder = self.runtime_dir();
        ensure!(
            self.has_own_runtime()
                || files::is_own_file(&folder.join(MARKER))
                || files::is_private_or_empty(folder).with_context(|| reading(folder))?,
            "{} can be opened by other users, and there are files in it: the program keeps what it writes from \
             everybody else, and needs a folder of its own. Name another one ({RUNTIME_DIR}, or `dir` in \
             config/runtime.toml); if it is for this program alone, run: chmod 700 {}",
            folder.display(),
            folder.display()
        );
        Ok(())
    }

    /// Takes the runtime folder away from all but its owner, whatever has created it, and what is in it if it
    /// is that of the project: in another one, there may be files of others.
    ///
    /// # Errors
    /// When it, or something in it, belongs to another user; or it cannot be marked as the program's own.
    pub fn restrict_runtime(&self) -> io::Result<()> {
        let folder = self.runtime_dir();
        if !folder.exists() {
            return Ok(());
        }
        if self.has_own_runtime() {
            return files::restrict_folder(folder);
        }
        files::restrict_folder_alone(folder)?;
        files::private().write(true).open(folder.join(MARKER)).map(drop)
    }

    /// Whether the runtime folder is `runtime/` of the project, and no link that leads elsewhere.
    fn has_own_runtime(&self) -> bool {
        let folder = self.runtime_dir();
        folder == self.root().join(NAME) && !folder.is_symlink()
    }
}

fn reading(folder: &Path) -> String {
    format!("reading {}", folder.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::Project;

    #[test]
    fn runtime_is_created_when_missing() {
        let project = Project::new();
        let config = project.config(&[]);
        assert_eq!(config.runtime("mail").unwrap(), project.root.join("runtime/mail"));
        assert!(project.root.join("runtime/mail").is_dir());
        assert_eq!(config.runtime("").unwrap(), project.root.join("runtime"));

        project.write("runtime/taken", "");
        let error = config.runtime("taken").unwrap_err().to_string();
        assert!(error.starts_with("creating ") && error.contains("runtime/taken"), "{error}");
        assert!(error.contains("THINK_RUNTIME_DIR"), "{error}");
    }

    #[test]
    fn path_moves_what_begins_with_runtime() {
        let path = |dir: &str, path: &str| {
            let config = Config::at("/srv/app", [("THINK_RUNTIME_DIR", dir)]);
            config.path(path).to_str().unwrap().to_owned()
        };
        assert_eq!(path("", "runtime/queue.db"), "/srv/app/runtime/queue.db");
        assert_eq!(path("/var/lib/app", "runtime/queue.db"), "/var/lib/app/queue.db");
        assert_eq!(path("/var/lib/app", "./runtime"), "/var/lib/app");
        assert_eq!(path("data", "runtime/a/b"), "/srv/app/data/a/b");
        assert_eq!(path("/var/lib/app", "config/ca.pem"), "/srv/app/config/ca.pem");
        assert_eq!(path("/var/lib/app", "/tmp/runtime"), "/tmp/runtime");
        assert_eq!(path("/var/lib/app", "runtimes"), "/srv/app/runtimes");
    }

    #[test]
    fn runtime_dir_of_the_file_is_refused_when_it_is_empty() {
        let project = Project::new();
        project.write("config/runtime.toml", "dir = \"\"");
        let error = project.config(&[]).check_all().unwrap_err().to_string();
        assert_eq!(error, "config/runtime.toml:1: `dir` must name a folder");
        project.write("config/runtime.toml", "dir = \"/data\"");
        assert_eq!(project.config(&[]).runtime_dir(), Path::new("/data"));
    }
}

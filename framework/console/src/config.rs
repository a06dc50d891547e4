//! Typed settings: defaults, then config/NAME.toml, then THINK_NAME_KEY.
//!
//! A [`Section`] is a struct with its defaults in `impl Default`; [`section!`](crate::section) registers it.
//! A key that is misspelt or of the wrong type, in a file or in the environment, is an error that names its
//! place and a suggestion: a setting is never silently ignored.

mod called;
pub mod duration;
mod environment;
mod provenance;
mod schema_fields;
mod validation;
mod did_you_mean;
mod names;
mod problem;
mod read;
mod registry;
mod root;
mod runtime_folder;
mod secret;
mod section;
mod serde_messages;
mod systemd;
pub mod size;
mod user;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::{fmt, fs, io};

use anyhow::Result;
pub use called::{called, file_name, pass_call};
pub use did_you_mean::did_you_mean;
use environment::Environment;
pub use environment::NOT_FOR_PROGRAMS;
pub use problem::{Origin, Problem, Problems};
pub use provenance::Provenance;
pub use read::Setting;
pub use registry::SectionEntry;
use root::Root;
pub use runtime_folder::RuntimeSettings;
use rustix::process::geteuid;
pub use secret::Secret;
pub use section::Section;
pub use systemd::Systemd;
pub use user::{program_folders, user_folder, user_shell};
pub use validation::{Invalid, Validator};

use crate::files;

/// The sources of settings: the project's root and the environment of the process. Cheap to clone.
#[derive(Clone)]
pub struct Config {
    sources: Arc<Sources>,
}

struct Sources {
    root: PathBuf,
    /// Whoever owns the files of settings, they are read.
    trusts_files: bool,
    environment: Environment,
    /// [`Config::runtime_dir`], once it has been asked for.
    runtime: OnceLock<PathBuf>,
}

impl Config {
    /// Locates the project and reads the environment of the process, once.
    ///
    /// The root is `THINK_ROOT` if it is set, else that of the launcher, else the nearest directory, upwards
    /// from the current one and then from the program's own file, that holds `config/` and also `app/` or a
    /// file `think`.
    ///
    /// # Errors
    /// When there is no such directory, when it is another user's, or a `THINK_` variable is not UTF-8.
    pub fn locate() -> Result<Self> {
        let environment = Environment::of_process()?;
        let Root { path: root, is_explicit: trusts_files } = root::find(&root::RootHints::of_process())?;
        Ok(Self::of(root, trusts_files, environment))
    }

    /// A configuration of the given root with these variables only, for tests.
    pub fn at<'a>(
        root: impl Into<PathBuf>,
        environment: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        Self::of(root.into(), true, Environment::of(environment))
    }

    fn of(root: PathBuf, trusts_files: bool, environment: Environment) -> Self {
        Self { sources: Arc::new(Sources { root, trusts_files, environment, runtime: OnceLock::new() }) }
    }

    /// The project's root directory.
    pub fn root(&self) -> &Path {
        &self.sources.root
    }

    /// Reads a file of settings.
    ///
    /// # Errors
    /// When it cannot be read, is no regular file, or belongs neither to this user nor to root nor to the
    /// owner of the project; `THINK_ROOT` trusts whoever it is.
    fn read_file(&self, name: &str) -> io::Result<String> {
        let path = self.root().join(name);
        if !self.sources.trusts_files {
            let owner = fs::metadata(&path)?.uid();
            let folders = [self.root().to_owned(), self.root().join("config")];
            let is_of_project =
                folders.iter().any(|folder| fs::metadata(folder).is_ok_and(|found| found.uid() == owner));
            if owner != 0 && owner != geteuid().as_raw() && !is_of_project {
                let message =
                    format!("it belongs to another user (uid {owner}), who is not the owner of the project");
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
            }
        }
        files::read_text(&path)
    }

    /// The settings of one section. Every call reads the file: keep the result.
    ///
    /// # Errors
    /// All [`Problems`] of this section, and every file or variable that belongs to no section.
    pub fn section<S: Section>(&self) -> Result<S> {
        self.section_checked(|_| Ok(()))
    }

    /// The same, with a further check of what a section cannot know by itself, such as the names of handlers.
    /// Its errors are reported with the place where the value was set.
    ///
    /// # Errors
    /// The same as [`Config::section`], and the errors of `check`.
    pub fn section_checked<S: Section>(&self, check: impl FnOnce(&S) -> Result<(), Invalid>) -> Result<S> {
        let mut problems = self.strays_beside(Some(S::NAME));
        if S::NAME != RuntimeSettings::NAME {
            problems.extend(self.runtime_problems());
        }
        match read::read::<S>(self, &self.section_names(), check) {
            Ok(reading) if problems.is_empty() => return Ok(reading.settings),
            Ok(_) => {}
            Err(more) => problems.extend(more),
        }
        Err(problems.into())
    }

    /// Reads and validates every registered section.
    ///
    /// # Errors
    /// All problems of all sections, not just the first.
    pub fn check_all(&self) -> Result<(), Problems> {
        let mut problems = self.strays();
        for section in SectionEntry::all() {
            if let Err(more) = (section.read)(self) {
                problems.extend(more);
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// The names of all registered sections.
    fn section_names(&self) -> Vec<&'static str> {
        SectionEntry::all().into_iter().map(|section| section.name).collect()
    }
}

impl fmt::Debug for Config {
    // The environment holds passwords.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Config").field("root", &self.sources.root).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicU32, Ordering};

    use serde::{Deserialize, Serialize};

    use super::*;

    /// A project in a temporary directory, which is removed on drop.
    pub(super) struct Project {
        pub(super) root: PathBuf,
    }

    impl Project {
        pub(super) fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let name =
                format!("think-config-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let root = std::env::temp_dir().join(name);
            fs::create_dir_all(root.join("config")).unwrap();
            fs::create_dir_all(root.join("app")).unwrap();
            Self { root: root.canonicalize().unwrap() }
        }

        pub(super) fn directory(&self, name: &str) -> PathBuf {
            let directory = self.root.join(name);
            fs::create_dir_all(&directory).unwrap();
            directory
        }

        pub(super) fn write(&self, file: &str, text: &str) {
            fs::write(self.root.join(file), text).unwrap();
        }

        pub(super) fn config(&self, variables: &[(&str, &str)]) -> Config {
            Config::at(&self.root, variables.iter().copied())
        }
    }

    impl Drop for Project {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.root);
        }
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default)]
    pub(super) struct Sample {
        pub(super) port: u16,
        pub(super) name: Option<String>,
        pub(super) verbose: bool,
        #[serde(with = "size")]
        pub(super) limit: usize,
        pub(super) hosts: Vec<String>,
        pub(super) weights: BTreeMap<String, u32>,
        pub(super) password: Secret,
    }

    impl Default for Sample {
        fn default() -> Self {
            Self {
                port: 9501,
                name: None,
                verbose: false,
                limit: 2 << 20,
                hosts: Vec::new(),
                weights: BTreeMap::new(),
                password: Secret::default(),
            }
        }
    }

    impl Section for Sample {
        const NAME: &'static str = "sample";
        const REPLACED: &'static [(&'static str, &'static str)] = &[("old_way", "use `port`")];

        fn check(&self) -> Result<(), Invalid> {
            Validator::new()
                .range("port", self.port, 1..=u16::MAX)
                .not_empty("name", self.name.as_deref())
                .done()
        }
    }

    crate::section!(Sample);

    #[derive(Debug, Default, Serialize, Deserialize)]
    #[serde(default)]
    struct SampleQueue {
        size: u32,
    }

    impl Section for SampleQueue {
        const NAME: &'static str = "sample_queue";
    }

    crate::section!(SampleQueue);

    #[test]
    fn check_all_reports_every_problem_of_every_section() {
        let project = Project::new();
        project.write("config/sample.toml", "port = 0");
        project.write("config/sample_queue.toml", "size = -1");
        let problems = project.config(&[("THINK_SAMPLE_VERBOSE", "maybe")]).check_all().unwrap_err();
        assert_eq!(
            problems.to_string().lines().collect::<Vec<_>>(),
            [
                "config/sample.toml:1: `port` must be from 1 to 65535, not 0",
                "config/sample_queue.toml:1: `size` must be a whole number from 0 to 4294967295, not the integer `-1`",
                "THINK_SAMPLE_VERBOSE: `verbose` must be true or false, not the string \"maybe\"",
            ]
        );
    }

    #[test]
    fn file_or_variable_of_no_section_is_a_problem() {
        let project = Project::new();
        project.write("config/sampel.toml", "");
        project.write("config/sample.toml~", "an editor's backup does not count");
        let config = project.config(&[("THINK_SAMPEL_PORT", "1"), ("THINK_ROOT", "/"), ("HOME", "/")]);
        let expected = [
            "config/sampel.toml: unknown section `sampel`; did you mean config/sample.toml?",
            "THINK_SAMPEL_PORT: unknown section; did you mean THINK_SAMPLE_PORT?",
        ];
        let problems = config.check_all().unwrap_err().to_string();
        assert_eq!(problems.lines().collect::<Vec<_>>(), expected);
        let problems = config.section::<SampleQueue>().unwrap_err().to_string();
        assert_eq!(problems.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn variable_belongs_to_the_section_with_the_longest_name() {
        let config = Project::new().config(&[("THINK_SAMPLE_QUEUE_SIZE", "7")]);
        assert_eq!(config.section::<SampleQueue>().unwrap().size, 7);
        assert_eq!(config.section::<Sample>().unwrap(), Sample::default());
    }

    #[test]
    fn explain_names_the_origin_of_each_value() {
        let project = Project::new();
        project.write("config/sample.toml", "\npassword = \"hunter2\"");
        let provenance = project.config(&[("THINK_SAMPLE_PORT", "2")]).explain();
        let sample = provenance.into_iter().find(|provenance| provenance.section == "sample").unwrap();
        let shown: Vec<_> = sample
            .settings
            .unwrap()
            .into_iter()
            .map(|setting| format!("{} = {} ({})", setting.key, setting.value, setting.origin))
            .collect();
        assert_eq!(
            shown,
            [
                "port = 2 (THINK_SAMPLE_PORT)",
                "name = null (default)",
                "verbose = false (default)",
                "limit = \"2MB\" (default)",
                "hosts = [] (default)",
                "weights = {} (default)",
                "password = \"(hidden)\" (config/sample.toml:2)",
            ]
        );
    }

    #[test]
    fn debug_of_a_config_shows_no_variable() {
        let config = Config::at("/", [("THINK_MAIL_PASSWORD", "hunter2")]);
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}

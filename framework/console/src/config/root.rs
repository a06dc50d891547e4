//! Locates the root of the project.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::environment::ROOT;

/// The places from which the root is searched.
pub(super) struct RootHints {
    /// The value of `THINK_ROOT`.
    pub(super) explicit: Option<OsString>,
    pub(super) current: Option<PathBuf>,
    /// The program's own file, symbolic links resolved.
    pub(super) program: Option<PathBuf>,
}

impl RootHints {
    #[expect(clippy::disallowed_methods, reason = "this is where `config` reads the environment")]
    pub(super) fn of_process() -> Self {
        Self {
            explicit: env::var_os(ROOT),
            current: env::current_dir().ok(),
            program: env::current_exe().and_then(|program| program.canonicalize()).ok(),
        }
    }
}

/// Finds the root; `THINK_ROOT` takes precedence over the current directory, and that over the program's own.
///
/// # Errors
/// When `THINK_ROOT` is not a directory, or no directory upwards is a project.
pub(super) fn find(hints: &RootHints) -> Result<PathBuf> {
    // An empty variable counts as not set, as everywhere.
    if let Some(explicit) = hints.explicit.as_ref().filter(|explicit| !explicit.is_empty()) {
        let explicit = Path::new(explicit);
        return match explicit.canonicalize() {
            Ok(root) if root.is_dir() => Ok(root),
            Ok(_) => bail!("{ROOT} is {}, which is not a directory", explicit.display()),
            Err(error) => bail!("{ROOT} is {}, which cannot be opened: {error}", explicit.display()),
        };
    }
    let starts = [hints.current.as_deref(), hints.program.as_deref().and_then(Path::parent)];
    let starts: Vec<&Path> = starts.into_iter().flatten().collect();
    match starts.iter().find_map(|start| start.ancestors().find(|directory| is_root(directory))) {
        Some(root) => Ok(root.to_owned()),
        None => bail!("{}", not_found(&starts)),
    }
}

fn is_root(directory: &Path) -> bool {
    directory.join("config").is_dir() && (directory.join("app").is_dir() || directory.join("think").is_file())
}

fn not_found(starts: &[&Path]) -> String {
    let looked: Vec<_> = starts.iter().map(|start| format!("upwards from {}", start.display())).collect();
    format!(
        "no project found: searched {} for a directory that holds `config/` and also `app/` or a file `think`. \
         Change to the project's directory, or set {ROOT} to it.",
        if looked.is_empty() { "nowhere".to_owned() } else { looked.join(" and ") },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::Project;

    fn from(current: &Path) -> RootHints {
        RootHints { explicit: None, current: Some(current.to_owned()), program: None }
    }

    #[test]
    fn explicit_root_takes_precedence_and_must_exist() {
        let project = Project::new();
        let elsewhere = project.directory("elsewhere");
        let hints = RootHints { explicit: Some(elsewhere.clone().into()), ..from(&project.root) };
        assert_eq!(find(&hints).unwrap(), elsewhere);

        let hints = RootHints { explicit: Some("/no/such/place".into()), ..from(&project.root) };
        assert!(find(&hints).unwrap_err().to_string().starts_with("THINK_ROOT is /no/such/place"));
    }

    #[test]
    fn empty_explicit_root_counts_as_not_set() {
        let project = Project::new();
        let hints = RootHints { explicit: Some("".into()), ..from(&project.root) };
        assert_eq!(find(&hints).unwrap(), project.root);
    }

    #[test]
    fn current_directory_takes_precedence_over_the_programs() {
        let (here, there) = (Project::new(), Project::new());
        let deep = here.directory("app/task");
        let program = there.directory("target/release").join("think");
        let hints = RootHints { program: Some(program.clone()), ..from(&deep) };
        assert_eq!(find(&hints).unwrap(), here.root);

        let hints = RootHints { program: Some(program), ..from(Path::new("/")) };
        assert_eq!(find(&hints).unwrap(), there.root);
    }

    #[test]
    fn directory_with_only_config_is_not_a_project() {
        let project = Project::new();
        let bare = project.directory("bare/config");
        assert_eq!(find(&from(&bare)).unwrap(), project.root);
        std::fs::write(project.root.join("bare/think"), "").unwrap();
        assert_eq!(find(&from(&bare)).unwrap(), project.root.join("bare"));
    }

    #[test]
    fn missing_project_is_explained() {
        let error = find(&from(Path::new("/"))).unwrap_err().to_string();
        assert!(error.contains("upwards from /") && error.contains("THINK_ROOT"), "{error}");
    }
}

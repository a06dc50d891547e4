//! Where the project is.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::environment::ROOT;

/// What tells where the project is.
pub(super) struct RootHints {
    /// `THINK_ROOT`.
    pub(super) wish: Option<OsString>,
    pub(super) current: Option<PathBuf>,
    /// The program's own file, symbolic links resolved.
    pub(super) program: Option<PathBuf>,
}

impl RootHints {
    #[expect(clippy::disallowed_methods, reason = "this is where `config` reads the environment")]
    pub(super) fn of_process() -> Self {
        Self {
            wish: env::var_os(ROOT),
            current: env::current_dir().ok(),
            program: env::current_exe().and_then(|program| program.canonicalize()).ok(),
        }
    }
}

pub(super) fn find(clues: &RootHints) -> Result<PathBuf> {
    // An empty variable is one that is not set, as everywhere.
    if let Some(wish) = clues.wish.as_ref().filter(|wish| !wish.is_empty()) {
        let wish = Path::new(wish);
        return match wish.canonicalize() {
            Ok(root) if root.is_dir() => Ok(root),
            Ok(_) => bail!("{ROOT} is {}, which is not a directory", wish.display()),
            Err(error) => bail!("{ROOT} is {}, which cannot be opened: {error}", wish.display()),
        };
    }
    let starts = [clues.current.as_deref(), clues.program.as_deref().and_then(Path::parent)];
    let starts: Vec<&Path> = starts.into_iter().flatten().collect();
    match starts.iter().find_map(|start| start.ancestors().find(|directory| is_root(directory))) {
        Some(root) => Ok(root.to_owned()),
        None => bail!("{}", nowhere(&starts)),
    }
}

fn is_root(directory: &Path) -> bool {
    directory.join("config").is_dir() && (directory.join("app").is_dir() || directory.join("think").is_file())
}

fn nowhere(starts: &[&Path]) -> String {
    let looked: Vec<_> = starts.iter().map(|start| format!("upwards from {}", start.display())).collect();
    format!(
        "no project found: looked {} for a directory that holds `config/` and also `app/` or a file `think`. \
         Change to the project's directory, or set {ROOT} to it.",
        if looked.is_empty() { "nowhere".to_owned() } else { looked.join(" and ") },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::Project;

    fn from(current: &Path) -> RootHints {
        RootHints { wish: None, current: Some(current.to_owned()), program: None }
    }

    #[test]
    fn the_wish_decides_and_must_exist() {
        let project = Project::new();
        let elsewhere = project.directory("elsewhere");
        let clues = RootHints { wish: Some(elsewhere.clone().into()), ..from(&project.root) };
        assert_eq!(find(&clues).unwrap(), elsewhere);

        let clues = RootHints { wish: Some("/no/such/place".into()), ..from(&project.root) };
        assert!(find(&clues).unwrap_err().to_string().starts_with("THINK_ROOT is /no/such/place"));
    }

    #[test]
    fn an_empty_wish_is_none() {
        let project = Project::new();
        let clues = RootHints { wish: Some("".into()), ..from(&project.root) };
        assert_eq!(find(&clues).unwrap(), project.root);
    }

    #[test]
    fn the_current_directory_comes_before_the_program() {
        let (here, there) = (Project::new(), Project::new());
        let deep = here.directory("app/task");
        let program = there.directory("target/release").join("think");
        let clues = RootHints { program: Some(program.clone()), ..from(&deep) };
        assert_eq!(find(&clues).unwrap(), here.root);

        let clues = RootHints { program: Some(program), ..from(Path::new("/")) };
        assert_eq!(find(&clues).unwrap(), there.root);
    }

    #[test]
    fn a_directory_with_configuration_alone_is_no_project() {
        let project = Project::new();
        let bare = project.directory("bare/config");
        assert_eq!(find(&from(&bare)).unwrap(), project.root);
        std::fs::write(project.root.join("bare/think"), "").unwrap();
        assert_eq!(find(&from(&bare)).unwrap(), project.root.join("bare"));
    }

    #[test]
    fn nothing_found_says_what_was_looked_for_and_what_to_set() {
        let error = find(&from(Path::new("/"))).unwrap_err().to_string();
        assert!(error.contains("upwards from /") && error.contains("THINK_ROOT"), "{error}");
    }
}

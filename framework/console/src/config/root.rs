//! Locates the root of the project, and refuses that of somebody else.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::process::geteuid;

use super::called::called;
use crate::files;

use super::environment::{LAUNCHER, ROOT, RUNTIME_DIR};

/// The names of folders in which a program is one among others.
const OF_PROGRAMS: [&str; 2] = ["bin", "sbin"];

/// The places from which the root is searched.
#[derive(Default)]
pub(super) struct RootHints {
    /// The value of `THINK_ROOT`.
    pub(super) explicit: Option<OsString>,
    /// The root in which the launcher of this process stands.
    pub(super) launcher: Option<PathBuf>,
    pub(super) current: Option<PathBuf>,
    /// The program's own file, symbolic links resolved.
    pub(super) program: Option<PathBuf>,
    /// The value of `THINK_RUNTIME_DIR`.
    pub(super) runtime: Option<OsString>,
}

/// The root of a project.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Root {
    pub(super) path: PathBuf,
    /// The user has named it: whose it is does not matter then.
    pub(super) is_explicit: bool,
}

impl RootHints {
    #[expect(clippy::disallowed_methods, reason = "this is where `config` reads the environment")]
    pub(super) fn of_process() -> Self {
        Self {
            explicit: env::var_os(ROOT),
            launcher: env::var_os(LAUNCHER).and_then(|value| of_launcher(value, std::process::id())),
            current: env::current_dir().ok(),
            program: own_program(),
            runtime: env::var_os(RUNTIME_DIR),
        }
    }
}

/// The program's own file, links resolved, also while another one takes its place: Linux appends to its path
/// then that it is deleted.
fn own_program() -> Option<PathBuf> {
    let own = env::current_exe().ok()?;
    let replaced = own.to_str().and_then(|path| path.strip_suffix(" (deleted)"));
    let own = replaced.map_or_else(|| own.clone(), PathBuf::from);
    Some(own.canonicalize().unwrap_or(own))
}

/// The root in a variable of the launcher, if that has become the process `pid`: a child of it may be another
/// project's.
fn of_launcher(value: OsString, pid: u32) -> Option<PathBuf> {
    let bytes = value.into_vec();
    let root = bytes.strip_prefix(format!("{pid}:").as_bytes())?;
    Some(OsString::from_vec(root.to_vec()).into())
}

/// Finds the root: `THINK_ROOT`, else where the launcher stands, else upwards from the current directory,
/// else from the program's own. Without any, a program that is not installed among others is alone with its
/// own folder, or with that of `THINK_RUNTIME_DIR`: all settings have their defaults there.
///
/// # Errors
/// When `THINK_ROOT` is not a directory, no directory upwards is a project, or the one that was found belongs
/// to somebody else.
pub(super) fn find(hints: &RootHints) -> Result<Root> {
    // An empty variable counts as not set, as everywhere.
    if let Some(explicit) = hints.explicit.as_ref().filter(|explicit| !explicit.is_empty()) {
        let explicit = Path::new(explicit);
        return match explicit.canonicalize() {
            Ok(path) if path.is_dir() => Ok(Root { path, is_explicit: true }),
            Ok(_) => bail!("{ROOT} is {}, which is not a directory", explicit.display()),
            Err(error) => bail!("{ROOT} is {}, which cannot be opened: {error}", explicit.display()),
        };
    }
    if let Some(path) = hints.launcher.as_ref().filter(|root| is_root(root)) {
        return Ok(Root { path: path.clone(), is_explicit: false });
    }
    let starts = [hints.current.as_deref(), hints.program.as_deref().and_then(Path::parent)];
    let starts: Vec<&Path> = starts.into_iter().flatten().collect();
    let Some(root) = starts.iter().find_map(|start| start.ancestors().find(|directory| is_root(directory)))
    else {
        let alone = alone(hints).with_context(|| not_found(&starts))?;
        return Ok(Root { path: alone, is_explicit: false });
    };
    // Whoever runs the program of a project trusts the project.
    if !hints.program.as_ref().is_some_and(|program| program.starts_with(root)) {
        check_owner(root)?;
    }
    Ok(Root { path: root.to_owned(), is_explicit: false })
}

/// The folder of a program without a project; `None` if that is one of programs, such as /usr/bin.
fn alone(hints: &RootHints) -> Option<PathBuf> {
    let runtime = hints.runtime.as_ref().map(PathBuf::from).filter(|folder| folder.is_absolute());
    let beside = hints.program.as_deref().and_then(Path::parent);
    let beside =
        beside.filter(|folder| !OF_PROGRAMS.iter().any(|name| folder.file_name() == Some(OsStr::new(name))));
    if let Some(folder) = runtime {
        // It is the root, in which processes are started; whoever writes there says why it cannot be created.
        let _ = files::create_folder(&folder);
        return Some(folder);
    }
    beside.map(Path::to_owned)
}

/// Refuses a project that neither this user nor root has made: its settings would decide where secrets go.
fn check_owner(root: &Path) -> Result<()> {
    for path in [root.to_owned(), root.join("config")] {
        let owner = std::fs::metadata(&path).with_context(|| format!("reading {}", path.display()))?.uid();
        if owner != 0 && owner != geteuid().as_raw() {
            let (path, root) = (path.display(), root.display());
            bail!(
                "{path} belongs to another user (uid {owner}), whose settings are not used: start the project by its \
                 own file `think`, or set {ROOT}={root} to use it all the same"
            );
        }
    }
    Ok(())
}

fn is_root(directory: &Path) -> bool {
    directory.join("config").is_dir() && (directory.join("app").is_dir() || directory.join("think").is_file())
}

fn not_found(starts: &[&Path]) -> String {
    let looked: Vec<_> = starts.iter().map(|start| format!("upwards from {}", start.display())).collect();
    format!(
        "no project found: searched {} for a directory that holds `config/` and also `app/` or a file `think`. \
         Change to the project's directory, set {ROOT} to it, or make one with `{} new PATH`. Without a project, set \
         {RUNTIME_DIR} to a folder for what is written.",
        if looked.is_empty() { "nowhere".to_owned() } else { looked.join(" and ") },
        called(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::Project;

    fn from(current: &Path) -> RootHints {
        RootHints { current: Some(current.to_owned()), ..RootHints::default() }
    }

    #[test]
    fn explicit_root_takes_precedence_and_must_exist() {
        let project = Project::new();
        let elsewhere = project.directory("elsewhere");
        let hints = RootHints { explicit: Some(elsewhere.clone().into()), ..from(&project.root) };
        assert_eq!(find(&hints).unwrap(), Root { path: elsewhere, is_explicit: true });

        let hints = RootHints { explicit: Some("/no/such/place".into()), ..from(&project.root) };
        assert!(find(&hints).unwrap_err().to_string().starts_with("THINK_ROOT is /no/such/place"));
    }

    #[test]
    fn empty_explicit_root_counts_as_not_set() {
        let project = Project::new();
        let hints = RootHints { explicit: Some("".into()), ..from(&project.root) };
        assert_eq!(find(&hints).unwrap().path, project.root);
    }

    #[test]
    fn current_directory_takes_precedence_over_the_programs() {
        let (here, there) = (Project::new(), Project::new());
        let deep = here.directory("app/task");
        let program = there.directory("target/release").join("think");
        let hints = RootHints { program: Some(program.clone()), ..from(&deep) };
        assert_eq!(find(&hints).unwrap().path, here.root);

        let hints = RootHints { program: Some(program), ..from(Path::new("/")) };
        assert_eq!(find(&hints).unwrap().path, there.root);
    }

    #[test]
    fn launcher_takes_precedence_over_the_current_directory() {
        let (here, there) = (Project::new(), Project::new());
        let hints = RootHints { launcher: Some(there.root.clone()), ..from(&here.root) };
        assert_eq!(find(&hints).unwrap().path, there.root);
        assert_eq!(of_launcher("12:/srv/app".into(), 12), Some("/srv/app".into()));
        assert_eq!(of_launcher("12:/srv/app".into(), 13), None, "it has become another process");
    }

    #[test]
    fn project_of_another_user_is_refused_unless_it_is_named_or_has_the_program() {
        let project = Project::new();
        // Only root can give a file away.
        for given in ["", "config"] {
            let path = project.root.join(given);
            if std::os::unix::fs::chown(&path, Some(65534), None).is_err() {
                return;
            }
            let error = find(&from(&project.root)).unwrap_err().to_string();
            assert!(error.contains("another user (uid 65534)") && error.contains("THINK_ROOT"), "{error}");
            let explicit = Some(project.root.clone().into());
            assert!(find(&RootHints { explicit, ..from(&project.root) }).is_ok());
            let program = Some(project.root.join("target/release/think"));
            assert!(find(&RootHints { program, ..from(&project.root) }).is_ok());
            std::os::unix::fs::chown(&path, Some(0), None).unwrap();
        }
    }

    #[test]
    fn directory_with_only_config_is_not_a_project() {
        let project = Project::new();
        let bare = project.directory("bare/config");
        assert_eq!(find(&from(&bare)).unwrap().path, project.root);
        std::fs::write(project.root.join("bare/think"), "").unwrap();
        assert_eq!(find(&from(&bare)).unwrap().path, project.root.join("bare"));
    }

    #[test]
    fn program_without_a_project_is_alone_with_its_folder() {
        let alone = |program: &str, runtime: Option<&str>| {
            let program = Some(program.into());
            let hints = RootHints { program, runtime: runtime.map(Into::into), ..from(Path::new("/")) };
            find(&hints).map(|root| root.path.to_str().unwrap().to_owned()).ok()
        };
        assert_eq!(alone("/no/such/think", None).as_deref(), Some("/no/such"));
        let data = std::env::temp_dir();
        let data = data.to_str().unwrap();
        assert_eq!(alone("/no/such/think", Some(data)).as_deref(), Some(data));
        assert_eq!(alone("/no/bin/think", Some(data)).as_deref(), Some(data));
        assert_eq!(alone("/no/bin/think", Some("data")), None, "relative to what?");
        assert_eq!(alone("/no/bin/think", None), None);
    }

    #[test]
    fn missing_project_is_explained() {
        let error = find(&from(Path::new("/"))).unwrap_err().to_string();
        assert!(error.contains("upwards from /") && error.contains("THINK_ROOT"), "{error}");
    }
}

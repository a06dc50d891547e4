//! `new PATH`: makes a project of its own, which depends on the framework.

mod files;
mod manifest;
mod source;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf, absolute};

use framework::prelude::*;

use self::files::{FILES, LAUNCHER};
use self::source::FrameworkSource;

/// The permissions of the launcher.
const PROGRAM_MODE: u32 = 0o755;

/// Make a project of its own
///
/// Writes a program with a command, a task, settings, a test, the file `think` that builds and starts it.
/// Its Cargo.toml depends on the framework: on the sources that this program was built from, if they are
/// here, else on its version in the registry of crates.
#[derive(Args, Command)]
#[command(name = "new")]
struct New {
    /// Folder of the project, which must not exist or be empty
    path: PathBuf,
    /// Name of the package; by default that of the folder
    #[arg(long)]
    name: Option<String>,
    /// Depend on the sources of the framework in this folder
    #[arg(long, value_name = "FOLDER", group = "source")]
    framework: Option<PathBuf>,
    /// Depend on this git repository of the framework
    #[arg(long, value_name = "URL", group = "source")]
    git: Option<String>,
    /// Tag or commit of the git repository; by default the last commit of its default branch
    #[arg(long, value_name = "REVISION", requires = "git")]
    rev: Option<String>,
    /// Depend on this version in the registry of crates, such as 0.1
    #[arg(long, value_name = "VERSION", group = "source")]
    registry: Option<String>,
}

impl Execute for New {
    const RESERVED: bool = true;

    async fn execute(self, _app: &App, output: &mut Output) -> Result<()> {
        let folder = absolute(&self.path).context("finding the folder of the project")?;
        let name = match &self.name {
            Some(name) => name.clone(),
            None => folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        };
        check(&name)?;
        let source = self.source()?;
        ensure!(is_free(&folder)?, Exit::Failed.error(format!("{} is not empty", folder.display())));
        let written = write_all(&folder, &name, &source);
        let count = written.with_context(|| format!("writing the project into {}", folder.display()))?;
        output.success(format_args!("Wrote {count} files into {}.", folder.display()));
        output.note(format_args!("It depends on the framework from {source}."));
        output.note(format_args!(
            "Go on with `cd {}` and `./think`; its README.md says what there is.",
            self.path.display()
        ));
        Ok(())
    }
}

impl New {
    fn source(&self) -> Result<FrameworkSource> {
        match (&self.framework, &self.git, &self.registry) {
            (Some(folder), ..) => FrameworkSource::folder(folder),
            (None, Some(url), _) => Ok(FrameworkSource::Git { url: url.clone(), revision: self.rev.clone() }),
            (None, None, Some(version)) => Ok(FrameworkSource::Registry(version.clone())),
            (None, None, None) => FrameworkSource::own(),
        }
    }
}

/// Checks the name of a package, which is part of names in Rust.
fn check(name: &str) -> Result<()> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    if name.starts_with(|first: char| first.is_ascii_alphabetic()) && name.chars().all(is_part) {
        return Ok(());
    }
    Err(Exit::Usage.error(format!(
        "{name:?} is not a valid name: it begins with a letter, and has letters, digits, `-` and `_`; set another one \
         with --name"
    )))
}

/// Whether the folder is missing or empty.
fn is_free(folder: &Path) -> Result<bool> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error).with_context(|| format!("reading {}", folder.display())),
    }
}

/// Writes every file of the project, and returns their number.
fn write_all(folder: &Path, name: &str, source: &FrameworkSource) -> Result<usize> {
    let mut count = 0;
    let mut write = |file: &str, text: &str| -> Result<()> {
        let path = folder.join(file);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        count += 1;
        Ok(())
    };
    write("Cargo.toml", &manifest::manifest(name, source))?;
    for file in &FILES {
        write(file.path, &file.text(name))?;
    }
    if let Some(lock) = source.lock()? {
        write("Cargo.lock", &lock)?;
    }
    let launcher = folder.join(LAUNCHER);
    fs::set_permissions(&launcher, fs::Permissions::from_mode(PROGRAM_MODE))?;
    Ok(count)
}

//! Commands that are programs of their own: `think-foo-bar` on the path is `foo:bar`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::{Exit, check_name};
use crate::config::program_folders;
use crate::output::Output;

/// The permissions by which somebody may run a file.
const EXECUTE: u32 = 0o111;

/// A command that is a program of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    /// The name of the command, such as `foo:bar`.
    pub name: String,
    pub path: PathBuf,
}

impl Plugin {
    /// The plugins of a program of this name, in the order of their names; the first one on the path counts.
    pub fn all(program: &str) -> Vec<Self> {
        let mut plugins = BTreeMap::new();
        for folder in program_folders() {
            for plugin in in_folder(&folder, program) {
                plugins.entry(plugin.name.clone()).or_insert(plugin);
            }
        }
        plugins.into_values().collect()
    }

    /// The plugin of this name.
    pub fn find(program: &str, name: &str) -> Option<Self> {
        check_name(name).ok()?;
        let file = format!("{program}-{}", name.replace(':', "-"));
        let path =
            program_folders().into_iter().map(|folder| folder.join(&file)).find(|path| is_program(path))?;
        Some(Self { name: name.to_owned(), path })
    }

    /// Lets the process become the plugin, with these arguments; a captured output captures its output
    /// instead.
    ///
    /// # Errors
    /// When it cannot be started, or has failed.
    pub(crate) fn run(&self, arguments: &[OsString], output: &mut Output) -> Result<()> {
        let start = || format!("starting {}, which is the command {}", self.path.display(), self.name);
        let mut program = Command::new(&self.path);
        program.args(arguments);
        output.flush();
        if !output.is_captured() {
            return Err(program.exec()).with_context(start);
        }
        let printed = program.stdin(Stdio::null()).output().with_context(start)?;
        output.text(String::from_utf8_lossy(&printed.stdout));
        let remarks = String::from_utf8_lossy(&printed.stderr);
        if !remarks.is_empty() {
            output.error(remarks.trim_end());
        }
        if printed.status.success() { Ok(()) } else { Err(exit(printed.status.code()).silent()) }
    }
}

/// The exit code of a plugin, as far as commands have it.
fn exit(code: Option<i32>) -> Exit {
    let known = [Exit::Usage, Exit::NotRunning, Exit::AlreadyRunning, Exit::Refused, Exit::Interrupted];
    known.into_iter().find(|exit| Some(*exit as i32) == code).unwrap_or(Exit::Failed)
}

fn in_folder(folder: &Path, program: &str) -> Vec<Plugin> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let plugin = |entry: fs::DirEntry| {
        let file = entry.file_name().into_string().ok()?;
        let name = file.strip_prefix(program)?.strip_prefix('-')?.replace('-', ":");
        check_name(&name).ok()?;
        is_program(&entry.path()).then(|| Plugin { name, path: entry.path() })
    };
    entries.flatten().filter_map(plugin).collect()
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & EXECUTE != 0)
}

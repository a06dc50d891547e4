//! What the environment says about the user: folders, shell, and where programs are.

use std::ffi::OsString;
use std::path::PathBuf;

/// The folder in this variable, such as `XDG_DATA_HOME`, or else the one below the user's home.
pub fn user_folder(variable: &str, below_home: &str) -> Option<PathBuf> {
    let folder = read(variable).map(PathBuf::from).filter(|folder| folder.is_absolute());
    folder.or_else(|| Some(PathBuf::from(read("HOME")?).join(below_home)))
}

/// The path of the user's shell.
pub fn user_shell() -> Option<String> {
    read("SHELL")?.into_string().ok()
}

/// The folders in which programs are found. One that is not named from the root is left out: it would be
/// another one in every folder.
pub fn program_folders() -> Vec<PathBuf> {
    let path = read("PATH").unwrap_or_default();
    std::env::split_paths(&path).filter(|folder| folder.is_absolute()).collect()
}

#[expect(clippy::disallowed_methods, reason = "this is where `config` reads the environment")]
fn read(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

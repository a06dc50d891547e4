//! A build with fat LTO, in which the linker drops everything that no code names: the commands must still be
//! there.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Ran, project_root, watchdog};

/// The bound on the build, which begins with nothing.
const BUILD_TIMEOUT: Duration = Duration::from_secs(30 * 60);

#[test]
fn release_build_with_fat_lto_lists_every_command() {
    watchdog::allow(2 * BUILD_TIMEOUT);
    // A directory of its own, since cargo may hold the lock of the usual one.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("release");
    Ran::within(
        BUILD_TIMEOUT,
        Command::new(env!("CARGO"))
            .args(["build", "--locked", "--profile", "fat", "--package", "think", "--target-dir"])
            .arg(&target)
            .current_dir(project_root()),
    )
    .exits(0);

    let listed = names(Path::new(env!("CARGO_BIN_EXE_think")));
    assert!(listed.iter().any(|name| name == "task:start"), "{listed:?}");
    assert_eq!(names(&target.join("fat/think")), listed);
}

/// The commands that this program lists in an empty project.
fn names(program: &Path) -> Vec<String> {
    let project = TempDir::new().unwrap();
    let list = Ran::of(
        Command::new(program)
            .args(["list", "--json"])
            .current_dir(project.path())
            .env("THINK_ROOT", project.path()),
    );
    let list: Vec<Value> = serde_json::from_str(&list.exits(0).stdout).unwrap();
    list.iter().map(|command| command["name"].as_str().unwrap().to_owned()).collect()
}

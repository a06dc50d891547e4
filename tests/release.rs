//! What is made for other machines: a build with fat LTO, a static binary, a Debian package, an image.

mod bare;
mod debian;
mod fat;
mod image;
mod packages;
mod static_binary;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::harness::{Ran, installed, project_root, variable, watchdog};

/// The bound on the build, which begins with nothing.
const BUILD_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// The largest static binary, in bytes.
const MOST: u64 = 17_000_000;

/// The folder of what `make:release --deb` has made of this project; it is made once for all tests.
fn release() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    watchdog::allow(2 * BUILD_TIMEOUT);
    FOLDER.get_or_init(|| {
        installed();
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("static");
        let cargo = Path::new(env!("CARGO")).parent().unwrap().display().to_string();
        let mut make = Command::new(env!("CARGO_BIN_EXE_think"));
        make.args(["make:release", "--deb", "--maintainer", "Ada Lovelace <ada@example.com>"]);
        make.current_dir(project_root()).env("THINK_ROOT", project_root());
        make.env("THINK_RUNTIME_DIR", place.join("runtime")).env("CARGO_TARGET_DIR", place.join("target"));
        make.env("PATH", format!("{cargo}:{}", variable("PATH").unwrap_or_default()));
        // Flags for this machine's linker are not for that of the target.
        make.env_remove("RUSTFLAGS");
        let made = Ran::within(BUILD_TIMEOUT, &mut make).exits(0);
        assert!(made.stderr.contains("is static and has"), "{made:?}");
        place.join("runtime/release")
    })
}

/// The only file in the release whose name ends so.
fn made(end: &str) -> PathBuf {
    let files = fs::read_dir(release()).unwrap().map(|entry| entry.unwrap().path());
    let found: Vec<_> = files.filter(|file| file.to_string_lossy().ends_with(end)).collect();
    assert_eq!(found.len(), 1, "{end}: {found:?}");
    found[0].clone()
}

/// The static binary.
fn binary() -> PathBuf {
    let folder = made("-linux");
    folder.join("think")
}

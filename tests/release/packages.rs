//! The packages for the registry of crates: each has all of the files that it is built from.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::harness::{Ran, project_root, watchdog};

/// The bound on the builds, the first of which begins with nothing.
const BUILD_TIMEOUT: Duration = Duration::from_secs(30 * 60);

#[test]
#[ignore = "builds for many minutes: cargo test --test main release:: -- --ignored"]
fn each_package_is_built_from_its_own_files() {
    watchdog::allow(BUILD_TIMEOUT);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["package", "--workspace", "--exclude", "think", "--allow-dirty", "--target-dir"])
        .arg(&target);
    let ran = Ran::within(BUILD_TIMEOUT, cargo.current_dir(project_root())).exits(0);
    for name in
        ["console", "macros", "protocol", "client", "server", "foreign", "web", "framework", "commands"]
    {
        assert!(ran.stderr.contains(&format!("Verifying think-{name} ")), "{name}: {}", ran.stderr);
    }
}

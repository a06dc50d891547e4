//! The Debian package: installed, upgraded under load, removed and purged, in a copy of this machine.

use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::made;
use crate::harness::{Project, Ran, project_root, watchdog};

const TIMEOUT: Duration = Duration::from_secs(10 * 60);

#[test]
#[ignore = "builds for many minutes: cargo test --test main release:: -- --ignored"]
fn debian_package_is_installed_upgraded_under_load_removed_and_purged() {
    let package = made(".deb");
    let place = TempDir::new().unwrap();
    watchdog::allow(TIMEOUT);
    let mut steps = Command::new("unshare");
    steps.args(["--mount", "--pid", "--fork", "--kill-child", "sh"]);
    steps.arg(project_root().join("tests/release/debian.sh")).arg(package).arg(place.path());
    let ran = Ran::within(TIMEOUT, steps.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"));
    assert!(ran.code == Some(0) && ran.stdout.ends_with("== done\n"), "{}{}", ran.stdout, ran.stderr);
}

#[test]
#[ignore = "builds for many minutes: cargo test --test main release:: -- --ignored"]
fn debian_package_has_the_fields_and_files_of_one() {
    let package = made(".deb");
    let dpkg = |option: &str| Ran::of(Command::new("dpkg-deb").arg(option).arg(&package)).exits(0).stdout;
    let fields = dpkg("--field");
    for field in ["Package: think\n", "Maintainer: Ada Lovelace <ada@example.com>\n", "Depends: adduser\n"] {
        assert!(fields.contains(field), "{field} is not in {fields}");
    }
    let files = dpkg("--contents");
    for file in [
        "./usr/lib/think/config -> /etc/think",
        "./usr/share/man/man1/think.1.gz",
        "./etc/think/runtime.toml",
    ] {
        assert!(files.contains(file), "{file} is not in {files}");
    }
    assert!(files.lines().all(|line| line.contains("root/root")), "{files}");
    let project = Project::new();
    let ran = project.think("make:release --deb --maintainer nobody").exits(2);
    assert!(ran.stderr.contains("Name <name@example.com>"), "{ran:?}");
}

//! The files of a server: only their owner can open them.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::harness::Ran;
use crate::harness::daemon::{Daemon, project_with};
use crate::harness::eventually::wait_until;

/// All files and folders under `path`, itself included, that others than the owner can open.
fn open_to_others(path: &Path) -> Vec<PathBuf> {
    let found = fs::symlink_metadata(path).unwrap();
    let mut open = Vec::new();
    if found.mode() & 0o077 != 0 {
        open.push(path.to_owned());
    }
    if found.is_dir() {
        let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        open.extend(entries.flat_map(|entry| open_to_others(&entry)));
    }
    open
}

/// Starts a server by a shell with this umask, and lets it create all that it creates.
fn start_with_umask(umask: &str, prepare: impl Fn(&Path)) -> Daemon {
    let settings = "log_rotation = \"1KiB\"\n[[listeners]]\nhost = \"unix:runtime/more.sock\"\n";
    let project = project_with(settings);
    prepare(&project.path("runtime"));
    let think = env!("CARGO_BIN_EXE_think");
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("umask {umask}; exec {think} task:start -d")]);
    shell.current_dir(project.path("")).env("THINK_ROOT", project.path("").components().as_path());
    let started = Ran::of(&mut shell).exits(0);
    let daemon = Daemon::of_output(project, &started.stderr);
    daemon.think("task:send send_mail --to a@example.com --title Hi --content Hello --wait").exits(0);
    wait_until("the log is rotated", || {
        daemon.think("task:send echo \"hi\" --wait").exits(0);
        daemon.project.path("runtime/server.log.1").exists()
    });
    daemon.signal(Signal::HUP);
    daemon.think("queue:backup runtime/copy.db").exits(0);
    daemon
}

#[test]
fn runtime_is_its_owners_whatever_the_umask() {
    for umask in ["0", "022"] {
        let daemon = start_with_umask(umask, |_| ());
        let runtime = daemon.project.path("runtime");
        assert!(runtime.join("queue.db-wal").exists());
        assert_eq!(open_to_others(&runtime), [] as [PathBuf; 0], "umask {umask}");
    }
}

#[test]
fn start_takes_the_files_of_an_earlier_version_away_from_others() {
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let daemon = start_with_umask("0", |runtime| {
        fs::create_dir(runtime).unwrap();
        open(runtime, 0o777);
        for file in ["queue.db", "queue.db.running", "server.log", "server.log.1", "server.pid"] {
            fs::write(runtime.join(file), "").unwrap();
            open(&runtime.join(file), 0o666);
        }
    });
    assert_eq!(open_to_others(&daemon.project.path("runtime")), [] as [PathBuf; 0]);
}

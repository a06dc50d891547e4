//! A machine with nothing but a few files: a root of its own, and a process that is the first one there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::harness::eventually::eventually;
use crate::harness::lines::Lines;
use crate::harness::process::{kill, wait};
use crate::harness::server::first_address;
use crate::harness::watchdog;

/// Mounts the processes and a writable folder, makes all else read-only if wanted, and becomes the program.
const ENTER: &str = r#"set -e
root=$1 user=$2 mode=$3; shift 3
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o "mode=0700,uid=$user,gid=$user" tmpfs "$root/data"
[ "$mode" = rw ] || mount -o remount,bind,ro "$root"
exec chroot --userspec="$user:$user" "$root" "$@"
"#;

/// A tree of files that is the whole machine.
pub(super) struct Machine {
    directory: TempDir,
}

/// A process on it, which is ended with it.
pub(super) struct Guest {
    child: Child,
    pub(super) lines: Lines,
}

impl Machine {
    /// With the program, and empty folders for what the kernel shows and for data.
    pub(super) fn with(program: &Path) -> Self {
        watchdog::watch();
        let machine = Self { directory: TempDir::new().unwrap() };
        for folder in ["proc", "data"] {
            fs::create_dir(machine.path(folder)).unwrap();
        }
        // Not by this process, whose copy another one could still have open for writing.
        crate::harness::process::install(program, &machine.path("think"));
        Ran::of(Command::new("chmod").arg("755").arg(machine.path(""))).exits(0);
        machine
    }

    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    /// Starts the program as a user without a name, with these variables alone. `mode` is `ro` or `rw`.
    pub(super) fn start(
        &self,
        user: u32,
        mode: &str,
        variables: &[(&str, &str)],
        arguments: &[&str],
    ) -> Guest {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, "sh"]);
        command
            .arg(self.path("").components().as_path())
            .args([&user.to_string(), mode, "/think"])
            .args(arguments);
        // What the tools need to be found, and nothing else.
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").envs(variables.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = Lines::of(child.stderr.take().unwrap());
        Guest { child, lines }
    }
}

use crate::harness::Ran;

impl Guest {
    /// The address of the server.
    #[track_caller]
    pub(super) fn address(&self) -> String {
        first_address(&self.lines.line_with("listens on")).to_owned()
    }

    /// The pid of the program, as this machine knows it.
    pub(super) fn pid(&self) -> u32 {
        let children = format!("/proc/{0}/task/{0}/children", self.child.id());
        eventually("the program runs", || fs::read_to_string(&children).ok()?.trim().parse().ok())
    }

    /// Ends the server by SIGTERM; its exit code.
    #[track_caller]
    pub(super) fn terminate(mut self) -> Option<i32> {
        kill_process(Pid::from_raw(self.pid() as i32).unwrap(), Signal::TERM).unwrap();
        wait(&mut self.child).code()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

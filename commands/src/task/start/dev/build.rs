//! A build while the server runs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use framework::prelude::*;
use rustix::process::{Pid, Signal, kill_process_group};

use super::project::Project;

/// A build that is under way. It is terminated when this is dropped.
pub(super) struct Build {
    pid: Pid,
    is_over: bool,
    program: PathBuf,
    before: Option<FileIdentity>,
    /// Whether the configuration has changed, too.
    config: bool,
}

/// The result of a build; `config` says whether the configuration has changed meanwhile.
pub(super) enum BuildResult {
    NewProgram,
    Unchanged { config: bool },
    Failed { config: bool },
}

/// Differs after a file was written anew: device, inode, modification time in seconds and nanoseconds, size.
type FileIdentity = (u64, u64, i64, i64, u64);

impl Build {
    /// Runs the launcher, which knows how to build and notes what was built. It starts the new program for
    /// its version, which shows that it can be started. The supervisor waits for its end.
    pub(super) fn start(project: &Project, config: bool) -> Result<Self> {
        let mut command = Command::new(&project.launcher);
        // A group of its own can be ended as a whole, and gets no Ctrl-C that is meant for the server.
        command.arg("--version").process_group(0).stdin(Stdio::null()).stdout(Stdio::null());
        let before = identity(&project.program);
        let child =
            command.spawn().with_context(|| format!("building with {}", project.launcher.display()))?;
        let pid = Pid::from_child(&child);
        Ok(Self { pid, is_over: false, program: project.program.clone(), before, config })
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// After its process has exited with this status.
    pub(super) fn finish(mut self, status: ExitStatus) -> BuildResult {
        self.is_over = true;
        let config = self.config;
        if !status.success() {
            BuildResult::Failed { config }
        } else if identity(&self.program) == self.before {
            BuildResult::Unchanged { config }
        } else {
            BuildResult::NewProgram
        }
    }
}

impl Drop for Build {
    fn drop(&mut self) {
        if !self.is_over {
            // It may have exited just now.
            let _ = kill_process_group(self.pid, Signal::TERM);
        }
    }
}

fn identity(program: &Path) -> Option<FileIdentity> {
    let file = fs::metadata(program).ok()?;
    Some((file.dev(), file.ino(), file.mtime(), file.mtime_nsec(), file.len()))
}

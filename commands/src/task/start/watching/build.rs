//! A build while the server runs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use framework::prelude::*;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

use super::project::Project;

/// A build that is under way. It is given up when this is dropped.
pub(super) struct Build {
    child: Child,
    program: PathBuf,
    before: Option<Identity>,
    /// Whether the configuration has changed, too.
    config: bool,
}

/// What has come of a build, and whether the configuration has changed without the server having been told.
pub(super) enum Built {
    Anew,
    AsBefore { config: bool },
    Failed { config: bool },
}

/// What is another when a file has been written anew: device, inode, time in nanoseconds, size.
type Identity = (u64, u64, i64, i64, u64);

impl Build {
    /// By the launcher, which knows where and notes what was built; asked for its version, the new program shows that
    /// it can be started.
    pub(super) fn start(project: &Project, config: bool) -> Result<Self> {
        let mut command = Command::new(&project.launcher);
        // In a group of its own, so that all of it can be ended, and not by a Ctrl-C that is for the server.
        command.arg("--version").process_group(0).stdin(Stdio::null()).stdout(Stdio::null());
        let child =
            command.spawn().with_context(|| format!("building with {}", project.launcher.display()))?;
        let program = project.program.clone();
        Ok(Self { child, before: identity(&program), program, config })
    }

    /// `None` once it has ended.
    pub(super) fn pid(&self) -> Option<Pid> {
        self.child.id().and_then(|pid| Pid::from_raw(pid as i32))
    }

    pub(super) async fn wait(&mut self) -> Built {
        let is_fine = self.child.wait().await.is_ok_and(|status| status.success());
        let config = self.config;
        match is_fine {
            false => Built::Failed { config },
            true if identity(&self.program) == self.before => Built::AsBefore { config },
            true => Built::Anew,
        }
    }
}

impl Drop for Build {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            // It may have ended just now.
            let _ = kill_process_group(pid, Signal::TERM);
        }
    }
}

fn identity(program: &Path) -> Option<Identity> {
    let file = fs::metadata(program).ok()?;
    Some((file.dev(), file.ino(), file.mtime(), file.mtime_nsec(), file.len()))
}

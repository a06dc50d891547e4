//! Programs that the server starts: each is the leader of a process group, which ends no later than the
//! server does.
#![expect(unsafe_code, reason = "a child asks for its own end between fork and exec")]

mod command_line;
mod output_lines;

use std::io;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

pub(crate) use command_line::CommandLine;
use framework_console::config::NOT_FOR_PROGRAMS;
pub(crate) use output_lines::OutputLines;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, getpid, getppid, kill_process_group, set_parent_process_death_signal,
    setpriority_process, setrlimit,
};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// A process that the server has started, with all that it has started in turn. Dropping it kills them.
pub(crate) struct ProcessGroup {
    pub(crate) leader: Child,
    /// `None` once the group has been killed.
    group: Option<Pid>,
}

/// Limits of the system on a process.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ProcessLimits {
    /// The most memory that it may map, in bytes.
    pub(crate) memory: Option<u64>,
    /// How far it stands back behind other processes, 0 to 19.
    pub(crate) nice: i32,
}

/// A command that runs in `directory`, without the server's own secrets.
pub(crate) fn command(line: &CommandLine, directory: &Path) -> Command {
    let mut command = Command::new(line.program());
    command.args(line.arguments()).current_dir(directory);
    for name in NOT_FOR_PROGRAMS {
        command.env_remove(name);
    }
    command
}

impl ProcessLimits {
    /// Limits this process.
    fn apply(self) -> io::Result<()> {
        if self.nice > 0 {
            setpriority_process(None, self.nice)?;
        }
        if self.memory.is_some() {
            setrlimit(Resource::As, Rlimit { current: self.memory, maximum: self.memory })?;
        }
        Ok(())
    }
}

impl ProcessGroup {
    /// Starts a process, which the kernel kills when the thread ends that has started it: call this on a
    /// thread that lives as long as the server.
    ///
    /// # Errors
    /// The program cannot be run, or there is no memory or process left.
    pub(crate) fn spawn(mut command: Command, limits: ProcessLimits) -> io::Result<Self> {
        let server = getpid();
        let follow_server = move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // The server may have died before.
            if getppid() != Some(server) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            limits.apply()
        };
        command.process_group(0);
        // SAFETY: it makes system calls, and allocates nothing.
        unsafe { command.pre_exec(follow_server) };
        let leader = command.spawn()?;
        let group = leader.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Ok(Self { leader, group })
    }

    /// The process id of the leader.
    pub(crate) fn id(&self) -> Option<i32> {
        self.group.map(|group| group.as_raw_nonzero().get())
    }

    /// Waits until the leader has ended, and kills what is left of its group. May be cancelled.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.leader.wait().await;
        self.kill();
        status
    }

    /// Asks the group to end, and kills it after the `grace` period.
    pub(crate) async fn end(&mut self, grace: Duration) -> io::Result<ExitStatus> {
        self.terminate();
        match timeout(grace, self.wait()).await {
            Ok(status) => status,
            Err(_) => {
                self.kill();
                self.wait().await
            }
        }
    }

    /// Asks the group to end.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    fn signal(&self, signal: Signal) {
        // It fails when there is none left in the group.
        let _ = self.group.map(|group| kill_process_group(group, signal));
    }

    /// Kills the group.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        if self.leader.id().is_none() {
            self.group = None;
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

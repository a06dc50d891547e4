//! The process that stays in the foreground while the servers below it come and go by reloads.
//!
//! `task:start --watch` is one from its beginning; a server in the foreground becomes one when another
//! process has taken over from it, so that the process that the shell knows ends with the last server, and as
//! that one did.
//!
//! It knows its servers by what they report on a channel ([`link::SupervisorLink`]), and waits for all of
//! them: whatever a child leaves behind becomes a child of this process.

pub(super) mod link;

use std::future::ready;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use framework::log::tracing;
use framework::prelude::*;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, wait};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{self, SignalKind, signal};
use tokio::time::sleep;

use super::daemon::exit_of;
use super::reload::fd_channel::FdChannel;
use super::signals::Signals;

/// The option of a server whose standard input is the channel to its supervisor.
const SUPERVISED_FLAG: &str = "--supervised";
/// The signal that makes a server reload.
const RELOAD: Signal = Signal::USR1;
/// How long the exit status of a server may take once all servers have closed their channel.
const EXIT_TIMEOUT: Duration = Duration::from_secs(2);

/// A message of a server to its supervisor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SupervisorMessage {
    /// The process with this pid is the server from now on.
    Serving { pid: u32 },
}

/// Passes signals on to the newest server, and exits as that one does.
pub(super) struct Supervisor {
    channel: FdChannel,
    /// Whether a server may still have the other end.
    is_channel_open: bool,
    child_exits: unix::Signal,
    suspends: unix::Signal,
    /// Children may have exited that were not waited for.
    must_reap: bool,
    /// The servers that were not waited for, oldest first. All but the last were replaced, and relay their
    /// last results.
    servers: Vec<Pid>,
    /// The server that has reported last, or the first one. Its exit status is that of the supervisor.
    newest: Pid,
    exit_status: Option<ExitStatus>,
    /// A server has reported, and handles signals.
    is_serving: bool,
    /// A reload was asked for before there was a server that can reload.
    is_reload_due: bool,
    /// The last signal that was sent to a server.
    forwarded: Option<Signal>,
}

/// An event that a supervisor reports.
pub(super) enum SupervisorEvent {
    /// The newest server was sent this signal.
    Forwarded(Signal),
    /// Another child than a server has exited.
    ChildExited(Pid, ExitStatus),
    /// The last server has exited; the result is that of the newest.
    Ended(Result<()>),
}

/// The two ends of a channel: the supervisor's, and that of its servers.
pub(super) struct SupervisorChannel {
    pub(super) supervisor: FdChannel,
    pub(super) servers: OwnedFd,
}

impl SupervisorChannel {
    /// # Errors
    /// When there are no more file descriptors.
    pub(super) fn new() -> Result<Self> {
        let (ours, theirs) = UnixStream::pair().context("making a pair of sockets")?;
        let supervisor = FdChannel::new(ours).context("opening the channel to the servers")?;
        Ok(Self { supervisor, servers: theirs.into() })
    }
}

impl Supervisor {
    /// Starts the first server by this command.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        let SupervisorChannel { supervisor, servers } = SupervisorChannel::new()?;
        separate_group(command).arg(SUPERVISED_FLAG).stdin(Stdio::from(servers));
        let child = command.spawn().with_context(|| format!("starting {:?}", command.get_program()))?;
        Self::new(supervisor, Pid::from_child(&child), false)
    }

    /// Supervises a child process that serves already; `channel` is the other end of the one it has.
    ///
    /// # Errors
    /// When the system does not let this process wait for what its children leave behind.
    pub(super) fn adopt(channel: FdChannel, server: u32) -> Result<Self> {
        let pid = i32::try_from(server).ok().and_then(Pid::from_raw).context("no pid of a server")?;
        Self::new(channel, pid, true)
    }

    fn new(channel: FdChannel, server: Pid, is_serving: bool) -> Result<Self> {
        set_child_subreaper(Some(getpid())).context("becoming the supervisor of servers")?;
        let listen =
            |number: Signal| signal(SignalKind::from_raw(number.as_raw())).context("listening for signals");
        Ok(Self {
            channel,
            is_channel_open: true,
            child_exits: listen(Signal::CHILD)?,
            suspends: listen(Signal::TSTP)?,
            must_reap: true,
            servers: vec![server],
            newest: server,
            exit_status: None,
            is_serving,
            is_reload_due: false,
            forwarded: None,
        })
    }

    /// Stays until the last server has exited.
    ///
    /// # Errors
    /// The exit code of the newest server, which has said itself why; or the signal that has killed it.
    pub(super) async fn run(&mut self, signals: &mut Signals) -> Result<()> {
        loop {
            if let SupervisorEvent::Ended(result) = self.next(signals).await {
                return result;
            }
        }
    }

    /// Waits for the next event. Cancel safe.
    pub(super) async fn next(&mut self, signals: &mut Signals) -> SupervisorEvent {
        loop {
            // What a server has reported comes before its exit.
            tokio::select! {
                biased;
                message = self.channel.recv(), if self.is_channel_open => match message {
                    Ok(Some(SupervisorMessage::Serving { pid })) => self.set_newest(pid),
                    Ok(None) => self.is_channel_open = false,
                    Err(error) => {
                        tracing::warn!("the servers report no more: {error}");
                        self.is_channel_open = false;
                    }
                },
                () = ready(()), if self.must_reap => {
                    self.must_reap = false;
                    if let Some(event) = self.reap() {
                        return event;
                    }
                }
                () = ready(()), if !self.is_channel_open && self.exit_status.is_some() => return self.ended(),
                _ = self.child_exits.recv() => self.must_reap = true,
                _ = self.suspends.recv() => self.suspend(),
                signal = signals.recv() => {
                    self.forward(signal);
                    return SupervisorEvent::Forwarded(signal);
                }
                () = sleep(EXIT_TIMEOUT), if !self.is_channel_open => return self.ended(),
            }
        }
    }

    /// Makes the newest server reload, as soon as it can.
    pub(super) fn reload(&mut self) {
        self.forward(RELOAD);
    }

    /// Sends a signal to the newest server that still runs.
    fn forward(&mut self, signal: Signal) {
        if matches!(signal, RELOAD | Signal::USR2) && !self.is_serving {
            // A process that still starts would be killed by it.
            self.is_reload_due = true;
            return;
        }
        self.forwarded = Some(signal);
        if let Some(server) = self.servers.last() {
            // It may have exited just now.
            let _ = kill_process(*server, signal);
        }
    }

    fn set_newest(&mut self, pid: u32) {
        let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
        // One that serves again has failed to hand over to those after it, and has waited for them.
        match self.servers.iter().position(|server| *server == pid) {
            Some(index) => self.servers.truncate(index + 1),
            None => self.servers.push(pid),
        }
        self.newest = pid;
        self.is_serving = true;
        if std::mem::take(&mut self.is_reload_due) {
            self.reload();
        }
    }

    /// Waits for all children that have exited; stops at the first that is no server.
    fn reap(&mut self) -> Option<SupervisorEvent> {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let status = ExitStatus::from_raw(status.as_raw());
            let Some(index) = self.servers.iter().position(|server| *server == pid) else {
                self.must_reap = true;
                return Some(SupervisorEvent::ChildExited(pid, status));
            };
            self.servers.remove(index);
            if pid == self.newest {
                self.exit_status = Some(status);
            }
        }
        None
    }

    /// Ctrl-Z stops the servers with this process, and `fg` lets them go on.
    fn suspend(&self) {
        self.signal_all(Signal::STOP);
        let _ = kill_process(getpid(), Signal::STOP);
        self.signal_all(Signal::CONT);
    }

    fn signal_all(&self, signal: Signal) {
        for server in &self.servers {
            let _ = kill_process(*server, signal);
        }
    }

    fn ended(&self) -> SupervisorEvent {
        SupervisorEvent::Ended(result_of(self.exit_status, self.forwarded))
    }
}

/// Puts a server into a process group of its own: the Ctrl-C of a terminal, which goes to the whole group of
/// the supervisor, so reaches it once, from the supervisor.
pub(super) fn separate_group(command: &mut Command) -> &mut Command {
    command.process_group(0)
}

/// Exits as the server did, which has said itself why unless it was killed.
fn result_of(status: Option<ExitStatus>, forwarded: Option<Signal>) -> Result<()> {
    let Some(status) = status else {
        return Err(Exit::Failed.error("server process exited, exit status unknown"));
    };
    if status.success() {
        return Ok(());
    }
    Err(match (exit_of(status), status.signal()) {
        (Some(exit), _) => exit.silent(),
        // It was interrupted before it could handle signals.
        (None, Some(signal)) if forwarded.is_some_and(|forwarded| forwarded.as_raw() == signal) => {
            Exit::Interrupted.silent()
        }
        (None, Some(signal)) => {
            Exit::Failed.error(format!("server process exited abnormally: signal {signal}"))
        }
        (None, None) => Exit::Failed.error(format!("server process exited abnormally: {status}")),
    })
}

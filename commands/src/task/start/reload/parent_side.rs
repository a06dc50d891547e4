//! The old process's view of a reload: it starts the new process, waits for it, and hands everything over.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use framework::config::{Config, pass_call};
use framework::prelude::*;
use framework::server::{Handover, InheritedSocket};
use tokio::time::timeout;

use super::fd_channel::FdChannel;
use super::{ChildMessage, HandoverMessage, SocketDescription};
use crate::task::start::daemon::program;
use crate::task::start::supervisor;

/// How long the new process may take to check the waiting tasks, and to begin: it reads all of them.
const READY_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// How long a new process that has failed may take to exit.
const EXIT_TIMEOUT: Duration = Duration::from_secs(2);

/// The process that is to take over from this one. It is killed when this is dropped before
/// [`NewProcess::detach`].
pub(crate) struct NewProcess {
    /// `None` once it is detached.
    child: Option<Child>,
    channel: FdChannel,
}

impl NewProcess {
    /// Starts the program, as it is by now, with arguments that contain [`super::TAKEOVER_FLAG`].
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(config: &Config, arguments: &[String], is_supervised: bool) -> Result<Self> {
        let (ours, theirs) = UnixStream::pair().context("making a pair of sockets")?;
        let program = program()?;
        let mut command = Command::new(&program);
        command.args(arguments);
        if is_supervised {
            supervisor::separate_group(&mut command);
        }
        let child = pass_call(&mut command)
            .current_dir(config.root())
            .env("THINK_ROOT", config.root())
            // These are about this process.
            .env_remove("WATCHDOG_PID")
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_FDNAMES")
            .stdin(OwnedFd::from(theirs))
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let channel = FdChannel::new(ours).context("opening the channel to the new process")?;
        Ok(Self { child: Some(child), channel })
    }

    /// Waits until the new process has checked configuration, handlers and waiting tasks of the queue in this
    /// file.
    ///
    /// # Errors
    /// Why it cannot take over.
    pub(crate) async fn wait_prepared(&mut self, queue: &Path) -> Result<(), String> {
        match self.recv().await? {
            ChildMessage::Prepared { queue_file: Some(other) } if other == queue => Ok(()),
            ChildMessage::Prepared { .. } => Err(format!(
                "by the new settings the queue is not {} any more (queue_file, durability), and its waiting \
                 tasks would stay behind: use task:restart if that is meant",
                queue.display()
            )),
            message => Err(unexpected(&message)),
        }
    }

    /// Checks that the new process still runs.
    ///
    /// # Errors
    /// How it exited.
    pub(crate) fn check_alive(&mut self) -> Result<(), String> {
        match self.exit_status() {
            None => Ok(()),
            Some(status) => Err(exited_early(&status)),
        }
    }

    /// Hands everything over, with the channel to the supervisor if there is one, and waits until the new
    /// process serves.
    ///
    /// # Errors
    /// Why it does not serve.
    pub(crate) async fn transfer(
        &mut self,
        handover: &Handover,
        supervisor: Option<BorrowedFd<'_>>,
    ) -> Result<(), String> {
        let describe = |socket: &InheritedSocket| SocketDescription {
            place: socket.place.clone(),
            is_managed: socket.is_managed,
        };
        let message = HandoverMessage {
            sockets: handover.sockets.iter().map(describe).collect(),
            awaited: handover.awaited.clone(),
            is_supervised: supervisor.is_some(),
        };
        let sockets = handover.sockets.iter().map(|socket| socket.socket.as_fd());
        let relay = handover.line.as_ref().map(AsFd::as_fd);
        let fds: Vec<_> = sockets.chain(relay).chain(supervisor).collect();
        let sent = self.channel.send(&message, &fds).await;
        // The reason that the process gave before it exited says more than a broken pipe.
        match self.recv().await? {
            ChildMessage::Ready if sent.is_ok() => Ok(()),
            message => Err(unexpected(&message)),
        }
    }

    /// Lets the new process, which serves, outlive this handle; returns its pid.
    pub(crate) fn detach(mut self) -> u32 {
        self.child.take().map_or(0, |child| child.id())
    }

    async fn recv(&mut self) -> Result<ChildMessage, String> {
        match timeout(READY_TIMEOUT, self.channel.recv()).await {
            Ok(Ok(Some(ChildMessage::Failed { reason }))) => {
                self.wait_exit().await;
                Err(reason)
            }
            Ok(Ok(Some(message))) => Ok(message),
            Ok(Ok(None)) => Err(exited_early(&self.wait_exit().await)),
            Ok(Err(error)) => Err(format!("the new process cannot be understood: {error}")),
            Err(_) => {
                let limit = framework::humantime::format_duration(READY_TIMEOUT);
                Err(format!("the new process was not ready after {limit}"))
            }
        }
    }

    /// How the new process exited; `None` while it runs.
    fn exit_status(&mut self) -> Option<String> {
        match self.child.as_mut()?.try_wait() {
            Ok(status) => status.map(|status| status.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }

    /// Waits for the exit of a new process that has closed its channel or has failed, for [`EXIT_TIMEOUT`] at
    /// most.
    async fn wait_exit(&mut self) -> String {
        const INTERVAL: Duration = Duration::from_millis(10);
        let exited = async {
            loop {
                match self.exit_status() {
                    None => tokio::time::sleep(INTERVAL).await,
                    Some(status) => break status,
                }
            }
        };
        timeout(EXIT_TIMEOUT, exited).await.unwrap_or_else(|_| "it does not exit".to_owned())
    }
}

impl Drop for NewProcess {
    /// Kills a process that has not taken over: it must not do so any more.
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn exited_early(status: &str) -> String {
    format!("the new process exited before it was ready: {status}")
}

fn unexpected(message: &ChildMessage) -> String {
    format!("the new process sent {message:?} at the wrong time")
}

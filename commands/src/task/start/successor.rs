//! The process that is to take this one's place: started, looked at, and handed everything.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use framework::config::Config;
use framework::prelude::*;
use framework::server::{Handover, InheritedSocket, PendingWaiter};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::daemon::program;
use super::keeper::Keeper;
use super::passing::Passing;

/// What tells the program that it is to take another process's place.
pub(super) const SUCCEED: &str = "--succeed";
/// How long it may take to look whether it can, and to begin: it reads all waiting tasks.
const PATIENCE: Duration = Duration::from_secs(5 * 60);
/// How long one that has said its last word may take to end.
const PARTING: Duration = Duration::from_secs(2);

/// The other process.
pub(super) struct Successor {
    /// Until it has taken over.
    child: Option<Child>,
    passing: Passing,
}

/// What it says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    /// It can serve, as far as it knows, with the queue in this file; none is the memory of its process.
    Prepared(Option<PathBuf>),
    /// It serves.
    Ready,
    /// It cannot.
    Failed(String),
}

/// What it is told, with the sockets, and the line of those who wait as the last of them.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Estate {
    pub(super) sockets: Vec<Described>,
    pub(super) awaited: Vec<PendingWaiter>,
}

/// A socket, in words.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Described {
    pub(super) place: Option<String>,
    pub(super) is_managed: bool,
}

impl Successor {
    /// Starts the program as it is by now, with arguments among which is [`SUCCEED`]; in the foreground, the process with
    /// the pid `keeper` keeps it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(config: &Config, arguments: &[String], keeper: Option<u32>) -> Result<Self> {
        let (ours, theirs) = UnixStream::pair().context("making a pair of sockets")?;
        let program = program()?;
        let mut command = Command::new(&program);
        command.args(arguments);
        if let Some(keeper) = keeper {
            Keeper::entrust(&mut command, keeper);
        }
        let child = command
            .current_dir(config.root())
            .env("THINK_ROOT", config.root())
            // Meant for this process.
            .env_remove("WATCHDOG_PID")
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_FDNAMES")
            .stdin(OwnedFd::from(theirs))
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        Ok(Self { child: Some(child), passing: Passing::over(ours).context("talking to the new process")? })
    }

    /// Waits until it has looked at configuration, handlers and waiting tasks, of the queue in this file.
    ///
    /// # Errors
    /// Why it cannot take this process's place.
    pub(super) async fn prepared(&mut self, queue: &Path) -> Result<(), String> {
        match self.word().await? {
            Word::Prepared(Some(other)) if other == queue => Ok(()),
            Word::Prepared(_) => Err(format!(
                "by the new settings the queue is not {} any more (queue_file, durability), and what waits there would \
                 stay behind: use task:restart if that is meant",
                queue.display()
            )),
            word => Err(self.odd(&word)),
        }
    }

    /// Whether it still lives.
    ///
    /// # Errors
    /// How it has ended.
    pub(super) fn lives(&mut self) -> Result<(), String> {
        match self.status() {
            None => Ok(()),
            Some(status) => Err(format!("the new process has ended before it was ready: {status}")),
        }
    }

    /// Hands everything over, and waits until it serves.
    ///
    /// # Errors
    /// Why it does not; it has ended then.
    pub(super) async fn take_over(&mut self, handover: &Handover) -> Result<(), String> {
        let sockets = &handover.sockets;
        let describe = |socket: &InheritedSocket| Described {
            place: socket.place.clone(),
            is_managed: socket.is_managed,
        };
        let estate =
            Estate { sockets: sockets.iter().map(describe).collect(), awaited: handover.awaited.clone() };
        let line = handover.line.as_ref().map(AsFd::as_fd);
        let sockets: Vec<_> = sockets.iter().map(|socket| socket.socket.as_fd()).chain(line).collect();
        let told = self.passing.tell(&estate, &sockets).await;
        // What it said before it ended tells more than that it has ended.
        match self.word().await? {
            Word::Ready if told.is_ok() => Ok(()),
            word => Err(self.odd(&word)),
        }
    }

    async fn word(&mut self) -> Result<Word, String> {
        match timeout(PATIENCE, self.passing.hear()).await {
            Ok(Ok(Some(Word::Failed(reason)))) => {
                self.part().await;
                Err(reason)
            }
            Ok(Ok(Some(word))) => Ok(word),
            Ok(Ok(None)) => {
                Err(format!("the new process has ended before it was ready: {}", self.part().await))
            }
            Ok(Err(error)) => Err(format!("the new process cannot be understood: {error}")),
            Err(_) => {
                let grace = framework::humantime::format_duration(PATIENCE);
                Err(format!("the new process was not ready after {grace}"))
            }
        }
    }

    fn odd(&self, word: &Word) -> String {
        format!("the new process says {word:?} at the wrong time")
    }

    /// How it has ended, if it has.
    fn status(&mut self) -> Option<String> {
        match self.child.as_mut()?.try_wait() {
            Ok(status) => status.map(|status| status.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }

    /// Waits for its end, which it has announced.
    async fn part(&mut self) -> String {
        const PACE: Duration = Duration::from_millis(10);
        let ended = async {
            loop {
                match self.status() {
                    None => tokio::time::sleep(PACE).await,
                    Some(status) => break status,
                }
            }
        };
        timeout(PARTING, ended).await.unwrap_or_else(|_| "it does not end".to_owned())
    }

    /// Lets it live on by itself; its number.
    pub(super) fn release(mut self) -> u32 {
        self.child.take().map_or(0, |child| child.id())
    }
}

impl Drop for Successor {
    /// One that has not taken over is not to do so any more.
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

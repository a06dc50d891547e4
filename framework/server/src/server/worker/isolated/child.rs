//! One child process, from its start to its end.

use std::fs::File;
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use framework_console::config::NOT_FOR_PROGRAMS;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::Signal;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::super::program_status::{LAST_LINES, describe_exit, stopped};
use super::super::remote::child_session::{ChildOrder, ChildProcess};
use super::super::remote::children::ChildEnd;
use super::log_lines::LogLines;
use super::{ChildConnection, ChildPool, NAME};
use crate::processes::ProcessGroup;

/// The time between SIGTERM and SIGKILL for a process whose attempt was to stop and did not.
const KILL_GRACE: Duration = Duration::from_secs(2);
/// The number of SIGKILL.
const KILL: i32 = Signal::KILL.as_raw();
/// The program of this process, also when another one has its name by now.
const PROGRAM: &str = "/proc/self/exe";
/// The variables of service managers and launchers, and not those that are settings.
const TOKENS: &str = "THINK_SERVER_TOKENS";

/// A child process.
pub(super) struct Child {
    pub(super) number: u64,
    pub(super) process: Arc<ChildProcess>,
    pool: Arc<ChildPool>,
    name: String,
    group: ProcessGroup,
    /// The server's end of the connection.
    socket: UnixStream,
    /// The other end, for what the process has not sent any more.
    its_socket: UnixStream,
    /// The file in memory where it keeps that.
    record: File,
    started: Instant,
}

/// The end of a child process.
pub(super) struct ChildExit {
    pub(super) number: u64,
    /// Such as `exit code 1`.
    pub(super) end: String,
    /// The server wanted it to end, or it has said that it goes.
    pub(super) is_wanted: bool,
    /// It has ended an attempt.
    pub(super) has_worked: bool,
    pub(super) ran: Duration,
}

impl Child {
    /// Starts a process of this name, which waits with its first task for the last one of the process with
    /// the number `before`.
    ///
    /// # Errors
    /// There is no memory, process or descriptor left.
    pub(super) fn start(pool: &Arc<ChildPool>, name: &str, before: Option<u64>) -> io::Result<Self> {
        let (socket, its_socket) = UnixStream::pair()?;
        let record = File::from(memfd_create(NAME, MemfdFlags::CLOEXEC)?);
        send_descriptor(&socket, &record)?;
        let group = ProcessGroup::spawn(command(pool, name, its_socket.try_clone()?), pool.options.limits)?;
        let process = Arc::new(ChildProcess::default());
        let max_tasks = Some(pool.options.max_tasks).filter(|tasks| *tasks > 0);
        let number = pool.remote.add_child(process.clone(), max_tasks, before);
        pool.status.began();
        let (pool, name, started) = (pool.clone(), name.to_owned(), Instant::now());
        Ok(Self { number, process, pool, name, group, socket, its_socket, record, started })
    }

    /// Has its connection served and logs what it writes, until it has ended: by itself, as it was told to,
    /// or because all are to end.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<Option<Instant>>) -> ChildExit {
        tracing::debug!(
            worker = self.name,
            pid = self.group.id(),
            "a process of isolated functions has begun"
        );
        let (output, errors) = (self.group.leader.stdout.take(), self.group.leader.stderr.take());
        let lines = LogLines::new(self.name.clone(), self.process.clone());
        let mut lines = tokio::spawn(lines.read(output, errors));
        self.connect().await;
        let ended = self.ended(&mut stop).await;
        self.send_rest().await;
        // What it has sent is read to its end, whoever else holds the other end of the socket, and while what
        // is sent to it does not fail.
        let _ = self.socket.shutdown(Shutdown::Read);
        if let Some(disconnected) = self.pool.remote.child_disconnects(self.number) {
            let _ = timeout(LAST_LINES, disconnected).await;
        }
        let _ = self.socket.shutdown(Shutdown::Both);
        if timeout(LAST_LINES, &mut lines).await.is_err() {
            lines.abort();
        }
        let was_killed = ended.as_ref().is_ok_and(|status| status.signal() == Some(KILL));
        let error = self.process.lost(&describe_end(&ended));
        self.pool.remote.child_ended(self.number, ChildEnd { error, was_killed });
        let end = ended.map_or_else(|error| error.to_string(), describe_exit);
        self.pool.status.ended(&end);
        tracing::debug!(worker = self.name, end, "a process of isolated functions has ended");
        ChildExit {
            number: self.number,
            end,
            is_wanted: self.process.is_end_wanted() || stop.borrow().is_some(),
            has_worked: self.process.has_worked(),
            ran: self.started.elapsed(),
        }
    }

    /// Sends what the process, which has ended, has not sent any more.
    async fn send_rest(&self) {
        let mut rest = Vec::new();
        let socket = self.its_socket.try_clone().and_then(|socket| {
            (&self.record).read_to_end(&mut rest)?;
            socket.set_nonblocking(true)?;
            tokio::net::UnixStream::from_std(socket)
        });
        let sent = match socket {
            Ok(mut socket) => timeout(LAST_LINES, socket.write_all(&rest)).await,
            Err(error) => Ok(Err(error)),
        };
        if !rest.is_empty() && !matches!(sent, Ok(Ok(()))) {
            tracing::warn!(
                worker = self.name,
                "the last ends of a process that has crashed could not be read"
            );
        }
    }

    /// Hands its connection over; a server that stops takes none.
    async fn connect(&self) {
        let Ok(socket) = self.socket.try_clone() else { return };
        let connection =
            ChildConnection { number: self.number, process: self.group.id().unwrap_or(0), socket };
        let _ = self.pool.connections.send(connection).await;
    }

    /// Waits for its end, and sees to it when it is to end.
    async fn ended(&mut self, stop: &mut watch::Receiver<Option<Instant>>) -> io::Result<ExitStatus> {
        let mut orders = self.process.orders();
        let deadline = tokio::select! {
            ended = self.group.wait() => return ended,
            order = at_least(&mut orders, ChildOrder::End) => match order {
                ChildOrder::Kill => Instant::now(),
                _ => Instant::now() + KILL_GRACE,
            },
            deadline = stopped(stop) => deadline,
        };
        self.group.terminate();
        tokio::select! {
            ended = self.group.wait() => return ended,
            _ = at_least(&mut orders, ChildOrder::Kill) => {}
            () = sleep_until(deadline) => {}
        }
        self.group.kill();
        self.group.wait().await
    }
}

/// Sends a descriptor to a process, before anything else.
fn send_descriptor(socket: &UnixStream, descriptor: &impl AsFd) -> io::Result<()> {
    let descriptors = [descriptor.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(socket, &[IoSlice::new(&[0])], &mut ancillary, SendFlags::empty())?;
    Ok(())
}

/// Waits for this order, or for more.
async fn at_least(orders: &mut watch::Receiver<ChildOrder>, least: ChildOrder) -> ChildOrder {
    orders.wait_for(|order| *order >= least).await.map_or(ChildOrder::Kill, |order| *order)
}

/// The command of a process whose standard input is its connection.
fn command(pool: &ChildPool, name: &str, socket: UnixStream) -> Command {
    let mut command = Command::new(PROGRAM);
    let own = std::env::current_exe().unwrap_or_default();
    command.arg0(own.file_name().unwrap_or(own.as_os_str()));
    command.args(["task:work", "--isolated", "--log-format", "json", "--name", name]);
    command.args(pool.options.functions.iter().flat_map(|function| ["--function", function]));
    let root: &Path = &pool.options.root;
    command.current_dir(root).env("THINK_ROOT", root);
    for name in NOT_FOR_PROGRAMS.iter().filter(|name| **name != TOKENS) {
        command.env_remove(name);
    }
    command.stdin(OwnedFd::from(socket)).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// How a process has ended, as the rest of a sentence.
fn describe_end(ended: &io::Result<ExitStatus>) -> String {
    match ended {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("has exited with code {code}"),
            (None, Some(_)) => {
                let text = status.to_string();
                let signal = text.trim_start_matches("signal: ").trim_end_matches(" (core dumped)");
                format!("was killed by signal {signal}")
            }
            (None, None) => format!("has ended ({status})"),
        },
        Err(error) => format!("has ended, and how is not known ({error})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_of_a_process_names_its_code_or_signal() {
        let end = |raw| describe_end(&Ok(ExitStatus::from_raw(raw)));
        assert_eq!(end(3 << 8), "has exited with code 3");
        assert_eq!(end(11 | 0x80), "was killed by signal 11 (SIGSEGV)");
    }
}

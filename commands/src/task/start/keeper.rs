//! The process that stays in the foreground while the servers that it keeps come and go.

mod processes;

use std::future::poll_fn;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::task::Poll;

use framework::prelude::*;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid};
use tokio::signal::unix::{self, SignalKind, signal};

use self::processes::{Process, below};

/// Stays while a server that it keeps runs: one that it has started, or one that took the place of such a one.
///
/// Its servers are told from all other processes below it by their option `--keeper`, which names it.
pub(super) struct Keeper {
    /// What is passed on to the servers, and what the keeper hears for itself.
    heard: Vec<(Signal, unix::Signal)>,
    /// A process that somebody else waits for.
    spared: Option<Pid>,
    /// When the newest of the servers that have ended was started, and how it has ended.
    newest: Option<(u64, ExitStatus)>,
}

/// What a keeper has to tell.
pub(super) enum News {
    /// The servers were told this.
    Told(Signal),
    /// The last server has ended, in this way.
    Ended(Result<()>),
}

impl Keeper {
    /// From now on signals are for the servers, and whatever a child leaves behind becomes a child of this process: so
    /// this is called before the first server is started.
    pub(super) fn new() -> Result<Self> {
        set_child_subreaper(Some(getpid())).context("becoming the keeper of servers")?;
        let heard = [
            (Signal::INT, SignalKind::interrupt()),
            (Signal::TERM, SignalKind::terminate()),
            (Signal::QUIT, SignalKind::quit()),
            (Signal::HUP, SignalKind::hangup()),
            (Signal::USR1, SignalKind::user_defined1()),
            (Signal::TSTP, SignalKind::from_raw(Signal::TSTP.as_raw())),
            (Signal::CHILD, SignalKind::child()),
        ];
        let listen = |(number, kind)| Ok((number, signal(kind).context("listening for signals")?));
        Ok(Self { heard: heard.into_iter().map(listen).collect::<Result<_>>()?, spared: None, newest: None })
    }

    /// Makes a command the start of a server that is kept by the process with the pid `keeper`.
    ///
    /// It is in a process group of its own. A Ctrl-C, which goes to the whole group of the keeper, so reaches it once:
    /// from the keeper.
    pub(super) fn entrust(command: &mut Command, keeper: u32) -> &mut Command {
        command.arg(option(keeper)).process_group(0).stdin(Stdio::null())
    }

    /// Leaves it to somebody else to wait for this child.
    pub(super) fn spare(&mut self, child: Option<Pid>) {
        self.spared = child;
    }

    /// Stays until the last server has ended, and ends as the newest of them has. A server waits itself for one that
    /// it has started in vain.
    ///
    /// # Errors
    /// The exit code of that server, which has said itself why; or the signal that has killed it.
    pub(super) async fn keep(&mut self) -> Result<()> {
        loop {
            if let News::Ended(ended) = self.next().await {
                return ended;
            }
        }
    }

    /// Waits for a signal, which it passes on, or for the end of the last server. Nothing is lost when this is dropped.
    pub(super) async fn next(&mut self) -> News {
        loop {
            if !self.has_servers() {
                return News::Ended(ended(self.newest.map(|(_, status)| status)));
            }
            match self.hear().await {
                Signal::CHILD => {}
                Signal::TSTP => pause(),
                signal => {
                    tell(signal);
                    return News::Told(signal);
                }
            }
        }
    }

    async fn hear(&mut self) -> Signal {
        poll_fn(|context| {
            let heard = &mut self.heard;
            let next = heard
                .iter_mut()
                .find_map(|(signal, stream)| stream.poll_recv(context).is_ready().then_some(*signal));
            next.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Takes note of the children that have ended; whether a server is left.
    fn has_servers(&mut self) -> bool {
        let (keeper, spared) = (getpid(), self.spared);
        let mut is_left = false;
        for process in below(keeper).iter().filter(|process| Some(process.pid) != spared) {
            is_left |= match process.has_ended {
                false => is_kept(process),
                true => process.parent == keeper && !self.bury(process),
            };
        }
        is_left
    }

    /// Waits for a child that has ended. `false`: it is a server of which only the first thread has ended yet.
    fn bury(&mut self, child: &Process) -> bool {
        let is_server = is_kept(child);
        let Ok(Some((_, status))) = waitpid(Some(child.pid), WaitOptions::NOHANG) else { return !is_server };
        if is_server && self.newest.is_none_or(|(began, _)| began <= child.began) {
            self.newest = Some((child.began, ExitStatus::from_raw(status.as_raw())));
        }
        true
    }
}

/// Passes a signal on to every server, also to one that is not yet a child because the one that it takes the place of
/// has not ended.
pub(super) fn tell(signal: Signal) {
    for process in below(getpid()).iter().filter(|process| is_kept(process)) {
        // It may have ended just now.
        let _ = kill_process(process.pid, signal);
    }
}

/// Whether there is a server and this signal would reach it: while it starts, the signal would end it.
pub(super) fn is_heard(signal: Signal) -> bool {
    below(getpid()).iter().any(|process| is_kept(process) && process.catches(signal))
}

/// Ctrl-Z stops the servers with their keeper, and `fg` lets them go on.
fn pause() {
    tell(Signal::STOP);
    let _ = kill_process(getpid(), Signal::STOP);
    tell(Signal::CONT);
}

/// Whether it is a server; a child that has begun to end is known by its name, which is that of its keeper.
fn is_kept(process: &Process) -> bool {
    match process.arguments() {
        Some(arguments) => arguments.contains(&option(std::process::id())),
        None => process.parent == getpid() && process.name == processes::own_name(),
    }
}

/// What tells a server who keeps it.
fn option(keeper: u32) -> String {
    format!("--keeper={keeper}")
}

fn ended(status: Option<ExitStatus>) -> Result<()> {
    let Some(status) = status else {
        return Err(Exit::Failed.error("the server has ended, and how is not known"));
    };
    Err(match status.code() {
        Some(0) => return Ok(()),
        Some(1) => Exit::Failed.silent(),
        Some(2) => Exit::Usage.silent(),
        Some(3) => Exit::NotRunning.silent(),
        Some(4) => Exit::AlreadyRunning.silent(),
        Some(5) => Exit::Refused.silent(),
        Some(130) => Exit::Interrupted.silent(),
        _ => Exit::Failed.error(format!("the server has ended without its goodbye: {status}")),
    })
}

//! The signals of a server process, and the end of its supervisor, which counts like one.
#![expect(unsafe_code, reason = "real-time signals have no names")]

use std::future::poll_fn;
use std::task::{self, Poll, Waker};

use framework::log::{LogGuard, tracing};
use framework::prelude::*;
use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind, signal};

use super::supervisor::link::SupervisorLink;

/// In the order in which they are handled when several have come. SIGQUIT is what `task:stop` sends where it
/// cannot connect: however often it comes, it never means "at once". SIGUSR1 and SIGUSR2 reload, as in
/// Workerman and Swoole, and the first real-time signal opens the log file anew, as in Swoole.
const HANDLED: [Signal; 7] =
    [Signal::QUIT, Signal::INT, Signal::TERM, Signal::HUP, Signal::USR1, Signal::USR2, REOPEN_LOG];
/// Signals that would end a process that does not handle them, and mean nothing to this one.
const IGNORED: [Signal; 8] = [
    Signal::PIPE,
    Signal::ALARM,
    Signal::VTALARM,
    Signal::PROF,
    Signal::IO,
    Signal::POWER,
    Signal::STKFLT,
    Signal::XCPU,
];
/// musl keeps one more for itself than glibc.
const REAL_TIME: std::ops::RangeInclusive<i32> = if cfg!(target_env = "musl") { 35..=64 } else { 34..=64 };
const REOPEN_LOG: Signal = real_time(*REAL_TIME.start());

/// The signals of this process. None that is handled is lost from the moment this exists, also one that comes
/// during the start.
pub(super) struct Signals {
    streams: Vec<(Signal, unix::Signal)>,
    supervisor: Option<SupervisorLink>,
    /// A file that may not grow any more (SIGXFSZ) fails the write, and is no reason to exit.
    _file_size: Option<unix::Signal>,
}

/// The treatment of signals that were ignored when the process began, as SIGHUP is under `nohup`, and SIGINT
/// and SIGQUIT in a background job of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inherited {
    /// They stay ignored.
    Keep,
    /// They are handled like the others: a server in the background has left the terminal and its script.
    Replace,
}

impl Signals {
    /// # Errors
    /// The system refuses to let this process handle a signal.
    pub(super) fn listen(supervisor: Option<SupervisorLink>, inherited: Inherited) -> Result<Self> {
        let ignored = if inherited == Inherited::Keep { ignored_by("self") } else { 0 };
        let is_free = |number: &Signal| ignored & bit(*number) == 0;
        let listen = |number: Signal| signal(SignalKind::from_raw(number.as_raw()));
        let stream = |number| Ok((number, listen(number).context("listening for signals")?));
        let mut streams = HANDLED.into_iter().filter(is_free).map(stream).collect::<Result<Vec<_>>>()?;
        // A C library may keep some of these for itself.
        let others = IGNORED.into_iter().chain(REAL_TIME.skip(1).map(real_time)).filter(is_free);
        streams.extend(others.filter_map(|number| Some((number, listen(number).ok()?))));
        Ok(Self { streams, supervisor, _file_size: listen(Signal::XFSZ).ok() })
    }

    /// The supervisor of this process, if it has one.
    pub(super) fn supervisor(&self) -> Option<&SupervisorLink> {
        self.supervisor.as_ref()
    }

    pub(super) fn supervisor_mut(&mut self) -> Option<&mut SupervisorLink> {
        self.supervisor.as_mut()
    }

    pub(super) fn set_supervisor(&mut self, supervisor: Option<SupervisorLink>) {
        self.supervisor = supervisor;
    }

    /// The next signal. Cancel safe.
    pub(super) async fn recv(&mut self) -> Signal {
        recv(&mut self.streams).await
    }

    /// The signals that have come and were not handled; each once, however often it came.
    pub(super) async fn take_pending(&mut self) -> Vec<Signal> {
        // Lets the runtime look for what has come.
        tokio::task::yield_now().await;
        let mut context = task::Context::from_waker(Waker::noop());
        let streams = &mut self.streams;
        std::iter::from_fn(|| match poll_recv(streams, &mut context) {
            Poll::Ready(signal) => Some(signal),
            Poll::Pending => None,
        })
        .collect()
    }

    /// Waits until the server is to stop. SIGHUP opens the log file anew and reads tokens and certificates
    /// again; without a log file, the terminal has gone, and the server stops.
    pub(super) async fn wait_for_stop(
        &mut self,
        log: &LogGuard,
        reload_credentials: impl Fn(),
        request_reload: impl Fn(),
    ) {
        loop {
            let signal = tokio::select! {
                biased;
                signal = recv(&mut self.streams) => signal,
                () = closed(&mut self.supervisor) => {
                    tracing::warn!("the supervisor process has exited");
                    return;
                }
            };
            match signal {
                Signal::USR1 | Signal::USR2 => request_reload(),
                Signal::HUP if log.is_file() => {
                    log.reopen();
                    reload_credentials();
                }
                REOPEN_LOG => log.reopen(),
                Signal::QUIT | Signal::INT | Signal::TERM | Signal::HUP => return,
                other => tracing::warn!("the signal {other:?} is ignored"),
            }
        }
    }

    /// Waits until a server that stops is to stop at once.
    pub(super) async fn wait_for_kill(&mut self, log: &LogGuard) {
        loop {
            let signal = tokio::select! {
                signal = recv(&mut self.streams) => signal,
                () = closed(&mut self.supervisor) => return,
            };
            match signal {
                Signal::INT | Signal::TERM => return,
                Signal::HUP | REOPEN_LOG => log.reopen(),
                _ => {}
            }
        }
    }
}

/// The signals that a process ignores, a bit each; none where the system does not say. `process` is a pid, or
/// `self`.
pub(in crate::task) fn ignored_by(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()).unwrap_or(0)
}

/// The bit of a signal in [`ignored_by`].
pub(in crate::task) fn bit(signal: Signal) -> u64 {
    1 << (signal.as_raw() - 1)
}

const fn real_time(number: i32) -> Signal {
    // SAFETY: it is one of `REAL_TIME`, all of which are valid signals; the system refuses a handler for one
    // that its C library has reserved.
    unsafe { Signal::from_raw_unchecked(number) }
}

async fn recv(streams: &mut [(Signal, unix::Signal)]) -> Signal {
    poll_fn(|context| poll_recv(streams, context)).await
}

fn poll_recv(streams: &mut [(Signal, unix::Signal)], context: &mut task::Context<'_>) -> Poll<Signal> {
    for (signal, stream) in streams {
        if stream.poll_recv(context).is_ready() {
            return Poll::Ready(*signal);
        }
    }
    Poll::Pending
}

async fn closed(supervisor: &mut Option<SupervisorLink>) {
    match supervisor {
        Some(supervisor) => supervisor.closed().await,
        None => std::future::pending().await,
    }
}

//! The signals of a server process, and the end of its supervisor, which counts like one.

use std::future::poll_fn;
use std::task::{self, Poll, Waker};

use framework::log::{LogGuard, tracing};
use framework::prelude::*;
use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind, signal};

use super::supervisor::link::SupervisorLink;

/// In the order in which they are handled when several have come. SIGQUIT is what `task:stop` sends where it
/// cannot connect: however often it comes, it never means "at once". SIGUSR1 reloads, as in Workerman and
/// Swoole.
const HANDLED: [Signal; 5] = [Signal::QUIT, Signal::INT, Signal::TERM, Signal::HUP, Signal::USR1];

/// The handled signals. None is lost from the moment this exists, also one that comes during the start.
pub(super) struct Signals {
    streams: Vec<(Signal, unix::Signal)>,
    supervisor: Option<SupervisorLink>,
    /// A file that may not grow any more (SIGXFSZ) fails the write, and is no reason to exit.
    _file_size: Option<unix::Signal>,
}

impl Signals {
    pub(super) fn listen(supervisor: Option<SupervisorLink>) -> Result<Self> {
        let listen = |number: Signal| signal(SignalKind::from_raw(number.as_raw()));
        let stream = |number| Ok((number, listen(number).context("listening for signals")?));
        let streams = HANDLED.into_iter().map(stream).collect::<Result<_>>()?;
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
                Signal::USR1 => request_reload(),
                Signal::HUP if log.is_file() => {
                    log.reopen();
                    reload_credentials();
                }
                _ => return,
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
                Signal::HUP => log.reopen(),
                _ => {}
            }
        }
    }
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

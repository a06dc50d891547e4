//! What the server is told by signals.

use framework::log::{LogGuard, tracing};
use framework::prelude::*;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::kept::Kept;

/// The signals, from the moment this exists: one that comes during the start is not lost.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// What `task:stop` sends where it cannot ask: as often as it likes, it never means "at once".
    quit: Signal,
    hang_up: Signal,
    /// As in Workerman and Swoole.
    user: Signal,
    kept: Kept,
    /// A file that may not grow any more (SIGXFSZ) is an error of the write that it comes from, and no reason to end.
    _full: Option<Signal>,
}

impl Signals {
    pub(super) fn listen(keeper: Option<u32>) -> Result<Self> {
        let listen = |kind| signal(kind).context("listening for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            quit: listen(SignalKind::quit())?,
            hang_up: listen(SignalKind::hangup())?,
            user: listen(SignalKind::user_defined1())?,
            kept: Kept::by(keeper)?,
            _full: signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).ok(),
        })
    }

    /// Waits until the server is to stop. SIGHUP opens the log file anew and has tokens and certificates read again;
    /// without a log file, it is the terminal that has gone, and the server goes with it. SIGUSR1 reloads.
    pub(super) async fn stop(&mut self, log: &LogGuard, reread: impl Fn(), reload: impl Fn()) {
        loop {
            tokio::select! {
                biased;
                _ = self.quit.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => return,
                _ = self.hang_up.recv() => match log.is_file() {
                    true => {
                        log.reopen();
                        reread();
                    }
                    false => return,
                },
                _ = self.user.recv() => reload(),
                () = self.kept.forsaken() => {
                    tracing::warn!("the process that kept this server in the foreground has ended");
                    return;
                }
            }
        }
    }

    /// Waits until a server that stops is to stop at once.
    pub(super) async fn insist(&mut self, log: &LogGuard) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => return,
                _ = self.quit.recv() => {}
                _ = self.user.recv() => {}
                _ = self.hang_up.recv() => log.reopen(),
            }
        }
    }
}

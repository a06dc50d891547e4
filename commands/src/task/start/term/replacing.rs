//! How a process gives its place as the server to another.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use framework::config::Config;
use framework::log::tracing;
use framework::prelude::*;
use framework::server::{PreparedHandover, ServerHandle};
use rustix::process::{Pid, Signal, kill_process};

use super::super::super::pid_file::{PidFile, Released};
use super::super::keeper::Keeper;
use super::super::service::Service;
use super::super::successor::Successor;
use super::{End, Term};

/// How another process is to be started.
pub(super) struct Replacement {
    arguments: Vec<String>,
    /// The file that tasks survive in.
    queue: Option<PathBuf>,
    /// The process that stays in the foreground for it, if one has to.
    keeper: Option<u32>,
    /// How long running tasks may take.
    grace: Duration,
}

/// What is needed to let it serve, which can then fail in it alone.
pub(super) struct Prepared {
    successor: Successor,
    offer: PreparedHandover,
    grace: Duration,
    /// For a first process in the foreground, which stays there.
    keeping: Option<Keeper>,
}

impl Replacement {
    /// Gets everything ready to be handed over; when it cannot be, the server goes on as it was.
    ///
    /// # Errors
    /// Why it cannot be.
    pub(super) async fn prepare(
        self,
        running: &mut ServerHandle,
        config: &Config,
    ) -> Result<Prepared, String> {
        let Self { arguments, queue, keeper, grace } = self;
        let held = running.reload_blocker().await;
        let queue = queue.filter(|_| held.is_none()).ok_or_else(|| held.unwrap_or_default())?;
        tracing::info!("reloading: a new process looks whether it can serve");
        let said = |error: anyhow::Error| format!("{error:#}");
        // From before its first child on.
        let keeping = (keeper == Some(std::process::id())).then(Keeper::new).transpose().map_err(said)?;
        let mut successor = Successor::start(config, &arguments, keeper).map_err(said)?;
        successor.prepared(&queue).await?;
        running.drain(grace).await.map_err(|running| {
            let grace = framework::humantime::format_duration(grace);
            format!(
                "after {grace} there still runs: {running}; --grace waits longer, and --now gives them up, to run \
                 again"
            )
        })?;
        let offer =
            || running.prepare_handover().map_err(|error| format!("making a pair of sockets: {error}"));
        match successor.lives().and_then(|()| offer()) {
            Ok(offer) => Ok(Prepared { successor, offer, grace, keeping }),
            Err(reason) => {
                running.resume();
                Err(reason)
            }
        }
    }
}

impl Term<'_> {
    /// How a process is started that takes the place of this one.
    pub(super) fn replacement(&self, service: &Service, grace: Duration) -> Replacement {
        let arguments = self.start.arguments_to_succeed(self.output);
        Replacement { arguments, queue: self.queue(), keeper: self.keeper(service), grace }
    }

    /// Hands everything over; takes it back when the other process fails at the last moment.
    pub(super) async fn replace(
        &mut self,
        running: ServerHandle,
        prepared: Prepared,
        service: &Service,
    ) -> Result<End> {
        let Prepared { mut successor, offer, grace, keeping } = prepared;
        let (renewal, begin) = (running.reload_control(), Instant::now());
        let (handover, remainder) = running.hand_over(offer, grace).await;
        let pid_file = self.pid_file.take().map(PidFile::release);
        let max_wait_time = self.settings.max_wait_time;
        if let Err(reason) = successor.take_over(&handover).await {
            drop(successor);
            tracing::error!("not reloaded, and everything is taken back: {reason}");
            renewal.fail(reason);
            service.ready();
            tokio::spawn(remainder.finish(max_wait_time));
            return Ok(End::Returned(handover));
        }
        let pid = successor.release();
        pid_file.into_iter().for_each(Released::clear);
        renewal.complete(pid);
        service.replaced(pid);
        let pause = begin.elapsed().as_millis();
        tracing::info!("reloaded: process {pid} serves, after a pause of {pause} ms");
        drop(handover);
        // In the foreground, the keeper tells it.
        if self.again.swap(false, Ordering::Relaxed) && self.keeper(service).is_none() {
            tell(pid, Signal::USR1);
        }
        if let Some(mut keeper) = keeping {
            let (ended, ()) = tokio::join!(keeper.keep(), remainder.finish(max_wait_time));
            return ended.map(|()| End::Replaced);
        }
        tokio::select! {
            () = remainder.finish(max_wait_time) => {}
            () = self.signals.insist(&self.log) => {}
        }
        Ok(End::Replaced)
    }

    /// The process that stays in the foreground for the server that takes the place of this one, if one has to.
    fn keeper(&self, service: &Service) -> Option<u32> {
        let is_needed = !self.start.detached && !service.is_there();
        is_needed.then(|| self.start.keeper.unwrap_or_else(std::process::id))
    }
}

fn tell(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(Err(error)) = pid.map(|pid| kill_process(pid, signal)) {
        tracing::warn!("the new process does not hear the signal: {error}");
    }
}

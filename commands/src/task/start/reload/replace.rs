//! The old process's steps of a reload: prepare, then hand everything over or take it back.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use framework::config::Config;
use framework::log::tracing;
use framework::prelude::*;
use framework::server::{DrainingServer, Handover, PreparedHandover, ServerHandle};

use super::parent_side::NewProcess;
use crate::task::start::supervisor::SupervisorChannel;

/// How the new process is kept in the foreground.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Supervision {
    /// Not at all: it runs in the background, or a service manager follows it.
    None,
    /// By the supervisor of this process.
    Inherited,
    /// By this process, which becomes its supervisor.
    ByThisProcess,
}

/// A reload that was asked for.
pub(crate) struct Replacement {
    /// The command line of the new process.
    pub(crate) arguments: Vec<String>,
    /// The queue; `None` for one in memory, which cannot be handed over.
    pub(crate) queue_file: Option<PathBuf>,
    pub(crate) supervision: Supervision,
    /// How long running tasks may take.
    pub(crate) grace: Duration,
}

/// A reload in which only the new process can still fail.
pub(crate) struct PreparedReplacement {
    new_process: NewProcess,
    offer: PreparedHandover,
    /// To the new process, if this one becomes its supervisor.
    channel: Option<SupervisorChannel>,
    grace: Duration,
}

/// The outcome of a prepared reload. The clients of this process that still wait are served by `draining` in
/// both cases.
pub(crate) enum Outcome {
    Replaced { pid: u32, pause: Duration, channel: Option<SupervisorChannel>, draining: DrainingServer },
    Failed { reason: String, handover: Handover, draining: DrainingServer },
}

impl Replacement {
    /// Starts the new process, and lets running tasks end once that can serve. When this fails or is dropped,
    /// the server goes on as before.
    ///
    /// # Errors
    /// Why there can be no reload.
    pub(crate) async fn prepare(
        self,
        running: &mut ServerHandle,
        config: &Config,
    ) -> Result<PreparedReplacement, String> {
        let Self { arguments, queue_file, supervision, grace } = self;
        let blocker = running.reload_blocker().await;
        let queue = queue_file.filter(|_| blocker.is_none()).ok_or_else(|| blocker.unwrap_or_default())?;
        tracing::info!("reloading: a new process checks whether it can serve");
        let text = |error: anyhow::Error| format!("{error:#}");
        let is_first = supervision == Supervision::ByThisProcess;
        let channel = is_first.then(SupervisorChannel::new).transpose().map_err(text)?;
        let is_supervised = supervision != Supervision::None;
        let mut new_process = NewProcess::start(config, &arguments, is_supervised).map_err(text)?;
        new_process.wait_prepared(&queue).await?;
        running.drain(grace).await.map_err(|running| {
            let grace = framework::humantime::format_duration(grace);
            format!(
                "after {grace} there still runs: {running}; wait longer with --grace, or requeue it with --now"
            )
        })?;
        let offer =
            || running.prepare_handover().map_err(|error| format!("making a pair of sockets: {error}"));
        match new_process.check_alive().and_then(|()| offer()) {
            Ok(offer) => Ok(PreparedReplacement { new_process, offer, channel, grace }),
            Err(reason) => {
                running.resume();
                Err(reason)
            }
        }
    }
}

impl PreparedReplacement {
    /// Hands everything over, `supervisor` being the channel to that of this process; `release` is called
    /// between the end of the old server and the beginning of the new one.
    pub(crate) async fn hand_over(
        self,
        running: ServerHandle,
        supervisor: Option<BorrowedFd<'_>>,
        release: impl FnOnce(),
    ) -> Outcome {
        let Self { mut new_process, offer, channel, grace } = self;
        let begin = Instant::now();
        let (handover, draining) = running.hand_over(offer, grace).await;
        release();
        let supervisor = supervisor.or(channel.as_ref().map(|channel| channel.servers.as_fd()));
        match new_process.transfer(&handover, supervisor).await {
            Ok(()) => {
                let pause = begin.elapsed();
                Outcome::Replaced { pid: new_process.detach(), pause, channel, draining }
            }
            Err(reason) => Outcome::Failed { reason, handover, draining },
        }
    }
}

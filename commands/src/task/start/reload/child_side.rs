//! The new process's view of a reload: it checks that it can serve, and receives everything from the old
//! process.

use std::path::PathBuf;

use framework::prelude::*;
use framework::server::{Handover, InheritedSocket};

use super::fd_channel::FdChannel;
use super::{ChildMessage, HandoverMessage, SocketDescription};
use crate::task::start::supervisor::link::SupervisorLink;

/// The process to take over from, which serves until this one is prepared.
pub(crate) struct OldProcess {
    channel: FdChannel,
}

impl OldProcess {
    /// Takes the channel that the old process has passed as standard input.
    ///
    /// # Errors
    /// When this process was not started by a reload.
    pub(crate) fn connect() -> Result<Self> {
        let channel = FdChannel::from_stdin().context("there is no server to take over from")?;
        Ok(Self { channel })
    }

    /// Reports that this process can serve, with the queue in this file (`None`: in memory), and waits for
    /// the handover.
    ///
    /// # Errors
    /// When the old process keeps serving.
    pub(crate) async fn receive_handover(
        &mut self,
        queue_file: Option<PathBuf>,
    ) -> Result<(Handover, Option<SupervisorLink>)> {
        self.channel.send(&ChildMessage::Prepared { queue_file }, &[]).await?;
        let message = self.channel.recv().await.context("receiving the handover")?;
        let HandoverMessage { sockets: descriptions, awaited, is_supervised } =
            message.context("the old process goes on serving")?;
        let mut fds = self.channel.take_fds();
        let mut sockets = Vec::with_capacity(descriptions.len());
        for SocketDescription { place, is_managed } in descriptions {
            let socket = fds.next().context("the handover lacks a socket")?;
            sockets.push(InheritedSocket { place, is_managed, socket });
        }
        let line = Some(fds.next().context("the handover lacks the relay of results")?.into());
        let supervisor = if is_supervised {
            let fd = fds.next().context("the handover lacks the channel to the supervisor")?;
            Some(SupervisorLink::new(FdChannel::new(fd)?))
        } else {
            None
        };
        Ok((Handover { sockets, awaited, line }, supervisor))
    }

    /// Reports that this process serves.
    ///
    /// # Errors
    /// When the old process has exited meanwhile.
    pub(crate) async fn report_ready(&mut self) -> Result<()> {
        self.channel.send(&ChildMessage::Ready, &[]).await.context("reporting to the old process")
    }

    /// Reports why this process cannot serve.
    pub(crate) async fn report_failure(&mut self, error: &anyhow::Error) {
        // Best effort: the end of this process says enough.
        let _ = self.channel.send(&ChildMessage::Failed { reason: format!("{error:#}") }, &[]).await;
    }
}

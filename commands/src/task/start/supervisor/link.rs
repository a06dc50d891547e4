//! The channel to the supervisor, as a server process sees it.

use std::os::fd::{AsFd, BorrowedFd};

use serde::de::IgnoredAny;

use super::SupervisorMessage;
use crate::task::start::reload::fd_channel::FdChannel;

/// The connection of a server to the supervisor that keeps it in the foreground.
///
/// The servers of one supervisor share one end of a socket pair, which a reload passes on. So each of them
/// sees when the supervisor has exited, and the supervisor sees when all of them have.
pub(crate) struct SupervisorLink {
    channel: FdChannel,
    is_closed: bool,
}

impl SupervisorLink {
    pub(crate) fn new(channel: FdChannel) -> Self {
        Self { channel, is_closed: false }
    }

    /// Reports that this process serves from now on.
    pub(crate) async fn report_serving(&mut self) {
        let message = SupervisorMessage::Serving { pid: std::process::id() };
        // A supervisor that has exited is noticed by `closed`.
        let _ = self.channel.send(&message, &[]).await;
    }

    /// Waits until the supervisor has exited. Resolves once: afterwards it never does again. Cancel safe.
    ///
    /// A death signal (`PR_SET_PDEATHSIG`) would not do: the server that takes over from another is that
    /// one's child at first, and would be sent it when its parent exits in good order.
    pub(crate) async fn closed(&mut self) {
        if self.is_closed {
            std::future::pending().await
        }
        // Nothing ever comes but the end.
        while let Ok(Some(IgnoredAny)) = self.channel.recv().await {}
        self.is_closed = true;
    }
}

impl AsFd for SupervisorLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

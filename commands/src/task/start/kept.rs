//! The process that keeps this server in the foreground, as the server sees it.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;

use framework::prelude::*;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::sync::Notify;

/// The keeper, whose end is the server's: no server stays behind that no terminal can end any more.
///
/// A death signal (`PR_SET_PDEATHSIG`) would not do: the server that takes the place of another is that one's child at
/// first, and would be sent it when its parent ends in good order.
pub(super) struct Kept(Arc<Notify>);

impl Kept {
    /// By the process with this pid, or by nobody. A system that cannot watch a process is as good as nobody.
    ///
    /// # Errors
    /// When the keeper has ended already.
    pub(super) fn by(keeper: Option<u32>) -> Result<Self> {
        let forsaken = Arc::new(Notify::new());
        if let Some(keeper) = keeper {
            let pid = i32::try_from(keeper).ok().and_then(Pid::from_raw).context("no pid of a keeper")?;
            match pidfd_open(pid, PidfdFlags::empty()) {
                Ok(process) => watch(process, forsaken.clone()),
                Err(Errno::SRCH) => {
                    return Err(Exit::Interrupted.error("the keeper of the server has ended"));
                }
                Err(_) => {}
            }
        }
        Ok(Self(forsaken))
    }

    /// Waits for the keeper's end.
    pub(super) async fn forsaken(&self) {
        self.0.notified().await;
    }
}

/// Waits on a thread of its own, which ends with this process if the keeper does not end before.
fn watch(keeper: OwnedFd, forsaken: Arc<Notify>) {
    thread::spawn(move || {
        while poll(&mut [PollFd::new(&keeper, PollFlags::IN)], None) == Err(Errno::INTR) {}
        forsaken.notify_one();
    });
}

//! Notifications to a service manager such as systemd: ready, reloading, stopping, watchdog.

use std::ffi::OsStr;
use std::fmt::Write;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use framework::config::Systemd;
use framework::log::tracing;
use framework::prelude::*;
use sd_notify::NotifyState;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// Notifications that a manager has not read yet; further ones are lost.
const QUEUE_CAPACITY: usize = 64;
/// How long the end of this process waits until the manager has read the last notification.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

type States = Vec<NotifyState<'static>>;

/// Sends notifications to the service manager, if there is one.
///
/// A manager that does not read blocks whoever sends, so a thread of its own does that: nothing else ever
/// waits for it.
pub(super) struct Notifier(Option<Sender>);

struct Sender {
    queue: SyncSender<States>,
    /// How long the manager lets the process be silent.
    watchdog: Option<Duration>,
    /// A watchdog notification waits in the queue: another one would say nothing more.
    is_watchdog_queued: Arc<AtomicBool>,
    /// Resolves when the thread has sent everything.
    flushed: oneshot::Receiver<()>,
}

impl Notifier {
    /// # Errors
    /// When the thread cannot be started.
    pub(super) fn start() -> Result<Self> {
        let Some(manager) = Systemd::of_process() else { return Ok(Self(None)) };
        let (queue, queued) = sync_channel(QUEUE_CAPACITY);
        let (done, flushed) = oneshot::channel();
        let is_watchdog_queued = Arc::<AtomicBool>::default();
        let is_queued = is_watchdog_queued.clone();
        thread::Builder::new()
            .name("sd-notify".to_owned())
            .spawn(move || {
                send_all(&manager.socket, &queued, &is_queued);
                let _ = done.send(());
            })
            .context("starting the thread that notifies the service manager")?;
        Ok(Self(Some(Sender { queue, watchdog: manager.watchdog, is_watchdog_queued, flushed })))
    }

    /// Whether a service manager follows this process.
    pub(super) fn is_active(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn ready(&self) {
        self.notify(vec![NotifyState::Ready]);
    }

    pub(super) fn reloading(&self) {
        self.notify(vec![NotifyState::Reloading]);
    }

    pub(super) fn stopping(&self) {
        self.notify(vec![NotifyState::Stopping]);
    }

    /// Makes another process, which is ready, the one that the manager follows.
    pub(super) fn set_main_pid(&self, pid: u32) {
        self.notify(vec![NotifyState::MainPid(pid), NotifyState::Ready]);
    }

    /// Sends watchdog notifications, twice as often as the manager needs them, as long as this is polled.
    pub(super) async fn run_watchdog(&self) -> ! {
        if let Some(Sender { watchdog: Some(watchdog), is_watchdog_queued, .. }) = &self.0 {
            loop {
                if !is_watchdog_queued.swap(true, Ordering::Relaxed) {
                    self.notify(vec![NotifyState::Watchdog]);
                }
                sleep((*watchdog / 2).max(Duration::from_millis(1))).await;
            }
        }
        std::future::pending().await
    }

    /// Waits until the last notification is sent, for a second at most.
    pub(super) async fn flush(self) {
        if let Some(Sender { queue, flushed, .. }) = self.0 {
            drop(queue);
            let _ = timeout(FLUSH_TIMEOUT, flushed).await;
        }
    }

    fn notify(&self, states: States) {
        if let Some(sender) = &self.0 {
            if let Err(error) = sender.queue.try_send(states) {
                tracing::warn!("the service manager does not read its notifications: {error}");
            }
        }
    }
}

fn send_all(socket: &OsStr, queued: &Receiver<States>, is_watchdog_queued: &AtomicBool) {
    for states in queued {
        if matches!(states[..], [NotifyState::Watchdog]) {
            is_watchdog_queued.store(false, Ordering::Relaxed);
        }
        if let Err(error) = send(socket, &states) {
            tracing::warn!("cannot notify the service manager at {socket:?} of {states:?}: {error}");
        }
    }
}

/// Sends one datagram. Names in the abstract namespace (`@name`) are none that the crate can reach.
fn send(socket: &OsStr, states: &[NotifyState]) -> io::Result<()> {
    let Some(name) = socket.as_bytes().strip_prefix(b"@") else { return sd_notify::notify(states) };
    let mut message = String::new();
    for state in states {
        let _ = writeln!(message, "{state}");
    }
    let datagram = UnixDatagram::unbound()?;
    datagram.connect_addr(&SocketAddr::from_abstract_name(name)?)?;
    datagram.send(message.as_bytes()).map(|_| ())
}

//! Waits with a bound: each of them fails with what it waited for.

use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// The bound on each single wait; longer than anything here takes, also on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The pause between two probes: a bounded poll, so that a busy machine is not made busier.
const PAUSE: Duration = Duration::from_millis(5);

/// Probes until there is something, and fails after [`PATIENCE`].
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "timed out after {PATIENCE:?}: {what}");
        thread::sleep(PAUSE);
    }
}

/// Probes until a condition holds, and fails after [`PATIENCE`].
#[track_caller]
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    eventually(what, || holds().then_some(()));
}

/// Runs something that blocks in a thread of its own, and fails if it takes longer than [`PATIENCE`].
#[track_caller]
pub(crate) fn bounded<T: Send + 'static>(what: &str, block: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = channel();
    // The receiver is gone when the time is over.
    thread::spawn(move || sender.send(block()).ok());
    receiver.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{what}: {error} within {PATIENCE:?}"))
}

/// Awaits a future, and fails if it takes longer than [`PATIENCE`].
pub(crate) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    let timed = tokio::time::timeout(PATIENCE, future).await;
    timed.unwrap_or_else(|_| panic!("timed out after {PATIENCE:?}: {what}"))
}

//! A channel: any number of requests that share one connection at a time.

pub(crate) mod driver;
mod in_flight;
mod state;

use std::future::poll_fn;
use std::io;
use std::sync::{Mutex, MutexGuard};

use framework_protocol::Reply;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::in_flight::Effects;
pub(crate) use self::in_flight::{ChannelEvent, OutgoingRequest, RequestKind, RetrySafety};
use self::state::{ChannelState, DriverState};
use crate::error::{ClientError, Result};
use crate::settings::ClientSettings;

/// Any number of requests that share one connection at a time. Callers send and receive here; a
/// [`Driver`](driver::Driver) on a task of its own moves the bytes.
pub(crate) struct Channel {
    inner: Mutex<Inner>,
    /// Notified when there is more to send.
    wake: Notify,
    /// Permits for requests without a first reply.
    in_flight: Semaphore,
    max_in_flight: usize,
    /// Permits for requests whose end is awaited.
    awaited: Semaphore,
    max_awaited: usize,
}

struct Inner {
    state: ChannelState,
    driver: Option<JoinHandle<()>>,
}

impl Channel {
    /// `is_pinned`: a request that a server may have read is for that server alone.
    pub(crate) fn new(settings: &ClientSettings, is_pinned: bool) -> Self {
        let ClientSettings { max_in_flight, max_awaited, retry_time, .. } = *settings;
        let state = ChannelState::new(retry_time, max_awaited / 2, is_pinned);
        Self {
            inner: Mutex::new(Inner { state, driver: None }),
            wake: Notify::new(),
            in_flight: Semaphore::new(max_in_flight),
            max_in_flight,
            awaited: Semaphore::new(max_awaited),
            max_awaited,
        }
    }

    /// The number of permits that are taken.
    pub(crate) fn load(&self) -> usize {
        let in_flight = self.max_in_flight.saturating_sub(self.in_flight.available_permits());
        in_flight + self.max_awaited.saturating_sub(self.awaited.available_permits())
    }

    /// The number of requests.
    pub(crate) fn len(&self) -> usize {
        self.inner().state.len()
    }

    /// The index of the address that the connection leads to.
    pub(crate) fn at(&self) -> Option<usize> {
        self.inner().state.at
    }

    /// Queues a request; waits for its permits. `spawn_driver` starts the channel's driver if there is none.
    pub(crate) async fn send(&self, request: OutgoingRequest, spawn_driver: impl FnOnce() -> JoinHandle<()>) {
        let closed = "the semaphores of a channel are never closed";
        let is_awaited = request.kind != RequestKind::Once;
        // The scarcer permit first: a request that waits for it keeps no other from the second.
        let awaited = if is_awaited { Some(self.awaited.acquire().await.expect(closed)) } else { None };
        self.in_flight.acquire().await.expect(closed).forget();
        awaited.into_iter().for_each(SemaphorePermit::forget);
        let mut inner = self.inner();
        inner.state.push(request);
        if inner.driver.as_ref().is_none_or(JoinHandle::is_finished) {
            inner.driver = Some(spawn_driver());
        }
        // Not while the driver would wait for the lock.
        drop(inner);
        self.wake.notify_one();
    }

    /// Waits for the next event of a request; nothing is lost when this is dropped.
    pub(crate) async fn next(&self, id: u64) -> ChannelEvent {
        let event = poll_fn(|context| self.inner().state.poll_next(id, context)).await;
        event.unwrap_or_else(|| ChannelEvent::Failed(runtime_ended()))
    }

    /// The index of the only address that may be asked about this request's task.
    pub(crate) fn pinned_address(&self, id: u64) -> Option<usize> {
        self.inner().state.pinned_address(id)
    }

    /// Drops a request that its caller does not wait for any more.
    pub(crate) fn abandon(&self, id: u64) {
        if self.update(|state, effects| state.abandon(id, effects)) {
            self.wake.notify_one();
        }
    }

    /// Ends the driver, and with it the connection.
    pub(crate) fn stop(&self) {
        let driver = self.inner().driver.take();
        driver.inspect(JoinHandle::abort);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no one panics while holding a channel")
    }

    /// Changes the state; gives back permits and wakes callers after it is unlocked.
    fn update<T>(&self, change: impl FnOnce(&mut ChannelState, &mut Effects) -> T) -> T {
        let mut effects = Effects::default();
        let result = change(&mut self.inner().state, &mut effects);
        self.in_flight.add_permits(effects.in_flight);
        self.awaited.add_permits(effects.awaited);
        effects.wakers.into_iter().for_each(std::task::Waker::wake);
        result
    }
}

/// The side of the driver.
impl Channel {
    /// Waits until there is something to send.
    async fn work(&self) {
        while !self.has_work() {
            self.woken().await;
        }
    }

    /// Waits until more may have to be sent.
    async fn woken(&self) {
        self.wake.notified().await;
    }

    fn has_work(&self) -> bool {
        self.inner().state.has_work()
    }

    fn deadline(&self) -> Option<Instant> {
        self.inner().state.deadline()
    }

    fn connected(&self, at: usize) {
        self.inner().state.at = Some(at);
    }

    fn fill(&self, output: &mut Vec<u8>, addresses: &[String]) -> DriverState {
        self.update(|state, effects| state.fill(output, addresses, effects))
    }

    fn dispatch(&self, replies: Vec<Reply>, address: &str) -> Result<DriverState> {
        self.update(|state, effects| state.dispatch(replies, address, effects))
    }

    fn disconnected(&self, error: &ClientError) {
        self.update(|state, effects| state.disconnect(error, effects));
    }

    fn fail_queued(&self, error: &ClientError, all: bool) -> bool {
        self.update(|state, effects| state.fail_queued(error, all, effects))
    }

    /// Fails everything, because the driver has ended, and with it the connection.
    fn driver_ended(&self) {
        self.disconnected(&runtime_ended());
        self.fail_queued(&runtime_ended(), true);
    }
}

fn runtime_ended() -> ClientError {
    let what = "the runtime that the client's connections belong to has ended";
    ClientError::io("another thread", io::Error::other(what))
}

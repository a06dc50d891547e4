//! Requests that take their time, and the connections that follow their progress.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use framework_protocol::ReplyWriter;
use framework_protocol::views::{Filter, State};
use serde::Serialize;
use tokio::sync::watch;

use super::outbox::{Outbox, ReplyOrder};
use crate::store::{Query, QueryResult, Store};

/// The time between two updates.
pub(super) const INTERVAL: Duration = Duration::from_millis(500);
/// The number of running tasks that are counted by function.
const SAMPLE_SIZE: usize = 1_000;

/// A request that concerns the whole server, with the connections that receive its status `S`. One request at
/// a time; its first caller fixes the grace period of running tasks.
pub(super) struct ControlRequest<S> {
    /// The grace period of the request that is under way.
    requested: watch::Sender<Option<Duration>>,
    listeners: ProgressListeners,
    status: PhantomData<fn(S)>,
    /// The grace period where a request names none.
    pub(super) grace: Duration,
}

impl<S: Serialize> ControlRequest<S> {
    pub(super) fn new(grace: Duration) -> Self {
        let (requested, _) = watch::channel(None);
        Self { requested, listeners: ProgressListeners::default(), grace, status: PhantomData }
    }

    /// Makes the request, unless it is under way already.
    pub(super) fn request(&self, grace: Duration) {
        self.requested.send_if_modified(|requested| requested.replace(requested.unwrap_or(grace)).is_none());
    }

    /// As [`Self::request`], for a connection that receives `status` at once and follows the progress. Counts
    /// as a request in flight until the end.
    pub(super) fn request_from(&self, outbox: &Arc<Outbox>, id: Option<&str>, grace: Duration, status: &S) {
        self.listeners.add(outbox, id, status);
        self.request(grace);
    }

    /// Waits for the request and returns its grace period.
    pub(super) async fn requested(&self) -> Duration {
        let mut requested = self.requested.subscribe();
        let grace = requested.wait_for(Option::is_some).await.ok().and_then(|grace| *grace);
        grace.unwrap_or(self.grace)
    }

    /// `true` if the connection of this outbox follows the request.
    pub(super) fn is_followed_by(&self, outbox: &Arc<Outbox>) -> bool {
        self.listeners.contains(outbox)
    }

    /// `true` if some connection follows the request.
    pub(super) fn has_followers(&self) -> bool {
        !self.listeners.is_empty()
    }

    /// Sends an update; dropped for connections that do not keep up.
    pub(super) fn update(&self, status: &S) {
        self.listeners.update(status);
    }

    /// Sends the last status; the connections go on being followers.
    pub(super) fn finish(&self, status: &S) {
        self.listeners.finish(status);
    }

    /// Sends the last status, and permits another request.
    pub(super) fn finish_and_reset(&self, status: &S) {
        // A connection that asks between these two lines receives this status and begins another request.
        self.requested.send_replace(None);
        self.listeners.finish_and_clear(status);
    }
}

/// The connections that receive the progress of a request; each holds one in-flight reservation.
#[derive(Default)]
struct ProgressListeners(Mutex<Vec<ProgressListener>>);

struct ProgressListener {
    outbox: Arc<Outbox>,
    id: Option<Box<str>>,
}

impl ProgressListeners {
    fn all(&self) -> MutexGuard<'_, Vec<ProgressListener>> {
        self.0.lock().expect("no panic while the listeners are locked")
    }

    /// Adds a connection and sends it `status`.
    fn add(&self, outbox: &Arc<Outbox>, id: Option<&str>, status: &impl Serialize) {
        let listener = ProgressListener { outbox: outbox.clone(), id: id.map(Into::into) };
        outbox.reserve(1);
        outbox.write(None, &listener.render(status));
        self.all().push(listener);
    }

    fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    fn contains(&self, outbox: &Arc<Outbox>) -> bool {
        self.all().iter().any(|listener| Arc::ptr_eq(&listener.outbox, outbox))
    }

    /// Sends an update; dropped for connections that do not keep up.
    fn update(&self, status: &impl Serialize) {
        for listener in &*self.all() {
            listener.outbox.try_send(&listener.render(status));
        }
    }

    /// Sends the last status.
    fn finish(&self, status: &impl Serialize) {
        self.all().iter().for_each(|listener| listener.finish(status));
    }

    /// Sends the last status and removes all connections.
    fn finish_and_clear(&self, status: &impl Serialize) {
        std::mem::take(&mut *self.all()).iter().for_each(|listener| listener.finish(status));
    }
}

impl ProgressListener {
    fn finish(&self, status: &impl Serialize) {
        let line = self.render(status);
        self.outbox.fulfil([(ReplyOrder::Anywhere, &*line)].into_iter());
    }

    fn render(&self, status: &impl Serialize) -> Vec<u8> {
        let mut line = Vec::new();
        ReplyWriter::new(&mut line).ok(self.id.as_deref(), status);
        line
    }
}

/// The number of running tasks of each function, among the first [`SAMPLE_SIZE`] of them.
pub(super) async fn running(store: &Arc<dyn Store>) -> BTreeMap<String, u64> {
    let filter = Filter { state: Some(State::Running), limit: SAMPLE_SIZE, ..Filter::default() };
    let mut running = BTreeMap::new();
    if let Ok(QueryResult::Tasks(tasks)) = store.query(Query::Tasks(filter)).await {
        for task in tasks {
            *running.entry(task.function).or_default() += 1;
        }
    }
    running
}

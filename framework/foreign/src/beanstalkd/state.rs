//! The state of one connection: what its client has chosen, and what is on its way.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use framework_protocol::task::{Due, NewTask};
use framework_server::server::{ForeignConnection, ForeignTasks};

use super::FUNCTION;
use super::decoder::Put;
use super::job::Job;
use super::priority::band;
use super::tubes::{self, DEFAULT, Shared, Tube};

/// The state of one connection.
pub(super) struct Session<'a> {
    pub(super) connection: ForeignConnection<'a>,
    pub(super) client: Client,
    pub(super) buffer: BytesMut,
    pub(super) output: Vec<u8>,
}

/// What a client has chosen.
pub(super) struct Client {
    pub(super) shared: &'static Shared,
    function: Arc<str>,
    pub(super) used: Arc<Tube>,
    pub(super) watched: Vec<Arc<Tube>>,
    /// The names of the watched tubes.
    pub(super) queues: Arc<[Box<str>]>,
    is_producer: bool,
    is_worker: bool,
    /// The server stops or is reloaded.
    pub(super) is_stopping: bool,
}

impl<'a> Session<'a> {
    pub(super) fn new(connection: ForeignConnection<'a>) -> Self {
        let client = Client::new(connection.max_queues());
        Self { connection, client, buffer: BytesMut::new(), output: Vec::new() }
    }

    pub(super) fn tasks(&self) -> &ForeignTasks {
        self.connection.tasks()
    }

    pub(super) fn answer(&mut self, answer: &[u8]) {
        self.output.extend_from_slice(answer);
    }

    /// Writes what was answered.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        self.connection.write(&mut self.output).await
    }
}

impl Client {
    fn new(max_queues: usize) -> Self {
        let shared = Shared::get();
        let first = shared.tube(DEFAULT, max_queues).expect("the first tube is always to be had");
        tubes::add(&first.using, 1);
        tubes::add(&first.watching, 1);
        let mut client = Self {
            shared,
            function: FUNCTION.into(),
            used: first.clone(),
            watched: vec![first],
            queues: [].into(),
            is_producer: false,
            is_worker: false,
            is_stopping: false,
        };
        client.note_watched();
        client
    }

    pub(super) fn note_watched(&mut self) {
        self.queues = self.watched.iter().map(|tube| Box::from(&*tube.name)).collect();
    }

    pub(super) fn count(&self, command: &str, count: u64) {
        self.shared.counts.command(command, count);
    }

    pub(super) fn becomes_producer(&mut self) {
        if !std::mem::replace(&mut self.is_producer, true) {
            tubes::add(&self.shared.counts.producers, 1);
        }
    }

    pub(super) fn becomes_worker(&mut self) {
        if !std::mem::replace(&mut self.is_worker, true) {
            tubes::add(&self.shared.counts.workers, 1);
        }
    }

    /// The task of a job.
    pub(super) fn task(&self, put: Put, body: &Bytes) -> NewTask {
        let Put { priority, delay, time_to_run } = put;
        let args = Job { priority, delay, body: (&**body).into() }.arguments();
        let delay = Duration::from_secs(delay.into());
        NewTask {
            queue: self.used.name.clone(),
            priority: band(priority),
            due: if delay.is_zero() { Due::Now } else { Due::After(delay) },
            timeout: Some(Duration::from_secs(time_to_run.into())),
            ..NewTask::without_handler(self.function.clone(), args)
        }
    }

    /// Notes that it waits for a job of the tubes that it watches, until this is dropped.
    pub(super) fn wait(&self) -> WaitingClient {
        let waiting = WaitingClient { shared: self.shared, watched: self.watched.clone() };
        waiting.counts().for_each(|count| tubes::add(count, 1));
        waiting
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        tubes::take(&self.used.using);
        self.watched.iter().for_each(|tube| tubes::take(&tube.watching));
        let counts = &self.shared.counts;
        for (is, count) in [(self.is_producer, &counts.producers), (self.is_worker, &counts.workers)] {
            count.fetch_sub(u64::from(is), Ordering::Relaxed);
        }
    }
}

/// A client that waits for a job.
pub(super) struct WaitingClient {
    shared: &'static Shared,
    watched: Vec<Arc<Tube>>,
}

impl WaitingClient {
    fn counts(&self) -> impl Iterator<Item = &AtomicU64> {
        self.watched.iter().map(|tube| &tube.waiting).chain([&self.shared.counts.waiting])
    }
}

impl Drop for WaitingClient {
    fn drop(&mut self) {
        self.counts().for_each(tubes::take);
    }
}

/// The whole seconds from now until a time.
pub(super) fn seconds_until(time: Option<Instant>) -> u64 {
    time.map_or(0, |time| time.saturating_duration_since(Instant::now()).as_secs())
}

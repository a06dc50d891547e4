//! The state of one connection.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use framework_server::server::{ForeignConnection, ForeignTasks};

use super::replies;
use super::workers::{Worker, WorkerRegistry};

/// The state of one connection.
pub(super) struct FaktorySession<'a> {
    pub(super) connection: ForeignConnection<'a>,
    pub(super) shared: &'static WorkerRegistry,
    /// The worker whose connection it is; one of its own for a client without a name.
    pub(super) worker: Arc<Worker>,
    pub(super) buffer: BytesMut,
    pub(super) output: Vec<u8>,
    /// The server stops or is reloaded.
    pub(super) is_stopping: bool,
}

impl<'a> FaktorySession<'a> {
    pub(super) fn new(connection: ForeignConnection<'a>, wid: Option<&str>, buffer: BytesMut) -> Self {
        let shared = WorkerRegistry::get();
        let name = wid.unwrap_or("client");
        let tasks = || {
            connection.tasks().for_worker(&format!("faktory {}", name.chars().take(64).collect::<String>()))
        };
        let worker = match wid {
            Some(wid) => shared.worker(wid, tasks),
            None => Arc::new(Worker { tasks: tasks() }),
        };
        Self { shared, worker, buffer, output: Vec::new(), is_stopping: false, connection }
    }

    pub(super) fn tasks(&self) -> &ForeignTasks {
        &self.worker.tasks
    }

    pub(super) fn ok(&mut self) {
        self.output.extend_from_slice(replies::OK);
    }

    pub(super) fn error(&mut self, message: &str) {
        replies::error(&mut self.output, message);
    }

    pub(super) async fn flush(&mut self) -> io::Result<()> {
        self.connection.write(&mut self.output).await
    }
}

//! Reads the database beside the thread that writes.

use std::ops::ControlFlow;
use std::sync::Arc;

use framework_protocol::task::TaskId;
use framework_protocol::views::Filter;
use framework_server::store::durable::journal::{JournalReader, Listed, LoadedTask, ReadError};
use framework_server::store::sqlite::RunningSlots;
use framework_server::store::{Query, QueryResult};
use rustc_hash::FxHashMap;

use crate::link::{Call, Io, Link};
use crate::options::PostgresOptions;
use crate::owner::Owner;
use crate::{listing, reads, views};

/// The connections that read.
#[derive(Debug)]
pub struct PostgresReader {
    /// Reads the bodies of taken tasks.
    bodies: Link,
    /// Answers queries, which may take long.
    queries: Link,
    owner: Arc<Owner>,
    marks: Arc<RunningSlots>,
    /// The last field: it drives the connections.
    io: Arc<Io>,
}

impl PostgresReader {
    pub(crate) fn new(
        io: &Arc<Io>,
        options: &Arc<PostgresOptions>,
        owner: Arc<Owner>,
        marks: Arc<RunningSlots>,
    ) -> Self {
        let link = || Link::new(io, options.clone());
        Self { bodies: link(), queries: link(), owner, marks, io: io.clone() }
    }
}

impl JournalReader for PostgresReader {
    const PLACE: &'static str = "the database";

    async fn tasks(&self, ids: &[TaskId], now_ms: u64) -> Result<Vec<LoadedTask>, ReadError> {
        reads::tasks(&self.bodies, ids, now_ms).await.map_err(|error| error.unread())
    }

    async fn accepted_ms(&self, ids: &[TaskId]) -> FxHashMap<TaskId, u64> {
        reads::accepted_ms(&self.bodies, ids).await.unwrap_or_default()
    }

    fn query(&self, query: &Query, now_ms: u64) -> Result<QueryResult, ReadError> {
        self.io.block_here(views::query(&self.queries, query, now_ms)).map_err(|error| error.unread())
    }

    fn list(
        &self,
        filter: &Filter,
        visit: &mut dyn FnMut(Listed) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        self.io.block_here(listing::list(&self.queries, filter, visit)).map_err(|error| error.unread())
    }

    fn is_owner(&self) -> bool {
        self.owner.is_trusted()
    }

    /// Leaves the queue to the next server at once.
    fn release(&self) {
        self.owner.stop();
        let leave = Call::new("UPDATE owner SET server = NULL, until = clock_timestamp() WHERE epoch = $1");
        if let Err(error) = self.io.block_here(self.queries.execute(leave.with(self.owner.epoch))) {
            tracing::warn!("the queue stays this server's until its lease ends: {error}");
        }
        self.marks.release();
    }
}

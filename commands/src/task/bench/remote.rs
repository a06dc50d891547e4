//! A worker outside of the server, in the process of the benchmark.

use std::sync::Arc;

use framework::client::{Client, ClientError, WorkerOptions, WorkerStop};
use framework::prelude::*;
use framework::protocol::worker::registration;
use framework::server::HandlerRunner;
use framework::task::Handlers;
use framework::views::ServerStatus;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::options::server_address::exit_error;

/// A worker that runs the tasks of the benchmark.
pub(super) struct BenchWorker {
    stop: watch::Sender<WorkerStop>,
    work: JoinHandle<Result<(), ClientError>>,
}

impl BenchWorker {
    /// Starts a worker with credit for so many tasks.
    ///
    /// # Errors
    /// The server runs tasks itself, or the system starts no threads.
    pub(super) fn start(app: &App, client: Client, status: &ServerStatus, credit: u32) -> Result<Self> {
        if status.workers.total > 0 {
            let reason = "the server would run some of the tasks itself: start it with --workers 0";
            return Err(Exit::Usage.error(reason));
        }
        let handlers = Arc::new(Handlers::collect()?);
        let options = WorkerOptions {
            name: format!("bench:{}", std::process::id()),
            language: concat!("rust/", env!("CARGO_PKG_VERSION")).to_owned(),
            functions: vec![registration(handlers.find("noop")?)],
            queues: Vec::new(),
            concurrency: credit,
            grace: std::time::Duration::from_secs(5),
        };
        let (config, events) = (app.config()?.clone(), Arc::new(()));
        let mut runner = HandlerRunner::new(config, handlers.clone(), events, 1, credit as usize)?;
        let (stop, stopped) = watch::channel(WorkerStop::No);
        let work = async move { client.work(&options, &handlers, &mut runner, stopped).await };
        Ok(Self { stop, work: tokio::spawn(work) })
    }

    /// Lets it end.
    ///
    /// # Errors
    /// It has failed.
    pub(super) async fn finish(self) -> Result<()> {
        self.stop.send_replace(WorkerStop::Graceful);
        self.work.await.context("the worker")?.map_err(exit_error)
    }
}

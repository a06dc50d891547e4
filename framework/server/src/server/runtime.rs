//! A tokio runtime that ends with its owner, without waiting for what runs on it.

use anyhow::{Context, Result};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// A runtime and its threads.
pub(super) struct ThreadPool {
    threads: usize,
    /// `None` once dropped.
    runtime: Option<Runtime>,
}

impl ThreadPool {
    /// Starts `threads` threads named `name`, and up to `blocking` more for blocking handlers.
    ///
    /// # Errors
    /// The system refuses to start threads.
    pub(super) fn new(name: &'static str, threads: usize, blocking: usize) -> Result<Self> {
        /// Blocking threads for files and host names, beside those of the handlers.
        const SPARE: usize = 16;
        Builder::new_multi_thread()
            .worker_threads(threads)
            .max_blocking_threads(blocking + SPARE)
            .thread_name(name)
            .enable_all()
            .build()
            .map(|runtime| Self { threads, runtime: Some(runtime) })
            .with_context(|| format!("starting {threads} {name} threads"))
    }

    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    pub(super) fn spawn<F: Future<Output: Send> + Send + 'static>(&self, future: F) -> JoinHandle<F::Output> {
        self.runtime.as_ref().expect("only drop takes the runtime").spawn(future)
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

//! Threads that end with their owner, without waiting for what runs on them.

use anyhow::{Context, Result};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// The threads of one runtime.
pub(super) struct ThreadPool(Option<Runtime>);

impl ThreadPool {
    /// `blocking`: how many blocking handlers may run at once.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub(super) fn new(name: &'static str, threads: usize, blocking: usize) -> Result<Self> {
        /// Beside the blocking handlers, async ones use blocking threads for files and names.
        const SPARE: usize = 16;
        Builder::new_multi_thread()
            .worker_threads(threads)
            .max_blocking_threads(blocking + SPARE)
            .thread_name(name)
            .enable_all()
            .build()
            .map(|runtime| Self(Some(runtime)))
            .with_context(|| format!("starting {threads} {name} threads"))
    }

    pub(super) fn spawn<F: Future<Output: Send> + Send + 'static>(&self, future: F) -> JoinHandle<F::Output> {
        self.0.as_ref().expect("the runtime is only taken by drop").spawn(future)
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

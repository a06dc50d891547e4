//! The settings of functions whose attempts run in child processes of the server.

use std::num::NonZero;
use std::thread;

use anyhow::{Context, Result};
use framework_console::config::Validator;
use framework_protocol::task::{Handler, Handlers};
use rustc_hash::FxHashSet;

use super::ServerSettings;

/// More processes than this are a mistake.
const PROCESSES_MAX: usize = 1_000;
/// The program itself takes about half of this.
const MEMORY_MIN: usize = 64 << 20;
/// The highest value of `nice`.
const NICE_MAX: u8 = 19;

impl ServerSettings {
    /// Whether the attempts of a function run in child processes of the server.
    pub fn is_isolated(&self, handler: &Handler) -> bool {
        handler.options.isolated || self.isolated.iter().any(|name| name == handler.name)
    }

    /// The functions of this program that run in this process.
    pub(crate) fn local_functions(&self, handlers: &Handlers) -> FxHashSet<String> {
        let local = handlers.iter().filter(|handler| self.runs_tasks() && !self.is_isolated(handler));
        local.map(|handler| handler.name.to_owned()).collect()
    }

    /// The functions that run in child processes, if there are to be any.
    pub(crate) fn isolated_functions(&self, handlers: &Handlers) -> Vec<&'static str> {
        handlers.iter().filter(|handler| self.is_isolated(handler)).map(|handler| handler.name).collect()
    }

    /// Whether all functions of a queue run in child processes.
    pub(super) fn is_isolated_queue(&self, queue: &str, handlers: &Handlers) -> bool {
        let mut of_queue = handlers.iter().filter(|handler| handler.options.queue == queue).peekable();
        of_queue.peek().is_some() && of_queue.all(|handler| self.is_isolated(handler))
    }

    /// The number of child processes.
    pub(crate) fn isolated_workers(&self) -> usize {
        let default =
            if self.runs_tasks() { thread::available_parallelism().map_or(1, NonZero::get) } else { 0 };
        self.isolated_worker_num.unwrap_or(default)
    }

    pub(super) fn check_isolated(&self, checks: Validator) -> Validator {
        let memory = self.max_isolated_memory;
        checks
            .range("isolated_worker_num", self.isolated_worker_num.unwrap_or(0), 0..=PROCESSES_MAX)
            .range("isolated_nice", self.isolated_nice, 0..=NICE_MAX)
            .that("max_isolated_memory", memory == 0 || memory >= MEMORY_MIN, || {
                "must be at least 64MB, or 0 for any".to_owned()
            })
    }

    /// Checks that this program has every function that is to run in its child processes.
    ///
    /// # Errors
    /// A name that it does not have, with the near one.
    pub(crate) fn check_isolated_functions(&self, handlers: &Handlers) -> Result<()> {
        self.isolated.iter().try_for_each(|name| handlers.find(name).map(drop).context("isolated"))
    }
}

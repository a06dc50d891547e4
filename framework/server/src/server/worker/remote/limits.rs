//! The bounds of workers outside of this process.

use std::time::Duration;

use framework_protocol::task::Handlers;
use rustc_hash::FxHashSet;

use crate::server::settings::ServerSettings;

/// The bounds of workers outside of this process, from the settings.
#[derive(Debug, Clone)]
pub(crate) struct RemoteLimits {
    /// The functions of this program that run in this process.
    pub(crate) local: FxHashSet<String>,
    /// Those that run in its child processes.
    pub(crate) isolated: Vec<&'static str>,
    pub(crate) isolated_workers: usize,
    pub(crate) workers: usize,
    pub(crate) functions: usize,
    pub(crate) functions_per_worker: usize,
    pub(crate) schema_bytes: usize,
    pub(crate) credit: u32,
    /// The most bytes of tasks that one worker may hold.
    pub(crate) credit_bytes: usize,
    /// The longest message of a worker.
    pub(crate) message_bytes: usize,
    /// The silence after which a worker with heartbeats is lost.
    pub(crate) lease: Duration,
    /// The time for which the leases of a lost connection are held, if its worker may come back for them.
    pub(crate) resume: Duration,
    /// The time that a worker has to stop an attempt.
    pub(crate) cancel: Duration,
    /// The time for which a function is known after its last worker has gone.
    pub(crate) retention: Duration,
}

impl RemoteLimits {
    pub(crate) fn new(settings: &ServerSettings, handlers: &Handlers) -> Self {
        Self {
            local: settings.local_functions(handlers),
            isolated: settings.isolated_functions(handlers),
            isolated_workers: settings.isolated_workers(),
            workers: settings.max_workers,
            functions: settings.max_registered_functions,
            functions_per_worker: settings.max_worker_functions,
            schema_bytes: settings.max_function_schema,
            credit: settings.max_worker_credit,
            credit_bytes: settings.max_output_buffer / 2,
            message_bytes: settings.package_max_length,
            lease: settings.worker_lease_time,
            resume: settings.worker_resume_time.min(settings.worker_lease_time),
            cancel: settings.worker_cancel_time,
            retention: settings.registration_retention_time,
        }
    }
}

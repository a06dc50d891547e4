//! The checks of the section `server`, and the bounds of its values.

use std::path::PathBuf;
use std::time::Duration;

use framework_console::config::Validator;
use framework_console::log::Rotation;
use framework_protocol::task::ATTEMPTS_MAX;

use super::{BEARER, DAY, ServerSettings};
use crate::server::access::check_tokens;

/// Longer times are mistakes and would overflow: a century.
const TIME_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
/// The shortest time within which anything can be done.
const TIME_MIN: Duration = Duration::from_millis(1);
pub(super) const THREADS_MAX: usize = 1_024;
pub(super) const TASKS_MAX: usize = 100_000;
/// Shorter leases would be lost on a busy machine; longer ones would be of no use.
const LEASE_MIN: Duration = Duration::from_millis(100);
/// Each registered function has a queue of its own, whose number takes two bytes.
const FUNCTIONS_MAX: usize = 10_000;
/// It is kept only now and then that a function was seen.
const RETENTION_MIN: Duration = Duration::from_secs(60 * 60);
/// More worker groups than this would each get too little of a machine.
const GROUPS_MAX: usize = 60;
const WEIGHT_MAX: u32 = 1_000;
/// Each open batch costs a little memory, and a look at it now and then.
const BATCHES_MAX: usize = 100_000;
/// The record of a task takes some hundred bytes.
const KEEP_MAX: usize = 1_000_000_000;

/// Numbers beyond these are mistakes: no machine serves so many, nor holds such a message in memory.
const CONNECTIONS_MAX: usize = 1_000_000;
const BYTES_MAX: usize = 1 << 30;
/// Shorter log files would each hold a few lines only.
const LOG_MIN: usize = 1 << 10;

impl ServerSettings {
    pub(super) fn check_access(&self, checks: Validator) -> Validator {
        let tokens = check_tokens(self.tokens.reveal()).map_err(|error| format!("{error:#}"));
        checks
            .that("tokens", tokens.is_ok(), || tokens.clone().err().unwrap_or_default())
            .that("auth_timeout", (TIME_MIN..=DAY).contains(&self.auth_timeout), || {
                "must be from 1ms to 1day".to_owned()
            })
            .not_empty("tokens_file", text(&self.tokens_file).as_deref())
    }

    pub(super) fn check_tasks(&self, checks: Validator) -> Validator {
        let has_valid_weights = self.queue_weights.values().all(|weight| (1..=WEIGHT_MAX).contains(weight));
        checks
            .not_empty("default_function", self.default_function.as_deref())
            .range("worker_num", self.worker_num, 1..=THREADS_MAX)
            .range("task_threads", self.task_threads, 1..=THREADS_MAX)
            .range("task_worker_num", self.task_worker_num, 0..=TASKS_MAX)
            .range("max_attempts", self.max_attempts, 1..=ATTEMPTS_MAX)
            .that("min_retry_pause", self.min_retry_pause <= DAY, || "must be at most 1day".to_owned())
            .that("max_backoff", (TIME_MIN..=TIME_MAX).contains(&self.max_backoff), || {
                "must be from 1ms to 100 years".to_owned()
            })
            .that("task_queues", self.has_valid_workers(), || {
                format!(
                    "must give each of at most {GROUPS_MAX} queues 1 to {TASKS_MAX} workers, all together"
                )
            })
            .that("queue_weights", has_valid_weights, || {
                format!("must give each queue a weight from 1 to {WEIGHT_MAX}")
            })
    }

    pub(super) fn check_workers(&self, checks: Validator) -> Validator {
        checks
            .range("max_workers", self.max_workers, 0..=CONNECTIONS_MAX)
            .range("max_worker_functions", self.max_worker_functions, 1..=FUNCTIONS_MAX)
            .range("max_registered_functions", self.max_registered_functions, 1..=FUNCTIONS_MAX)
            .range("max_function_schema", self.max_function_schema, 64..=BYTES_MAX)
            .range("max_worker_credit", self.max_worker_credit, 1..=TASKS_MAX as u32)
            .that("worker_lease_time", (LEASE_MIN..=DAY).contains(&self.worker_lease_time), || {
                "must be from 100ms to 1day".to_owned()
            })
            .that("worker_resume_time", self.worker_resume_time <= DAY, || "must be at most 1day".to_owned())
            .that("worker_cancel_time", self.worker_cancel_time <= DAY, || "must be at most 1day".to_owned())
            .that(
                "registration_retention_time",
                (RETENTION_MIN..=TIME_MAX).contains(&self.registration_retention_time),
                || "must be from 1h to 100 years".to_owned(),
            )
    }

    pub(super) fn check_storage(&self, checks: Validator) -> Validator {
        checks
            .range("max_queue_length", self.max_queue_length.unwrap_or(1), 1..=usize::MAX)
            .range("max_memory", self.max_memory, 64 * 1024..=usize::MAX)
            .range("max_open_batches", self.max_open_batches, 1..=BATCHES_MAX)
            .that("batch_idle_time", self.batch_idle_time <= TIME_MAX, at_most_a_century)
            .range("batch_retention_count", self.batch_retention_count, 1..=KEEP_MAX)
            .not_empty("queue_file", Some(&self.queue_file.to_string_lossy()))
            .not_empty("store", Some(&self.store))
            .not_empty("store_schema", Some(&self.store_schema))
            .that("store_timeout", (LEASE_MIN..=RETENTION_MIN).contains(&self.store_timeout), || {
                "must be from 100ms to 1h".to_owned()
            })
            .that("lease_time", (LEASE_MIN..=DAY).contains(&self.lease_time), || {
                "must be from 100ms to 1day".to_owned()
            })
            .that("idempotency_window", self.idempotency_window <= TIME_MAX, at_most_a_century)
            .that("retention_time", self.retention_time <= TIME_MAX, at_most_a_century)
            .range("retention_count", self.retention_count, 0..=KEEP_MAX)
            .that("failed_retention_time", self.failed_retention_time <= TIME_MAX, at_most_a_century)
            .range("failed_retention_count", self.failed_retention_count, 0..=KEEP_MAX)
            .that(
                "function_retention",
                self.function_retention.values().all(|time| time.0 <= TIME_MAX),
                at_most_a_century,
            )
    }

    pub(super) fn check_limits(&self, checks: Validator) -> Validator {
        checks
            .range("max_connection", self.max_connection, 1..=CONNECTIONS_MAX)
            .range("max_connection_per_address", self.max_connection_per_address, 1..=CONNECTIONS_MAX)
            .range("package_max_length", self.package_max_length, 64..=BYTES_MAX)
            .range("max_output_buffer", self.max_output_buffer, 64..=BYTES_MAX)
            .range("max_in_flight", self.max_in_flight, 1..=1_000_000)
            .range("max_concurrent_receives", self.max_concurrent_receives, 1..=100_000)
            .range("max_foreign_queues", self.max_foreign_queues, 1..=10_000)
            .that("heartbeat_idle_time", self.heartbeat_idle_time <= TIME_MAX, at_most_a_century)
            .that("websocket_ping_interval", self.websocket_ping_interval <= TIME_MAX, at_most_a_century)
            .that("max_wait_time", self.max_wait_time <= TIME_MAX, at_most_a_century)
            .range("backlog", self.backlog, 1..=65_535)
    }

    pub(super) fn check_http(&self, checks: Validator) -> Validator {
        let is_time = |time: Duration| !time.is_zero() && time <= TIME_MAX;
        let positive = || "must be more than 0, and at most 100 years".to_owned();
        checks
            .range("max_http_header", self.max_http_header, 8192..=BYTES_MAX)
            .range("max_http_headers", self.max_http_headers, 1..=10_000)
            .range("max_http_url", self.max_http_url, 64..=65_534)
            .that("http_header_timeout", is_time(self.http_header_timeout), positive)
            .that("http_body_timeout", is_time(self.http_body_timeout), positive)
            .that("max_http_wait", self.max_http_wait <= TIME_MAX, at_most_a_century)
            .that("ui_session_time", (TIME_MIN..=30 * DAY).contains(&self.ui_session_time), || {
                "must be from 1ms to 30days".to_owned()
            })
            .that("http_sse_keepalive", is_time(self.http_sse_keepalive), positive)
            .that("websocket_path", is_path(&self.websocket_path), || {
                "must be a path as it stands in a URL, such as \"/socket\"".to_owned()
            })
            .that(
                "websocket_protocols",
                self.websocket_protocols.iter().all(|name| is_protocol(name)),
                || format!("must list names such as \"think\", which do not begin with \"{BEARER}\""),
            )
            .that("origins", self.origins.iter().all(|origin| is_origin(origin)), || {
                "must list origins as browsers write them, such as \"https://app.example.com\"".to_owned()
            })
            .that("hosts", self.hosts.iter().all(|host| is_host(host)), || {
                "must list names of hosts, such as \"tasks.example.com\"".to_owned()
            })
    }

    pub(super) fn check_log(&self, checks: Validator) -> Validator {
        checks
            .that("log_rotation", !matches!(self.log_rotation, Rotation::Size(0..LOG_MIN)), || {
                format!("must be at least {LOG_MIN} bytes")
            })
            .range("max_log_files", self.max_log_files, 0..=1_000)
            .range("max_log_buffer", self.max_log_buffer, LOG_MIN..=BYTES_MAX)
            .not_empty("log_file", text(&self.log_file).as_deref())
            .not_empty("pid_file", text(&self.pid_file).as_deref())
    }

    fn has_valid_workers(&self) -> bool {
        let workers = self.task_queues.values();
        let sum = workers.clone().fold(0_usize, |sum, workers| sum.saturating_add(*workers));
        workers.into_iter().all(|workers| *workers > 0)
            && sum <= TASKS_MAX
            && self.task_queues.len() <= GROUPS_MAX
    }
}

fn text(path: &Option<PathBuf>) -> Option<String> {
    path.as_ref().map(|path| path.to_string_lossy().into_owned())
}

fn at_most_a_century() -> String {
    "must be at most 100 years".to_owned()
}

fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte))
}

/// A token of a header, and none that shows a secret.
fn is_protocol(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_letter) && !name.starts_with(BEARER)
}

fn is_origin(origin: &str) -> bool {
    origin
        .split_once("://")
        .is_some_and(|(scheme, host)| !scheme.is_empty() && is_host(host.trim_end_matches('/')))
}

fn is_host(host: &str) -> bool {
    !host.is_empty() && !host.contains(|letter: char| letter.is_whitespace() || "/@,*".contains(letter))
}

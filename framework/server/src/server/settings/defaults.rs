//! The defaults of the settings.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::thread;
use std::time::Duration;

use framework_console::config::Secret;
use framework_console::log::{Format, Level, Rotation};
use framework_protocol::views::Protocol;
use framework_protocol::{Durability, ReplyMode};

use super::checks::{TASKS_MAX, THREADS_MAX};
use super::{DAY, ServerSettings};

impl Default for ServerSettings {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            host: "127.0.0.1".to_owned(),
            port: 9501,
            protocols: Protocol::OWN.to_vec(),
            proxy_protocol: false,
            insecure: false,
            reply: ReplyMode::Ack,
            default_function: None,
            listeners: Vec::new(),
            control_socket: "runtime/server.sock".into(),
            auth: None,
            tokens_file: None,
            tokens: Secret::default(),
            auth_timeout: Duration::from_secs(10),
            ssl_cert_file: None,
            ssl_key_file: None,
            ssl_client_cert_file: None,
            ssl_required: false,
            worker_num: cores.min(4),
            task_threads: cores.min(THREADS_MAX),
            task_worker_num: (16 * cores).min(TASKS_MAX),
            task_queues: BTreeMap::new(),
            queue_weights: BTreeMap::new(),
            queue_rates: BTreeMap::new(),
            oldest_first_every: 16,
            max_attempts: 1_000,
            min_retry_pause: Duration::from_millis(100),
            max_backoff: Duration::from_secs(60 * 60),
            max_queue_length: None,
            max_memory: 1 << 30,
            max_workers: 1_000,
            max_worker_functions: 256,
            max_registered_functions: 1_000,
            max_function_schema: 64 << 10,
            max_worker_credit: 4_096,
            worker_lease_time: Duration::from_secs(15),
            worker_resume_time: Duration::from_millis(500),
            worker_cancel_time: Duration::from_secs(10),
            registration_retention_time: 30 * DAY,
            isolated: Vec::new(),
            queueable_commands: Vec::new(),
            isolated_worker_num: None,
            task_max_request: 0,
            max_isolated_memory: 0,
            isolated_nice: 0,
            max_open_batches: 1_000,
            batch_idle_time: DAY,
            batch_retention_count: 10_000,
            durability: Durability::Fsync,
            queue_file: "runtime/queue.db".into(),
            lease_time: Duration::from_secs(60),
            idempotency_window: DAY,
            retention_time: DAY,
            retention_count: 100_000,
            failed_retention_time: 7 * DAY,
            failed_retention_count: 1_000_000,
            function_retention: BTreeMap::new(),
            max_connection: 20_000,
            max_connection_per_address: 20_000,
            package_max_length: 2 << 20,
            max_output_buffer: 8 << 20,
            max_in_flight: 4_096,
            max_concurrent_receives: 64,
            max_foreign_queues: 1_000,
            max_http_header: 16 << 10,
            max_http_headers: 100,
            max_http_url: 8 << 10,
            http_header_timeout: Duration::from_secs(10),
            http_body_timeout: Duration::from_secs(30),
            max_http_wait: Duration::from_secs(5 * 60),
            http_sse_keepalive: Duration::from_secs(15),
            ui: true,
            ui_session_time: DAY / 2,
            heartbeat_idle_time: Duration::ZERO,
            open_tcp_keepalive: true,
            websocket_ping_interval: Duration::from_secs(30),
            websocket_path: "/".to_owned(),
            websocket_protocols: vec!["think".to_owned()],
            origins: Vec::new(),
            hosts: Vec::new(),
            backlog: 1_024,
            max_wait_time: Duration::from_secs(30),
            app_log: true,
            log_outcomes: None,
            log_file: None,
            log_rotation: Rotation::Size(100 << 20),
            max_log_files: 7,
            max_log_buffer: 8 << 20,
            log_format: Format::Text,
            log_level: Level::Info,
            daemonize: false,
            pid_file: None,
        }
    }
}

//! The section `server`: everything that config/server.toml can say.

mod foreign_keys;
mod listener;
mod queues;
mod rate;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use framework_console::config::{Config, Invalid, Secret, Section, Validator, duration, size};
use framework_console::log::{Format, Level, Logging, Rotation};
use framework_protocol::views::{Auth, Protocol};
use framework_protocol::{Durability, ReplyMode};
pub use listener::ListenerSettings;
pub(super) use listener::Place;
pub(super) use queues::name;
pub use rate::QueueRate;
use serde::{Deserialize, Serialize};

use super::access::check_tokens;

/// How the server listens, works and logs. Swoole's names are kept where the thing exists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerSettings {
    /// The address to listen on: a name, IPv4, IPv6, or `unix:` and a path relative to the project's root.
    pub host: String,
    /// The TCP port to listen on; 0 takes a free one.
    pub port: u16,
    /// What is spoken there; the first bytes of a connection tell which.
    pub protocols: Vec<Protocol>,
    /// Whether other machines may be let in, although nobody is asked for a token.
    pub insecure: bool,
    /// Which replies a request gets that does not say.
    pub reply: ReplyMode,
    /// The function of requests that name none, and of raw JSON objects.
    pub default_function: Option<String>,
    /// Further addresses to listen on, each with the same keys.
    pub listeners: Vec<ListenerSettings>,
    /// A Unix socket that only the owner of the process can open, for its own commands; relative to the project's
    /// root, empty for none. Whoever comes through it may do everything.
    pub control_socket: PathBuf,

    /// Whether a client has to show a token; by default over TCP, as soon as there are tokens.
    pub auth: Option<Auth>,
    /// The file of the tokens, relative to the project's root: `SECRET scope[,scope..]` on each line.
    pub tokens_file: Option<PathBuf>,
    /// Further tokens: `SECRET:scope[+scope..]`, separated by commas.
    pub tokens: Secret,
    /// How long a client may take to show its token, and for the handshake of TLS.
    #[serde(with = "duration")]
    pub auth_timeout: Duration,
    /// The certificate chain of this server (PEM), relative to the project's root; with it, TLS is spoken as well.
    pub ssl_cert_file: Option<PathBuf>,
    /// The private key of the certificate (PEM).
    pub ssl_key_file: Option<PathBuf>,
    /// The authorities (PEM) one of which must have signed a client's certificate; then only TLS is spoken.
    pub ssl_client_cert_file: Option<PathBuf>,
    /// Whether only TLS is spoken.
    pub ssl_required: bool,

    /// Threads that talk to clients; the number of cores, at most 4.
    pub worker_num: usize,
    /// Threads that run tasks; the number of cores.
    pub task_threads: usize,
    /// How many tasks may run at once; 16 per core. Most tasks wait, so that a thread runs many.
    pub task_worker_num: usize,
    /// How many tasks of a queue may run at once, on workers that take from no other; `*` stands for all queues
    /// that are not named. Counts instead of `task_worker_num`, unless it is empty.
    pub task_queues: BTreeMap<String, usize>,
    /// How often a queue's turn comes compared to the others, 1 to 1000; 1 for those not named.
    pub queue_weights: BTreeMap<String, u32>,
    /// How many tasks of a queue may start in a time, such as `100/s`.
    pub queue_rates: BTreeMap<String, QueueRate>,
    /// How many tasks may wait; more are refused with `busy`. `None`: 1,000,000 in memory, 100,000,000 on disk.
    pub max_queue_length: Option<usize>,
    /// With a durability of `memory`: how many bytes of tasks may wait; more are refused with `busy`. What is kept of
    /// ended tasks may take a quarter of that besides.
    #[serde(with = "size")]
    pub max_memory: usize,

    /// What an accepted task survives: `fsync` a power cut, `async` the end of the process, `memory` nothing.
    pub durability: Durability,
    /// Where tasks are kept, relative to the project's root; nothing is with a durability of `memory`.
    pub queue_file: PathBuf,
    /// How long the `key` of a task is remembered: a second one with it is the first again.
    #[serde(with = "duration")]
    pub idempotency_window: Duration,
    /// How long the story of an ended task is kept.
    #[serde(with = "duration")]
    pub retention_time: Duration,
    /// Of how many ended tasks the story is kept; the oldest go first.
    pub retention_count: usize,

    /// How many clients may be connected.
    pub max_connection: usize,
    /// How many of them may come from one address.
    pub max_connection_per_address: usize,
    /// The longest message, in bytes.
    #[serde(with = "size")]
    pub package_max_length: usize,
    /// How many bytes of replies may wait for a client that does not read them.
    #[serde(with = "size")]
    pub max_output_buffer: usize,
    /// Requests of one connection whose results are still awaited; further ones are read when some have ended.
    pub max_in_flight: usize,
    /// How many `on_receive` of one connection may be under way.
    pub max_concurrent_receives: usize,
    /// The longest head of an HTTP request, in bytes.
    #[serde(with = "size")]
    pub max_http_header: usize,
    /// How many header fields an HTTP request may have.
    pub max_http_headers: usize,
    /// The longest URL of an HTTP request, in bytes.
    #[serde(with = "size")]
    pub max_http_url: usize,
    /// How long the head of an HTTP request may take, and an HTTP connection be silent between two requests.
    #[serde(with = "duration")]
    pub http_header_timeout: Duration,
    /// How long the body of an HTTP request may pause.
    #[serde(with = "duration")]
    pub http_body_timeout: Duration,
    /// The longest `?wait` of an HTTP request.
    #[serde(with = "duration")]
    pub max_http_wait: Duration,
    /// How long a stream of server-sent events is silent before a comment shows that it is alive.
    #[serde(with = "duration")]
    pub http_sse_keepalive: Duration,
    /// Closes a connection that was silent for so long; zero is never.
    #[serde(with = "duration")]
    pub heartbeat_idle_time: Duration,
    /// Whether the system probes silent connections, so that a vanished client is noticed.
    pub open_tcp_keepalive: bool,
    /// How long a WebSocket may be silent before it is pinged, and again; the third time it is closed. Zero is never.
    #[serde(with = "duration")]
    pub websocket_ping_interval: Duration,
    /// Sites whose pages may talk to the server, such as `https://app.example.com`; beside those of this machine
    /// where nobody else reaches the listener.
    pub origins: Vec<String>,
    /// Names under which browsers may reach the server, with or without a port; beside `localhost` and numbers.
    pub hosts: Vec<String>,
    /// How many clients may wait to be accepted.
    pub backlog: u32,
    /// How long a stop or a reload waits for running tasks, and a process that was replaced for its clients' results.
    #[serde(with = "duration")]
    pub max_wait_time: Duration,

    /// Whether the six callbacks' moments are logged.
    pub app_log: bool,
    /// Whether each end of a task is logged in a line; `None`: into a file yes, on stderr no.
    pub log_outcomes: Option<bool>,
    /// Where to log, relative to the project's root; `None` is stderr.
    pub log_file: Option<PathBuf>,
    /// When the log file is put aside for a new one: `daily`, `hourly`, a size such as `100MB`, or `none`.
    pub log_rotation: Rotation,
    /// How many log files that were put aside are kept.
    pub max_log_files: usize,
    /// How many bytes of log lines may wait for a slow disk; more are dropped, and counted in the log.
    #[serde(with = "size")]
    pub max_log_buffer: usize,
    /// How a line of the log looks.
    pub log_format: Format,
    /// What is logged: this and everything more severe.
    pub log_level: Level,
    /// Whether `task:start` runs in the background unless it is told otherwise.
    pub daemonize: bool,
    /// Where to write the process id, relative to the project's root.
    pub pid_file: Option<PathBuf>,
}

impl Default for ServerSettings {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            host: "127.0.0.1".to_owned(),
            port: 9501,
            protocols: Protocol::ALL.to_vec(),
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
            max_queue_length: None,
            max_memory: 1 << 30,
            durability: Durability::Fsync,
            queue_file: "runtime/queue.db".into(),
            idempotency_window: DAY,
            retention_time: DAY,
            retention_count: 100_000,
            max_connection: 20_000,
            max_connection_per_address: 20_000,
            package_max_length: 2 << 20,
            max_output_buffer: 8 << 20,
            max_in_flight: 4_096,
            max_concurrent_receives: 64,
            max_http_header: 16 << 10,
            max_http_headers: 100,
            max_http_url: 8 << 10,
            http_header_timeout: Duration::from_secs(10),
            http_body_timeout: Duration::from_secs(30),
            max_http_wait: Duration::from_secs(5 * 60),
            http_sse_keepalive: Duration::from_secs(15),
            heartbeat_idle_time: Duration::ZERO,
            open_tcp_keepalive: true,
            websocket_ping_interval: Duration::from_secs(30),
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

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Longer times are mistakes, and would overflow further on: a century.
const TIME_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
/// Less is no time to do anything.
const MOMENT: Duration = Duration::from_millis(1);
const THREADS_MAX: usize = 1_024;
const TASKS_MAX: usize = 100_000;
/// More worker groups than this would each get too little of a machine.
const LINES_MAX: usize = 60;
const WEIGHT_MAX: u32 = 1_000;
/// The story of a task is some hundred bytes.
const KEEP_MAX: usize = 1_000_000_000;

/// Numbers beyond these are mistakes: no machine serves so many, nor holds such a message in memory.
const CONNECTIONS_MAX: usize = 1_000_000;
const BYTES_MAX: usize = 1 << 30;
/// Shorter log files would each hold a few lines only.
const LOG_MIN: usize = 1 << 10;

impl Section for ServerSettings {
    const NAME: &'static str = "server";
    const REPLACED: &'static [(&'static str, &'static str)] = foreign_keys::REPLACED;

    fn check(&self) -> Result<(), Invalid> {
        let century = || "must be at most 100 years".to_owned();
        let some_time = || "must be more than 0, and at most 100 years".to_owned();
        let is_time = |time: Duration| !time.is_zero() && time <= TIME_MAX;
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
        let tokens = check_tokens(self.tokens.reveal()).map_err(|error| format!("{error:#}"));
        self.check_listeners(Validator::new())
            .that("tokens", tokens.is_ok(), || tokens.clone().err().unwrap_or_default())
            .that("auth_timeout", (MOMENT..=DAY).contains(&self.auth_timeout), || {
                "must be from 1ms to 1day".to_owned()
            })
            .not_empty("tokens_file", path(&self.tokens_file).as_deref())
            .not_empty("default_function", self.default_function.as_deref())
            .range("worker_num", self.worker_num, 1..=THREADS_MAX)
            .range("task_threads", self.task_threads, 1..=THREADS_MAX)
            .range("task_worker_num", self.task_worker_num, 1..=TASKS_MAX)
            .that("task_queues", self.are_workers_right(), || {
                format!("must give each of at most {LINES_MAX} queues 1 to {TASKS_MAX} workers, all together")
            })
            .that(
                "queue_weights",
                self.queue_weights.values().all(|weight| (1..=WEIGHT_MAX).contains(weight)),
                || format!("must give each queue a weight from 1 to {WEIGHT_MAX}"),
            )
            .range("max_queue_length", self.max_queue_length.unwrap_or(1), 1..=usize::MAX)
            .range("max_memory", self.max_memory, 64 * 1024..=usize::MAX)
            .not_empty("queue_file", Some(&self.queue_file.to_string_lossy()))
            .that("idempotency_window", self.idempotency_window <= TIME_MAX, century)
            .that("retention_time", self.retention_time <= TIME_MAX, century)
            .range("retention_count", self.retention_count, 0..=KEEP_MAX)
            .range("max_connection", self.max_connection, 1..=CONNECTIONS_MAX)
            .range("max_connection_per_address", self.max_connection_per_address, 1..=CONNECTIONS_MAX)
            .range("package_max_length", self.package_max_length, 64..=BYTES_MAX)
            .range("max_output_buffer", self.max_output_buffer, 64..=BYTES_MAX)
            .range("max_in_flight", self.max_in_flight, 1..=1_000_000)
            .range("max_concurrent_receives", self.max_concurrent_receives, 1..=100_000)
            .range("max_http_header", self.max_http_header, 8192..=BYTES_MAX)
            .range("max_http_headers", self.max_http_headers, 1..=10_000)
            .range("max_http_url", self.max_http_url, 64..=65_534)
            .that("http_header_timeout", is_time(self.http_header_timeout), some_time)
            .that("http_body_timeout", is_time(self.http_body_timeout), some_time)
            .that("max_http_wait", self.max_http_wait <= TIME_MAX, century)
            .that("http_sse_keepalive", is_time(self.http_sse_keepalive), some_time)
            .that("websocket_ping_interval", self.websocket_ping_interval <= TIME_MAX, century)
            .that("origins", self.origins.iter().all(|origin| is_origin(origin)), || {
                "must list origins as browsers write them, such as \"https://app.example.com\"".to_owned()
            })
            .that("hosts", self.hosts.iter().all(|host| is_host(host)), || {
                "must list names of hosts, such as \"tasks.example.com\"".to_owned()
            })
            .range("backlog", self.backlog, 1..=65_535)
            .that("log_rotation", !matches!(self.log_rotation, Rotation::Size(0..LOG_MIN)), || {
                format!("must be at least {LOG_MIN} bytes")
            })
            .range("max_log_files", self.max_log_files, 0..=1_000)
            .range("max_log_buffer", self.max_log_buffer, LOG_MIN..=BYTES_MAX)
            .not_empty("log_file", path(&self.log_file).as_deref())
            .not_empty("pid_file", path(&self.pid_file).as_deref())
            .done()
    }
}

framework_console::section!(ServerSettings);

fn is_origin(origin: &str) -> bool {
    origin
        .split_once("://")
        .is_some_and(|(scheme, host)| !scheme.is_empty() && is_host(host.trim_end_matches('/')))
}

fn is_host(host: &str) -> bool {
    !host.is_empty() && !host.contains(|letter: char| letter.is_whitespace() || "/@,*".contains(letter))
}

impl ServerSettings {
    fn are_workers_right(&self) -> bool {
        let workers = self.task_queues.values();
        let sum = workers.clone().fold(0_usize, |sum, workers| sum.saturating_add(*workers));
        workers.into_iter().all(|workers| *workers > 0)
            && sum <= TASKS_MAX
            && self.task_queues.len() <= LINES_MAX
    }

    /// How the server logs.
    pub fn logging(&self, config: &Config) -> Logging {
        Logging {
            level: self.log_level,
            format: self.log_format,
            app_log: self.app_log,
            outcomes: self.log_outcomes.unwrap_or(self.log_file.is_some()),
            rotation: self.log_rotation,
            keep: self.max_log_files,
            max_buffer: self.max_log_buffer,
            file: self.log_file.as_ref().map(|file| config.root().join(file)),
        }
    }
}

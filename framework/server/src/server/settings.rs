//! The section `server`: the settings of config/server.toml.

mod checks;
mod defaults;
mod files;
mod foreign_keys;
mod isolated;
mod listener;
mod log;
mod queues;
mod rate;
mod retention_time;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use framework_console::config::{Invalid, Secret, Section, Validator, duration, size};
use framework_console::log::{Format, Level, Rotation};
use framework_protocol::views::{Auth, Protocol};
use framework_protocol::{Durability, ReplyMode};
pub(super) use listener::ListenPlace;
pub use listener::ListenerSettings;
pub(super) use queues::name;
pub use rate::QueueRate;
pub use retention_time::RetentionTime;
use serde::{Deserialize, Serialize};

/// The prefix of a token among the subprotocols of a WebSocket: pages have no other way to show one.
pub(super) const BEARER: &str = "bearer.";

/// The settings of the server. Swoole's names are kept where the setting exists there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerSettings {
    /// The address to listen on: a name, IPv4, IPv6, or `unix:` and a path relative to the project's root.
    pub host: String,
    /// The TCP port to listen on; 0 takes a free one.
    pub port: u16,
    /// The accepted protocols; the first bytes of a connection select one.
    pub protocols: Vec<Protocol>,
    /// Every connection begins with a header of the PROXY protocol (version 1 or 2), which names its client.
    pub proxy_protocol: bool,
    /// Permits an address that other machines reach although no token is required.
    pub insecure: bool,
    /// The reply mode of requests that name none.
    pub reply: ReplyMode,
    /// The function of requests that name none, and of raw JSON objects.
    pub default_function: Option<String>,
    /// Further addresses to listen on, each with the same keys.
    pub listeners: Vec<ListenerSettings>,
    /// A Unix socket that only the owner of the process can open, for its own commands; relative to the
    /// project's root, empty for none. It grants full access.
    pub control_socket: PathBuf,

    /// `token`: clients must send a token; by default required over TCP as soon as there are tokens.
    pub auth: Option<Auth>,
    /// The file of the tokens, relative to the project's root: `SECRET scope[,scope..]` on each line.
    pub tokens_file: Option<PathBuf>,
    /// Further tokens: `SECRET:scope[+scope..]`, separated by commas.
    pub tokens: Secret,
    /// The time a client has to send its token, and for the TLS handshake.
    #[serde(with = "duration")]
    pub auth_timeout: Duration,
    /// The certificate chain (PEM), relative to the project's root; enables TLS beside plain text.
    pub ssl_cert_file: Option<PathBuf>,
    /// The private key of the certificate (PEM).
    pub ssl_key_file: Option<PathBuf>,
    /// The authorities (PEM) of client certificates; set, only TLS with such a certificate is accepted.
    pub ssl_client_cert_file: Option<PathBuf>,
    /// Rejects plain-text connections.
    pub ssl_required: bool,

    /// The number of I/O threads; by default the number of cores, at most 4.
    pub worker_num: usize,
    /// The number of threads that run tasks; by default the number of cores.
    pub task_threads: usize,
    /// The number of tasks that may run at once; by default 16 per core. Most tasks wait, so that a thread
    /// runs many. With 0 none runs in this process, and workers elsewhere run all.
    pub task_worker_num: usize,
    /// The number of workers of each queue, which serve no other; `*` stands for all queues that are not
    /// named. Replaces `task_worker_num` unless it is empty.
    pub task_queues: BTreeMap<String, usize>,
    /// The weight of each queue in the choice of the next task, 1 to 1000; 1 for those not named.
    pub queue_weights: BTreeMap<String, u32>,
    /// The number of tasks of each queue that may start in a period, such as `100/s`.
    pub queue_rates: BTreeMap<String, QueueRate>,
    /// One of so many tasks that start from a queue is the one that has waited longest, whatever its
    /// priority; 0 is none: then the priority alone decides.
    pub oldest_first_every: u32,
    /// The number of attempts that a request, or a function, may ask for.
    pub max_attempts: u32,
    /// The least pause between two attempts of a task.
    #[serde(with = "duration")]
    pub min_retry_pause: Duration,
    /// The longest mean pause that doubling leads to; a task that asks for a longer one has that each time.
    #[serde(with = "duration")]
    pub max_backoff: Duration,
    /// The number of tasks that may wait; more are rejected as `busy`. `None`: 1,000,000 in memory,
    /// 100,000,000 on disk.
    pub max_queue_length: Option<usize>,
    /// The bytes of waiting tasks in memory; more are rejected as `busy`. Ended ones may take a quarter more.
    #[serde(with = "size")]
    pub max_memory: usize,

    /// The number of workers outside of the server that may be connected at once.
    pub max_workers: usize,
    /// The number of functions that one of them may register.
    pub max_worker_functions: usize,
    /// The number of functions that all of them may have registered.
    pub max_registered_functions: usize,
    /// The longest JSON Schema of a registered function, in bytes.
    #[serde(with = "size")]
    pub max_function_schema: usize,
    /// The number of tasks that one worker may ask for at once.
    pub max_worker_credit: u32,
    /// The silence after which a worker that sends heartbeats is lost with its tasks.
    #[serde(with = "duration")]
    pub worker_lease_time: Duration,
    /// The time for which the tasks of a worker whose connection was lost are held for it, if it has said
    /// that it comes back; at most `worker_lease_time`. No other worker gets them until then, even if it has
    /// died.
    #[serde(with = "duration")]
    pub worker_resume_time: Duration,
    /// The time that a worker has to stop an attempt whose time is over, or whose task is cancelled.
    #[serde(with = "duration")]
    pub worker_cancel_time: Duration,
    /// The time that a registered function is known after its last worker has gone.
    #[serde(with = "duration")]
    pub registration_retention_time: Duration,

    /// The functions whose attempts run in child processes of the server, beside those with
    /// `#[task(isolated)]`.
    pub isolated: Vec<String>,
    /// The commands that may run as tasks, beside those that say so (`Execute::QUEUEABLE`).
    pub queueable_commands: Vec<String>,
    /// The number of these processes, each of which runs one attempt at a time. `None`: the number of cores,
    /// or with a `task_worker_num` of 0 none.
    pub isolated_worker_num: Option<usize>,
    /// The number of tasks after which such a process is replaced by a new one; 0 is never.
    pub task_max_request: u32,
    /// The most memory that such a process may map (RLIMIT_AS), in bytes; 0 is any.
    #[serde(with = "size")]
    pub max_isolated_memory: usize,
    /// How far such a process stands back behind others, 0 to 19.
    pub isolated_nice: u8,

    /// The number of batches that may be open at once; others are rejected as `busy`.
    pub max_open_batches: usize,
    /// The time after which a batch that is neither sealed nor gets another task is cancelled; zero is never.
    #[serde(with = "duration")]
    pub batch_idle_time: Duration,
    /// The number of the last batches that are known once they have ended.
    pub batch_retention_count: usize,

    /// The durability of accepted tasks: `fsync` survives a power cut, `async` the end of the process,
    /// `memory` nothing.
    pub durability: Durability,
    /// The file of the queue, relative to the project's root; unused with a durability of `memory`.
    pub queue_file: PathBuf,
    /// Where tasks are kept: `sqlite`, in the file of the queue; or the address of a database, such as
    /// `postgres://user@host/database`, without a password.
    pub store: String,
    /// The schema of the database with the tables of this queue; several servers with schemas of their own
    /// share a database.
    pub store_schema: String,
    /// The password of the database; better in the environment, THINK_SERVER_STORE_PASSWORD.
    pub store_password: Secret,
    /// The file with the password of the database, in place of `store_password`; its owner's alone.
    pub store_password_file: Option<PathBuf>,
    /// The longest that a call of the database may take; tasks are refused when it is over.
    #[serde(with = "duration")]
    pub store_timeout: Duration,
    /// The time after which a running task counts as lost whose worker does not renew its lease, three times
    /// within it. A pause of the whole process does not count.
    #[serde(with = "duration")]
    pub lease_time: Duration,
    /// The time that the `key` of a task is remembered: another task with it is the first one again.
    #[serde(with = "duration")]
    pub idempotency_window: Duration,
    /// The time that an ended task is kept which has not failed.
    #[serde(with = "duration")]
    pub retention_time: Duration,
    /// The number of these tasks that are kept; the oldest are deleted first.
    pub retention_count: usize,
    /// The time that a failed task is kept.
    #[serde(with = "duration")]
    pub failed_retention_time: Duration,
    /// The number of failed tasks that are kept; when the oldest are deleted for it, the log says so.
    pub failed_retention_count: usize,
    /// The time that ended tasks of a function are kept, whether they have failed or not. They are kept apart
    /// from those of other functions.
    pub function_retention: BTreeMap<String, RetentionTime>,

    /// The number of connections.
    pub max_connection: usize,
    /// The number of connections from one address.
    pub max_connection_per_address: usize,
    /// The longest message, in bytes.
    #[serde(with = "size")]
    pub package_max_length: usize,
    /// The bytes of replies that may wait for a client that does not read them.
    #[serde(with = "size")]
    pub max_output_buffer: usize,
    /// The requests of one connection whose results are pending; further ones are read when some have ended.
    pub max_in_flight: usize,
    /// The number of `on_receive` callbacks of one connection that may run at once.
    pub max_concurrent_receives: usize,
    /// The number of queues that all clients of another system's protocol may name, as tubes of beanstalkd.
    pub max_foreign_queues: usize,
    /// The longest head of an HTTP request, in bytes.
    #[serde(with = "size")]
    pub max_http_header: usize,
    /// The number of header fields of an HTTP request.
    pub max_http_headers: usize,
    /// The longest URL of an HTTP request, in bytes.
    #[serde(with = "size")]
    pub max_http_url: usize,
    /// The time for the head of an HTTP request, and between two requests of an HTTP connection.
    #[serde(with = "duration")]
    pub http_header_timeout: Duration,
    /// The longest pause within the body of an HTTP request.
    #[serde(with = "duration")]
    pub http_body_timeout: Duration,
    /// The longest `?wait` of an HTTP request.
    #[serde(with = "duration")]
    pub max_http_wait: Duration,
    /// The interval of keep-alive comments in a silent stream of server-sent events.
    #[serde(with = "duration")]
    pub http_sse_keepalive: Duration,
    /// Serves the pages for people at `/ui`, if the program has them.
    pub ui: bool,
    /// The time after which a browser has to sign in to the pages again.
    #[serde(with = "duration")]
    pub ui_session_time: Duration,
    /// The silence after which a connection is closed; zero is never.
    #[serde(with = "duration")]
    pub heartbeat_idle_time: Duration,
    /// TCP keep-alive: the system probes silent connections, so that a vanished client is noticed.
    pub open_tcp_keepalive: bool,
    /// The silence after which a WebSocket is pinged; the third time in a row it is closed. Zero is never.
    #[serde(with = "duration")]
    pub websocket_ping_interval: Duration,
    /// The path at which a WebSocket opens.
    pub websocket_path: String,
    /// The subprotocols that a WebSocket may have; the first one that a client offers is chosen.
    pub websocket_protocols: Vec<String>,
    /// The origins whose pages may use the server, such as `https://app.example.com`; beside those of this
    /// machine where no other machine reaches the listener.
    pub origins: Vec<String>,
    /// The host names under which browsers may reach the server, with or without a port; beside `localhost`
    /// and numbers.
    pub hosts: Vec<String>,
    /// The number of connections that may wait to be accepted.
    pub backlog: u32,
    /// The time that a stop or a reload waits for running tasks, and that a replaced process waits for its
    /// clients' results.
    #[serde(with = "duration")]
    pub max_wait_time: Duration,

    /// Logs the lines of `app_log!` in the callbacks.
    pub app_log: bool,
    /// Logs a line for each end of a task; `None`: into a file yes, on stderr no.
    pub log_outcomes: Option<bool>,
    /// The log file, relative to the project's root; `None` is stderr.
    pub log_file: Option<PathBuf>,
    /// The rotation of the log file: `daily`, `hourly`, a size such as `100MB`, or `none`.
    pub log_rotation: Rotation,
    /// The number of rotated log files that are kept.
    pub max_log_files: usize,
    /// The bytes of log lines that may wait for a slow disk; more are dropped, and counted in the log.
    #[serde(with = "size")]
    pub max_log_buffer: usize,
    /// The format of a log line.
    pub log_format: Format,
    /// The lowest severity that is logged.
    pub log_level: Level,
    /// Runs `task:start` in the background.
    pub daemonize: bool,
    /// The file for the process id, relative to the project's root.
    pub pid_file: Option<PathBuf>,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Section for ServerSettings {
    const NAME: &'static str = "server";
    const REPLACED: &'static [(&'static str, &'static str)] = foreign_keys::REPLACED;

    fn check(&self) -> Result<(), Invalid> {
        let checks = self.check_listeners(Validator::new());
        let checks = self.check_access(checks);
        let checks = self.check_tasks(checks);
        let checks = self.check_workers(checks);
        let checks = self.check_isolated(checks);
        let checks = self.check_storage(checks);
        let checks = self.check_limits(checks);
        let checks = self.check_http(checks);
        self.check_log(checks).done()
    }
}

framework_console::section!(ServerSettings);

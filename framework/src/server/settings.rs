//! placeholder
use crate::protocol::ReplyMode;
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct ServerSettings {
    pub host: String,
    pub port: u16,
    pub insecure: bool,
    pub worker_num: usize,
    pub task_threads: usize,
    pub task_worker_num: usize,
    pub max_connection: usize,
    pub max_connection_per_address: usize,
    pub package_max_length: usize,
    pub queue_max_length: usize,
    pub output_buffer_max: usize,
    pub in_flight_max: usize,
    pub receive_concurrency: usize,
    pub heartbeat_idle_time: Duration,
    pub open_tcp_keepalive: bool,
    pub backlog: u32,
    pub max_wait_time: Duration,
    pub default_function: Option<String>,
    pub reply: ReplyMode,
}
impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 9501,
            insecure: false,
            worker_num: 2,
            task_threads: 2,
            task_worker_num: 32,
            max_connection: 20000,
            max_connection_per_address: 20000,
            package_max_length: 2 << 20,
            queue_max_length: 1_000_000,
            output_buffer_max: 8 << 20,
            in_flight_max: 4096,
            receive_concurrency: 64,
            heartbeat_idle_time: Duration::ZERO,
            open_tcp_keepalive: true,
            backlog: 1024,
            max_wait_time: Duration::from_secs(30),
            default_function: None,
            reply: ReplyMode::Ack,
        }
    }
}

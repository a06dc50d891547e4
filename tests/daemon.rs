//! The server as a process: start, stop, reload, service managers and `task:start --watch`.

mod blocked_paths;
mod descriptors;
mod double_start;
mod idle_clients;
mod pid_file;
mod private_files;
mod reload;
mod runtime_dir;
mod signals;
mod socket_activation;
mod standstill;
mod start;
mod stop;
mod swoole_settings;
mod systemd;
mod watch;

/// The exit codes that the README promises.
const NOT_RUNNING: i32 = 3;
const ALREADY_RUNNING: i32 = 4;
const INTERRUPTED: i32 = 130;

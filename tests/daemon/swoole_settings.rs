//! The settings of Swoole by their names: each works, or is rejected with a reason.

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use crate::harness::Ran;
use crate::harness::daemon::{Daemon, project, project_with, with_silent_mail};
use crate::harness::eventually::wait_until;
use crate::harness::server::Server;

/// Settings that are rejected, each with a part of the reason.
const REJECTED: [(&str, &str); 11] = [
    ("max_request = 10000", "need no restart"),
    ("dispatch_mode = 2", "first idle worker"),
    ("task_ipc_mode = 3", "within one process"),
    ("heartbeat_check_interval = 60", "`heartbeat_idle_time`"),
    ("heartbeat_idle_timeout = 600", "`heartbeat_idle_time`"),
    ("user = \"www-data\"", "service manager"),
    ("group = \"www-data\"", "service manager"),
    ("cpu_affinity = 1", "taskset"),
    ("open_cpu_affinity = true", "taskset"),
    ("cpu_affinity_ignore = [0]", "taskset"),
    ("reload_async = true", "`max_wait_time`"),
];

#[test]
fn unused_swoole_settings_are_rejected_with_a_reason() {
    for (setting, says) in REJECTED {
        let name = setting.split(' ').next().unwrap();
        let project = project_with(&format!("{setting}\n"));
        let ran = project.think("task:start -d").exits(1);
        let said = format!("config/server.toml:2: `{name}` is not supported: ");
        assert!(ran.stderr.contains(&said) && ran.stderr.contains(says), "{setting}: {}", ran.stderr);
        assert!(!project.path("runtime/server.pid").exists(), "{setting}");
    }
}

#[test]
fn daemon_applies_worker_numbers_and_file_settings() {
    let settings = "worker_num = 1\ntask_worker_num = 3\ndaemonize = true\nlog_file = \"swoole.log\"\n\
                    log_rotation = \"1KB\"\npid_file = \"swoole.pid\"\nbacklog = 77\n";
    let daemon = Daemon::start_by(project_with(settings), "task:start");
    let status = daemon.status();
    assert_eq!((&status["threads"]["io"], &status["workers"]["total"]), (&1.into(), &3.into()));
    assert_eq!(daemon.project.read("swoole.pid"), format!("{}\n", daemon.pid));
    let mut client = daemon.client();
    wait_until("the log is rotated", || {
        client.send("{\"function\":\"echo\",\"args\":\"x\",\"reply\":\"result\"}\n").json();
        daemon.project.path("swoole.log.1").exists()
    });
    // Not on every machine; where there is one, it shows the backlog.
    let mut ss = Command::new("ss");
    if let Ok(ss) = ss.arg("-Hltn").stdout(Stdio::piped()).spawn() {
        let listening = Ran::finish(ss).stdout;
        let socket = listening.lines().find(|line| line.contains(&format!("{} ", daemon.address))).unwrap();
        assert_eq!(socket.split_whitespace().nth(2), Some("77"), "{socket}");
    }
    daemon.think("task:stop").exits(0);
    assert!(!daemon.project.path("swoole.pid").exists());
}

#[test]
fn log_rotation_accepts_daily_hourly_and_none() {
    for rotation in ["daily", "hourly", "none"] {
        let daemon = Daemon::start(project_with(&format!("log_rotation = \"{rotation}\"\n")), "");
        daemon.think("task:stop").exits(0);
    }
    let project = project_with("log_rotation = \"weekly\"\n");
    let ran = project.think("task:start -d").exits(1);
    assert!(ran.stderr.contains("config/server.toml:2: ") && ran.stderr.contains("daily"), "{}", ran.stderr);
}

#[test]
fn heartbeat_idle_time_closes_silent_clients() {
    let server = Server::with_settings("heartbeat_idle_time = 0.05\n");
    assert_eq!(server.connect().rest(), "");
    let server = Server::with_settings("heartbeat_idle_time = 3600\n");
    let mut client = server.connect();
    client.send("{\"command\":\"status\"}\n").json();
    client.send("{\"command\":\"status\"}\n").json();
}

#[test]
fn package_max_length_limits_messages() {
    let server = Server::with_settings("package_max_length = 1000\n");
    let fits = "x".repeat(1000);
    assert!(server.connect().send(format!("{fits}\n")).line().contains("task_id: 0"));
    let refused = server.connect().send(format!("{fits}x\n")).json();
    assert_eq!(refused["code"], "too_long", "{refused}");
}

#[test]
fn open_tcp_keepalive_sets_the_socket_option() {
    for (setting, timer) in [("true", true), ("false", false)] {
        let server = Server::with_settings(&format!("open_tcp_keepalive = {setting}\n"));
        let mut client = server.connect();
        client.send("{\"command\":\"status\"}\n").json();
        let stream = client.stream();
        let (ours, theirs) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        assert_eq!(is_probed(theirs, ours), timer, "{setting}");
    }
}

/// `true` if the keepalive timer of the connection from `here` to `there` is active.
fn is_probed(here: SocketAddr, there: SocketAddr) -> bool {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let port = |column: &str| u16::from_str_radix(column.split_once(':').unwrap().1, 16).unwrap();
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut sockets = rows.filter(|row| (port(row[1]), port(row[2])) == (here.port(), there.port()));
    sockets.next().expect("the connection is open")[5].starts_with("02:")
}

#[test]
fn max_wait_time_limits_how_long_a_stop_waits() {
    let (mail_server, daemon) = with_silent_mail();
    let _connection = mail_server.accept();
    daemon.think("task:stop --now").exits(0);
    let project = daemon.into_project();
    let config = project.read("config/server.toml");
    project.write("config/server.toml", &format!("{config}max_wait_time = 1\n"));
    let daemon = Daemon::start(project, "");
    let _connection = mail_server.accept();
    let stopped = daemon.think("task:stop").exits(0).stderr;
    assert!(stopped.contains("Waiting up to 1s for running tasks: 1 of send_mail"), "{stopped}");
    assert!(stopped.contains("1 task kept for its next start"), "{stopped}");
}

#[test]
fn swoole_setting_names_are_all_known() {
    let names = [
        "worker_num",
        "task_worker_num",
        "max_request",
        "task_max_request",
        "dispatch_mode",
        "task_ipc_mode",
        "daemonize",
        "log_file",
        "log_rotation",
        "pid_file",
        "backlog",
        "heartbeat_idle_time",
        "heartbeat_check_interval",
        "open_tcp_keepalive",
        "package_max_length",
        "max_wait_time",
        "user",
        "group",
        "cpu_affinity",
    ];
    let shown = project().think("config:show server").exits(0).stdout;
    for name in names {
        let works = shown.lines().any(|line| line.split_whitespace().next() == Some(name));
        let is_refused = REJECTED.iter().any(|(setting, _)| setting.split(' ').next() == Some(name));
        assert!(works != is_refused, "{name}");
    }
}

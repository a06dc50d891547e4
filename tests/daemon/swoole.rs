//! The settings that Swoole's users look for, each by its name: it works, or a sentence says why there is none.

use std::fs;
use std::net::SocketAddr;

use super::guard::{Daemon, project, project_with, with_silent_mail};
use crate::harness::Project;
use crate::harness::server::Server;

/// With a word of the sentence that refuses it.
const REFUSED: [(&str, &str); 12] = [
    ("max_request = 10000", "need no restart"),
    ("task_max_request = 10000", "not restarted"),
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
fn what_means_nothing_here_is_refused_with_a_sentence() {
    for (setting, says) in REFUSED {
        let name = setting.split(' ').next().unwrap();
        let project = project_with(&format!("{setting}\n"));
        let ran = project.think("task:start -d").exits(1);
        let said = format!("config/server.toml:2: `{name}` is not used here: ");
        assert!(ran.stderr.contains(&said) && ran.stderr.contains(says), "{setting}: {}", ran.stderr);
        assert!(!project.path("runtime/server.pid").exists(), "{setting}");
    }
}

#[test]
fn numbers_of_workers_and_files_of_a_daemon_are_as_they_are_set() {
    let settings = "worker_num = 1\ntask_worker_num = 3\ndaemonize = true\nlog_file = \"swoole.log\"\n\
                    log_rotation = \"1KB\"\npid_file = \"swoole.pid\"\nbacklog = 77\n";
    let daemon = Daemon::started(project_with(settings), "task:start");
    let status = daemon.status();
    assert_eq!((&status["threads"]["io"], &status["workers"]["total"]), (&1.into(), &3.into()));
    assert_eq!(daemon.project.read("swoole.pid"), format!("{}\n", daemon.pid));
    let mut client = daemon.client();
    while !daemon.project.path("swoole.log.1").exists() {
        client.send("{\"function\":\"echo\",\"args\":\"x\",\"reply\":\"result\"}\n").json();
    }
    let listening = std::process::Command::new("ss").args(["-Hltn"]).output();
    // Not on every machine; where it is, it tells the length of the queue of those who wait to be accepted.
    if let Ok(listening) = listening {
        let listening = String::from_utf8(listening.stdout).unwrap();
        let socket = listening.lines().find(|line| line.contains(&format!("{} ", daemon.address))).unwrap();
        assert_eq!(socket.split_whitespace().nth(2), Some("77"), "{socket}");
    }
    daemon.think("task:stop").exits(0);
    assert!(!daemon.project.path("swoole.pid").exists());
}

#[test]
fn a_day_an_hour_or_none_rotate_a_log_as_well() {
    for rotation in ["daily", "hourly", "none"] {
        let daemon = Daemon::start(project_with(&format!("log_rotation = \"{rotation}\"\n")), "");
        daemon.think("task:stop").exits(0);
    }
    let project = project_with("log_rotation = \"weekly\"\n");
    let ran = project.think("task:start -d").exits(1);
    assert!(ran.stderr.contains("config/server.toml:2: ") && ran.stderr.contains("daily"), "{}", ran.stderr);
}

fn foreground(settings: &str) -> Server {
    let project = Project::new();
    project.write("config/server.toml", settings);
    Server::with(project, "")
}

#[test]
fn a_silent_client_is_closed_after_heartbeat_idle_time_and_not_before() {
    let server = foreground("heartbeat_idle_time = 0.05\n");
    assert_eq!(server.connect().rest(), "");
    let server = foreground("heartbeat_idle_time = 3600\n");
    let mut client = server.connect();
    client.send("{\"command\":\"status\"}\n").json();
    client.send("{\"command\":\"status\"}\n").json();
}

#[test]
fn a_message_may_be_as_long_as_package_max_length_says() {
    let server = foreground("package_max_length = 1000\n");
    let fits = "x".repeat(1000);
    assert!(server.connect().send(format!("{fits}\n")).line().contains("task_id: 0"));
    let refused = server.connect().send(format!("{fits}x\n")).json();
    assert_eq!(refused["code"], "too_long", "{refused}");
}

#[test]
fn open_tcp_keepalive_has_the_system_probe_or_not() {
    for (setting, timer) in [("true", true), ("false", false)] {
        let server = foreground(&format!("open_tcp_keepalive = {setting}\n"));
        let mut client = server.connect();
        client.send("{\"command\":\"status\"}\n").json();
        let stream = client.stream();
        let (ours, theirs) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        assert_eq!(is_probed(theirs, ours), timer, "{setting}");
    }
}

/// Whether the timer of the connection from `here` to `there` is the one that probes.
fn is_probed(here: SocketAddr, there: SocketAddr) -> bool {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let port = |column: &str| u16::from_str_radix(column.split_once(':').unwrap().1, 16).unwrap();
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut sockets = rows.filter(|row| (port(row[1]), port(row[2])) == (here.port(), there.port()));
    sockets.next().expect("the connection is open")[5].starts_with("02:")
}

#[test]
fn max_wait_time_bounds_how_long_a_stop_waits() {
    let (listener, daemon) = with_silent_mail();
    let (_connection, _) = listener.accept().unwrap();
    daemon.think("task:stop --now").exits(0);
    let project = daemon.into_project();
    let config = project.read("config/server.toml");
    project.write("config/server.toml", &format!("{config}max_wait_time = 1\n"));
    let daemon = Daemon::start(project, "");
    let (_connection, _) = listener.accept().unwrap();
    let stopped = daemon.think("task:stop").exits(0).stderr;
    assert!(stopped.contains("Waiting up to 1s for running tasks: 1 of send_mail"), "{stopped}");
    assert!(stopped.contains("Left for its next start: 1 tasks"), "{stopped}");
}

#[test]
fn every_name_of_the_list_is_one_that_the_server_knows() {
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
        let is_refused = REFUSED.iter().any(|(setting, _)| setting.split(' ').next() == Some(name));
        assert!(works != is_refused, "{name}");
    }
}

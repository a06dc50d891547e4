//! The server that commands without an address use: this project's own, and no other.

use std::process::Stdio;

use crate::harness::daemon::{Daemon, project, with_silent_mail};
use crate::harness::eventually::wait_until;
use crate::harness::{Project, Ran};

/// Every command that connects to a server.
const COMMANDS: &[&str] = &[
    "task:status",
    "task:send echo \"hi\"",
    "task:send --raw hello",
    "task:send --raw hello --no-wait",
    "task:show 0",
    "task:watch 0",
    "task:list",
    "task:cancel 0",
    "task:retry 0",
    "task:forget 0",
    "task:flush --force",
    "task:batches",
    "task:connections",
    "task:bench --time 0.1",
    "task:reload",
    "task:stop",
    "queue:list",
    "queue:pause default",
    "queue:resume default",
];

#[test]
fn commands_leave_the_server_of_another_project_alone() {
    let first = Daemon::start(project(), "");
    first.think("task:send echo \"hi\" --delay 1h").exits(0);
    let second = Project::new();
    second.write("config/server.toml", &first.project.read("config/server.toml"));
    let root = first.project.path("config").canonicalize().unwrap();
    let root = root.parent().unwrap().display().to_string();
    for command in COMMANDS {
        let ran = second.think(command).exits(3);
        let is_by_control_socket = command.starts_with("task:stop") || command.starts_with("task:reload");
        assert!(is_by_control_socket || ran.stderr.contains(&root), "{command}: {ran:?}");
    }
    assert_eq!(first.status()["ledger"]["waiting"], 1);
    let address = &first.address;
    second.think(&format!("task:flush --force --address {address}")).exits(0);
    assert_eq!(first.status()["ledger"]["cancelled"], 1);
}

#[test]
fn commands_find_their_server_at_a_port_that_the_settings_do_not_name() {
    let daemon = Daemon::start(project(), "--port 0");
    let port = daemon.address.rsplit_once(':').unwrap().1.to_owned();
    assert!(!daemon.project.read("config/server.toml").contains(&port));
    assert_eq!(daemon.status()["pid"], daemon.pid);
    daemon.think("task:send echo \"hi\" --wait").exits(0);
    let bench = daemon.think("task:bench --time 0.1 --connections 1 --json").exits(0).json();
    assert_eq!(bench["lost"], 0);
}

#[test]
fn status_reports_a_server_that_is_stopping() {
    let (mail_server, daemon) = with_silent_mail();
    let _connection = mail_server.accept();
    let stop = daemon.project.command().args(["task:stop", "--grace", "1h"]).stderr(Stdio::piped()).spawn();
    wait_until("the server is stopping", || daemon.status()["stopping"] == true);
    assert!(daemon.think("task:status").exits(0).stdout.contains("running tasks may finish"));
    let refused = daemon.think("task:send --raw hello").exits(5);
    assert!(refused.stderr.contains("shutting down") || refused.stderr.contains("closed"), "{refused:?}");
    daemon.think("task:stop --now").exits(0);
    assert!(Ran::finish(stop.unwrap()).stderr.contains("is stopping"));
    daemon.wait();
}

#[test]
fn commands_without_a_control_socket_reach_their_server_by_its_address() {
    let project = project();
    let settings = project.read("config/server.toml");
    project.write("config/server.toml", &format!("{settings}control_socket = \"\"\n"));
    let daemon = Daemon::start(project, "");
    let ran = daemon.think("task:send --raw hello").exits(0);
    assert!(ran.stdout.contains("hello"), "{ran:?}");
    daemon.think("task:reload").exits(0);
    assert!(daemon.think("task:stop").exits(0).stderr.contains("all tasks have ended"));
}

#[test]
fn raw_text_of_several_lines_is_refused_as_one_message() {
    let daemon = Daemon::start(project(), "");
    let text = "hello\n{\"command\":\"pause\",\"queue\":\"default\"}";
    for more in [&["--raw"][..], &["--raw", "--no-wait"], &["--raw", "--address", &daemon.address]] {
        let ran = Ran::of(daemon.project.command().args(["task:send", text]).args(more)).exits(2);
        assert!(ran.stderr.contains("line end"), "{ran:?}");
    }
    let status = daemon.status();
    assert_eq!(status["ledger"]["accepted"], 0);
    assert_ne!(status["queues"]["default"]["paused"], true);
    daemon.think("task:send --raw hello").exits(0);
}

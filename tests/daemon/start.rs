//! The server in the background: start and restart, and what prevents a start.

use std::io::Read;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::json;

use super::{ALREADY_RUNNING, INTERRUPTED, NOT_RUNNING};
use crate::harness::daemon::{Daemon, project, project_with};
use crate::harness::eventually::{bounded, eventually};
use crate::harness::process::{make_fifo, wait};
use crate::harness::pty::session_on_terminal;
use crate::harness::server::Server;
use crate::harness::{Project, Ran};

#[test]
fn start_returns_when_ready_and_stop_when_ended() {
    let daemon = Daemon::start(project(), "");
    assert_eq!(daemon.project.read("runtime/server.pid"), format!("{}\n", daemon.pid));
    assert_eq!(daemon.status()["pid"], daemon.pid);
    let stopped = daemon.think("task:stop").exits(0);
    assert!(stopped.stderr.contains("all tasks have ended"), "{}", stopped.stderr);
    daemon.wait();
    assert!(!daemon.project.path("runtime/server.pid").exists());
    let again = daemon.think("task:stop").exits(NOT_RUNNING);
    assert!(again.stderr.contains("no task server is running"), "{}", again.stderr);
}

#[test]
fn second_start_names_the_running_server() {
    let daemon = Daemon::start(project(), "");
    let pid = format!("pid {}", daemon.pid);
    for arguments in ["task:start -d", "task:start", "task:start -d --port 0"] {
        let second = daemon.think(arguments).exits(ALREADY_RUNNING);
        assert!(second.stderr.starts_with("error: ") && second.stderr.contains(&pid), "{}", second.stderr);
    }
    assert_eq!(daemon.status()["pid"], daemon.pid);
}

#[test]
fn daemonize_setting_starts_in_the_background_unless_foreground() {
    let daemon = Daemon::start_by(project_with("daemonize = true\n"), "task:start");
    daemon.think("task:stop").exits(0);
    let foreground = Server::with(daemon.into_project(), "--foreground");
    assert_eq!(foreground.status()["pid"], foreground.pid());
}

#[test]
fn start_reports_what_prevents_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for (settings, code, said) in [
        (format!("port = {port}"), 1, "another program has the address"),
        ("log_file = \"/dev/null/server.log\"".to_owned(), 1, "/dev/null/server.log"),
        ("pid_file = \"/dev/null/server.pid\"".to_owned(), 1, "/dev/null/server.pid"),
        ("default_function = \"sned_mail\"".to_owned(), 1, "send_mail"),
        ("wroker_num = 1".to_owned(), 1, "worker_num"),
    ] {
        let project = Project::new();
        let port = if settings.starts_with("port") { "" } else { "port = 0\n" };
        project.write("config/server.toml", &format!("{port}{settings}\n"));
        let ran = project.think("task:start -d");
        assert!(ran.stderr.contains(said) && !ran.stderr.contains("error: error"), "{said}: {}", ran.stderr);
        ran.exits(code);
        assert!(!project.path("runtime/server.pid").exists(), "{settings}");
    }
}

#[test]
fn start_creates_a_missing_log_directory() {
    let daemon = Daemon::start(project_with("log_file = \"deep/down/server.log\"\n"), "");
    assert!(daemon.project.read("deep/down/server.log").contains("the task server listens on"));
}

#[test]
fn start_takes_over_a_stale_pid_file() {
    for (left, said) in [
        // The process that runs this test lives, and is no server.
        (std::process::id().to_string(), "is another program by now"),
        // Beyond the highest pid of Linux.
        ("4194305".to_owned(), "exited without removing it"),
    ] {
        let project = project();
        std::fs::create_dir(project.path("runtime")).unwrap();
        project.write("runtime/server.pid", &left);
        let stopped = project.think("task:stop").exits(NOT_RUNNING);
        assert!(stopped.stderr.contains("is stale"), "{}", stopped.stderr);
        let daemon = Daemon::start(project, "");
        let log = daemon.project.read("runtime/server.log");
        assert!(log.contains(said), "{log}");
        assert_eq!(daemon.project.read("runtime/server.pid"), format!("{}\n", daemon.pid));
    }
}

#[test]
fn killed_server_is_not_running_and_starts_again() {
    let daemon = Daemon::start(project(), "");
    daemon.signal(Signal::KILL);
    daemon.wait();
    assert!(daemon.think("task:stop").exits(NOT_RUNNING).stderr.contains("is stale"));
    let daemon = Daemon::start(daemon.into_project(), "");
    assert_eq!(daemon.status()["pid"], daemon.pid);
}

#[test]
fn stop_during_a_start_ends_it() {
    let project = project();
    let config = project.read("config/server.toml");
    let fifo = project.path("held");
    project.write("config/server.toml", &format!("{config}log_file = \"{}\"\n", fifo.display()));
    make_fifo(&fifo);
    // It waits for a reader of its log, after it has taken its pid file.
    let mut command = project.command();
    let starter = command.args(["task:start", "-d"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut stop = project.command();
    stop.arg("task:stop").stderr(Stdio::piped());
    let stop = eventually("the server is told to stop", || {
        let mut stop = stop.spawn().unwrap();
        let mut stderr = stop.stderr.take().unwrap();
        let (printed, stderr) = bounded("task:stop prints something", move || {
            let mut printed = [0; 64];
            let count = stderr.read(&mut printed).unwrap();
            (printed[..count].to_vec(), stderr)
        });
        stop.stderr = Some(stderr);
        if printed.starts_with(b"The task server with pid") {
            return Some(stop);
        }
        // It is not there yet.
        assert_eq!(wait(&mut stop).code(), Some(NOT_RUNNING));
        None
    });
    bounded("the log ends", move || std::fs::read_to_string(&fifo).unwrap());
    let starter = Ran::finish(starter).exits(INTERRUPTED);
    assert!(starter.stderr.contains("was stopped while it started"), "{starter:?}");
    Ran::finish(stop).exits(0);
    assert!(!project.path("runtime/server.pid").exists());
}

#[test]
fn restart_keeps_the_arguments() {
    let daemon = Daemon::start(project(), "--workers 3");
    daemon.client().send("{\"function\":\"echo\",\"args\":\"x\",\"reply\":\"result\"}\n").json();
    let daemon = daemon.restart_by("task:restart");
    let status = daemon.status();
    assert_eq!((&status["workers"]["total"], &status["ledger"]["done"]), (&json!(3), &json!(1)));
}

#[test]
fn restart_starts_a_stopped_server_and_keeps_one_with_invalid_settings() {
    let daemon = Daemon::start_by(project(), "task:restart");
    let config = daemon.project.read("config/server.toml");
    daemon.project.write("config/server.toml", &format!("{config}wroker_num = 1\n"));
    daemon.think("task:restart").exits(1);
    daemon.project.write("config/server.toml", &config);
    assert_eq!(daemon.status()["pid"], daemon.pid);
}

#[test]
fn daemon_outlives_its_terminal() {
    let project = project();
    let screen = session_on_terminal(&project.command(), "task:start -d");
    let daemon = Daemon::of_output(project, &screen);
    assert_eq!(daemon.status()["pid"], daemon.pid);
    daemon.signal(Signal::HUP);
    daemon.client().send("still here\n").line();
    daemon.think("task:stop").exits(0);
}

#[test]
fn foreground_server_ends_with_its_terminal() {
    let mut server = Server::start();
    server.signal(Signal::HUP);
    assert_eq!(server.exit_code(), Some(0));
    let ran = Ran::of(server.project.command().args(["task:stop", "--address", &server.address]));
    ran.exits(NOT_RUNNING);
}

#[test]
fn daemon_keeps_no_descriptor_of_its_starter() {
    let project = project();
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec 9>held; exec {} task:start -d", env!("CARGO_BIN_EXE_think"))]);
    shell.current_dir(project.path("")).env("THINK_ROOT", project.path("").components().as_path());
    let started = Ran::of(&mut shell).exits(0);
    let daemon = Daemon::of_output(project, &started.stderr);
    let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid)).unwrap();
    let links: Vec<_> = open.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok()).collect();
    assert!(links.iter().any(|link| link.ends_with("runtime/server.log")), "{links:?}");
    assert!(!links.iter().any(|link| link.ends_with("held")), "{links:?}");
}

//! The same command, run several times at the same moment.

use std::process::Stdio;

use super::{ALREADY_RUNNING, INTERRUPTED, NOT_RUNNING};
use crate::harness::daemon::{Daemon, project, with_silent_mail};
use crate::harness::{Project, Ran};

/// Runs the commands at the same time.
fn race<const COUNT: usize>(project: &Project, arguments: [&str; COUNT]) -> [Ran; COUNT] {
    let started = arguments.map(|arguments| {
        let mut command = project.command();
        command.args(arguments.split_whitespace());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    });
    started.map(Ran::finish)
}

#[test]
fn concurrent_starts_leave_one_server() {
    let mut project = project();
    for _ in 0..5 {
        let ran = race(&project, ["task:start -d"; 4]);
        let (first, others): (Vec<_>, Vec<_>) = ran.into_iter().partition(|ran| ran.code == Some(0));
        assert_eq!(first.len(), 1, "{first:#?} {others:#?}");
        let daemon = Daemon::of_output(project, &first[0].stderr);
        for other in others {
            let other = other.exits(ALREADY_RUNNING);
            assert!(other.stderr.starts_with("error: a task server"), "{}", other.stderr);
        }
        assert_eq!(daemon.status()["pid"], daemon.pid);
        assert_eq!(daemon.project.read("runtime/server.pid"), format!("{}\n", daemon.pid));
        project = daemon.into_project();
    }
}

#[test]
fn concurrent_stops_all_succeed() {
    let mut project = project();
    for _ in 0..5 {
        let daemon = Daemon::start(project, "");
        for ran in race(&daemon.project, ["task:stop"; 4]) {
            match ran.code {
                // It had ended before this one connected.
                Some(NOT_RUNNING) => assert!(ran.stderr.contains("no task server is running"), "{ran:?}"),
                _ => assert!(ran.exits(0).stderr.contains("The task server has stopped")),
            }
            let pid_file = daemon.project.path("runtime/server.pid");
            assert!(!pid_file.exists(), "a stop is not reported too early");
        }
        project = daemon.into_project();
    }
}

#[test]
fn second_stop_waits_for_the_first() {
    let (mail_server, daemon) = with_silent_mail();
    let _connection = mail_server.accept();
    for ran in race(&daemon.project, ["task:stop --grace 1s"; 3]) {
        assert!(ran.exits(0).stderr.contains("The task server has stopped"));
        assert!(!daemon.project.path("runtime/server.pid").exists());
    }
}

#[test]
fn start_during_a_stop_is_rejected() {
    let (mail_server, daemon) = with_silent_mail();
    let _connection = mail_server.accept();
    let mut stop = daemon.client();
    let stopping = stop.send("{\"command\":\"stop\",\"grace\":\"1h\"}\n").json();
    assert_eq!(stopping["result"]["phase"], "stopping");
    let pid = format!("with pid {}", daemon.pid);
    let second = daemon.think("task:start -d").exits(ALREADY_RUNNING);
    assert!(second.stderr.contains(&pid), "{}", second.stderr);
    daemon.think("task:stop --now").exits(0);
    daemon.wait();
}

#[test]
fn concurrent_restarts_leave_one_server() {
    let daemon = Daemon::start(project(), "--workers 3");
    let ran = race(&daemon.project, ["task:restart"; 3]);
    daemon.wait();
    let pid = daemon.status()["pid"].as_u64().unwrap() as u32;
    let address = daemon.address.clone();
    let said = format!("listens on {address} with pid {pid}.");
    let daemon = Daemon::of_output(daemon.into_project(), &said);
    for ran in &ran {
        let said = match ran.code {
            Some(0) => "listens on",
            Some(ALREADY_RUNNING) => "runs already",
            // By one of the others.
            Some(INTERRUPTED) => "was stopped while it started",
            _ => panic!("{ran:?}"),
        };
        assert!(ran.stderr.contains(said), "{ran:?}");
    }
    assert!(ran.iter().any(|ran| ran.code == Some(0)), "{ran:#?}");
    assert_eq!(daemon.project.read("runtime/server.pid"), format!("{pid}\n"));
}

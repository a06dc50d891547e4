//! The same command given twice at the same moment, by people who do not know of each other.

use std::process::Stdio;

use super::guard::{Daemon, project, with_silent_mail};
use super::{ALREADY_RUNNING, INTERRUPTED, NOT_RUNNING};
use crate::harness::{Project, Ran};

/// Runs the commands at once, as often as is good for a race.
fn race<const COUNT: usize>(project: &Project, arguments: [&str; COUNT]) -> [Ran; COUNT] {
    let started = arguments.map(|arguments| {
        let mut command = project.command();
        command.args(arguments.split_whitespace());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    });
    started.map(|child| {
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    })
}

#[test]
fn of_several_starts_at_once_one_serves_and_the_others_are_told_of_it() {
    let mut project = project();
    for _ in 0..5 {
        let ran = race(&project, ["task:start -d"; 4]);
        let (first, others): (Vec<_>, Vec<_>) = ran.into_iter().partition(|ran| ran.code == Some(0));
        assert_eq!(first.len(), 1, "{first:#?} {others:#?}");
        let daemon = Daemon::found(project, &first[0].stderr);
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
fn several_stops_at_once_are_all_heard() {
    let mut project = project();
    for _ in 0..5 {
        let daemon = Daemon::start(project, "");
        for ran in race(&daemon.project, ["task:stop"; 4]) {
            match ran.code {
                // It had gone before this one so much as asked.
                Some(NOT_RUNNING) => assert!(ran.stderr.contains("no task server is running"), "{ran:?}"),
                _ => assert!(ran.exits(0).stderr.contains("The task server has stopped")),
            }
            let pid_file = daemon.project.path("runtime/server.pid");
            assert!(!pid_file.exists(), "who says that it has stopped does not say so too early");
        }
        project = daemon.into_project();
    }
}

#[test]
fn a_second_stop_waits_for_the_end_that_the_first_one_has_asked_for() {
    let (listener, daemon) = with_silent_mail();
    let (_connection, _) = listener.accept().unwrap();
    for ran in race(&daemon.project, ["task:stop --grace 1s"; 3]) {
        assert!(ran.exits(0).stderr.contains("The task server has stopped"));
        assert!(!daemon.project.path("runtime/server.pid").exists());
    }
}

#[test]
fn while_one_stops_no_other_starts() {
    let (listener, daemon) = with_silent_mail();
    let (_connection, _) = listener.accept().unwrap();
    let mut stop = daemon.client();
    let stopping = stop.send("{\"command\":\"stop\",\"timeout\":\"1h\"}\n").json();
    assert_eq!(stopping["result"]["phase"], "stopping");
    let pid = format!("with pid {}", daemon.pid);
    let second = daemon.think("task:start -d").exits(ALREADY_RUNNING);
    assert!(second.stderr.contains(&pid), "{}", second.stderr);
    daemon.think("task:stop --now").exits(0);
    daemon.wait();
}

#[test]
fn of_several_restarts_at_once_one_server_comes() {
    let daemon = Daemon::start(project(), "--workers 3");
    let ran = race(&daemon.project, ["task:restart"; 3]);
    daemon.wait();
    let pid = daemon.status()["pid"].as_u64().unwrap() as u32;
    let address = daemon.address.clone();
    let said = format!("listens on {address} with pid {pid}.");
    let daemon = Daemon::found(daemon.into_project(), &said);
    for ran in &ran {
        let said = match ran.code {
            Some(0) => "listens on",
            Some(ALREADY_RUNNING) => "runs already",
            // By one of the others.
            Some(INTERRUPTED) => "was told to stop while it started",
            _ => panic!("{ran:?}"),
        };
        assert!(ran.stderr.contains(said), "{ran:?}");
    }
    assert!(ran.iter().any(|ran| ran.code == Some(0)), "{ran:#?}");
    assert_eq!(daemon.project.read("runtime/server.pid"), format!("{pid}\n"));
}

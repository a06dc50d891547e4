//! `task:start --watch`: what is built and when, what the server is told, and how the two end.

mod terminal;
mod workshop;

use std::fs;
use std::net::TcpListener;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use self::terminal::Terminal;
use self::workshop::{calls, command, gate, watched, workshop};
use crate::harness::server::Server;
use crate::harness::{Project, Ran};

/// What the keeper says when it tells the server, and what the server says then.
const NEW_PROGRAM: &str = "There is a new program; the server is told to reload.";
const NEW_SETTINGS: &str = "The configuration has changed; the server is told to reload.";
const RELOADS: &str = "reloaded: process ";

/// A task that runs until its mail server says something, which is never.
struct Slow(TcpListener);

impl Slow {
    fn new(project: &Project) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let settings = format!("transport = \"smtp\"\nhost = \"127.0.0.1\"\nport = {port}\n");
        project.write("config/mail.toml", &settings);
        Self(listener)
    }

    fn send(&self, server: &Server) {
        server.think(&["task:send", "send_mail", r#"{"to":"a@example.com","content":""}"#]).exits(0);
    }

    /// Ends its attempt.
    fn fail(&self) {
        drop(self.0.accept().unwrap());
    }
}

#[test]
fn the_server_runs_below_its_keeper_and_ends_with_one_ctrl_c() {
    let mut server = watched(workshop());
    assert_ne!(server.status()["pid"], server.pid());
    server.signal(Signal::INT);
    assert_eq!(server.exit_code(), Some(0));
    assert!(server.rest().iter().any(|line| line.contains("All tasks have ended")));
}

#[test]
fn a_second_ctrl_c_ends_it_at_once() {
    let project = workshop();
    let slow = Slow::new(&project);
    let mut server = watched(project);
    slow.send(&server);
    server.line_with("Dispatch AsyncTask: id=0");
    server.signal(Signal::INT);
    server.line_with("Ctrl-C again");
    server.signal(Signal::INT);
    assert_eq!(server.exit_code(), Some(130));
}

#[test]
fn the_ctrl_c_of_a_terminal_reaches_the_server_once() {
    let project = workshop();
    let slow = Slow::new(&project);
    let mut terminal =
        Terminal::run(&command(&project, "target/release/think"), &["task:start", "--watch", "--port", "0"]);
    let address = terminal.line_with("listens on ");
    let (_, address) = address.split_once("listens on ").unwrap();
    let address = address.split_once(". ").unwrap().0.to_owned();
    let task = [r#"task:send"#, "send_mail", r#"{"to":"a@example.com","content":""}"#, "--address", &address];
    Ran::of(project.command().args(task)).exits(0);
    terminal.line_with("Dispatch AsyncTask: id=0");
    terminal.interrupt();
    terminal.line_with("Ctrl-C again");
    slow.fail();
    terminal.line_with("Left for the next start: 1 tasks");
    assert_eq!(terminal.exit_code(), Some(0));
}

#[test]
fn it_ends_as_its_server_does() {
    let mut server = watched(workshop());
    server.think(&["task:stop"]).exits(0);
    assert_eq!(server.exit_code(), Some(0));

    let mut server = watched(workshop());
    kill(&server.status(), Signal::KILL);
    server.line_with("the server has ended without its goodbye: signal: 9");
    assert_eq!(server.exit_code(), Some(1));

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let project = workshop();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut command = command(&project, "target/release/think");
    let ran = Ran::of(command.args(["task:start", "--watch", "--port", &port])).exits(1);
    assert_eq!(ran.stderr.matches("error: ").count(), 1, "{}", ran.stderr);
}

/// Sends a signal to the server with this status.
fn kill(status: &Value, signal: Signal) {
    let pid = status["pid"].as_i64().unwrap();
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

#[test]
fn a_keeper_that_is_killed_leaves_no_server_behind() {
    let mut server = watched(workshop());
    server.signal(Signal::KILL);
    server.line_with("the process that kept this server in the foreground has ended");
    // Comes to an end when nobody can say anything any more.
    assert!(server.rest().iter().any(|line| line.contains("All tasks have ended")));
}

/// Has the build start another server below the keeper, and leave it; what that one says at its start.
fn second(server: &mut Server) -> String {
    for folder in ["second/config", "second/app"] {
        fs::create_dir_all(server.project.path(folder)).unwrap();
    }
    let start = format!("\"$PROGRAM\" task:start --port 0 --keeper={} &", server.pid());
    server.project.write("beside", &format!("THINK_ROOT=$PWD/second {start}\n"));
    server.project.write("unchanged", "");
    server.project.write("app/main.rs", "two");
    server.line_with("listens on")
}

#[test]
fn a_server_that_another_left_behind_is_kept_too() {
    let mut server = watched(workshop());
    second(&mut server);
    server.think(&["task:stop"]).exits(0);
    server.line_with("All tasks have ended");
    server.signal(Signal::INT);
    server.line_with("Stopping");
    server.line_with("All tasks have ended");
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn of_two_servers_the_newer_tells_how_it_ends() {
    let mut server = watched(workshop());
    let said = second(&mut server);
    let address = said.split_once("listens on ").unwrap().1.split_once(". ").unwrap().0;
    let status = server.project.think(&format!("task:status --json --address {address}")).exits(0).stdout;
    kill(&serde_json::from_str(&status).unwrap(), Signal::KILL);
    server.think(&["task:stop"]).exits(0);
    server.line_with("the server has ended without its goodbye: signal: 9");
    assert_eq!(server.exit_code(), Some(1));
}

#[test]
fn a_changed_source_is_built_and_the_next_start_does_not_build_it_again() {
    let mut server = watched(workshop());
    server.project.write("app/main.rs", "two");
    server.line_with("built from two");
    server.line_with(NEW_PROGRAM);
    server.line_with(RELOADS);
    assert_eq!(calls(&server.project), "build");
    Ran::of(command(&server.project, "think").arg("--version")).exits(0);
    assert_eq!(calls(&server.project), "build");
}

#[test]
fn a_source_that_changed_while_the_first_program_was_built_is_built_at_the_start() {
    let project = workshop();
    let modified = |file| fs::metadata(project.path(file)).unwrap().modified().unwrap();
    // The clock of the file system may stand still for some milliseconds.
    while modified("app/main.rs") <= modified("target/release/think.stamp") {
        project.write("app/main.rs", "two");
    }
    let mut server = watched(project);
    server.line_with(RELOADS);
    assert_eq!(calls(&server.project), "build");
}

#[test]
fn changed_settings_are_told_without_a_build_and_ctrl_c_ends_the_new_server() {
    let mut server = watched(workshop());
    let before = server.status()["pid"].take();
    server.project.write("config/server.toml", "# nothing\n");
    server.line_with(NEW_SETTINGS);
    server.line_with(RELOADS);
    assert_eq!(calls(&server.project), "");
    assert_ne!(server.status()["pid"], before);
    server.signal(Signal::INT);
    assert_eq!(server.exit_code(), Some(0));
    assert!(server.rest().iter().any(|line| line.contains("All tasks have ended")));
}

#[test]
fn with_settings_that_are_wrong_the_server_runs_on_and_says_so() {
    let mut server = watched(workshop());
    server.project.write("config/server.toml", "wroker_num = 1\n");
    let said = server.line_with("not reloaded");
    assert!(said.contains("wroker_num"), "{said}");
    assert!(server.connect().send("hello\n").says("Message from Server: hello"));
    server.project.write("config/server.toml", "worker_num = 1\n");
    server.line_with(RELOADS);
}

#[test]
fn a_build_that_fails_is_shown_and_the_server_runs_on() {
    let project = workshop();
    project.write("broken", "");
    let mut server = watched(project);
    server.project.write("app/main.rs", "two");
    server.line_with("error: it does not compile");
    server.line_with("the build has failed; the server runs on as it was built before");
    server.status();
    fs::remove_file(server.project.path("broken")).unwrap();
    // A new file in a new folder.
    fs::create_dir(server.project.path("app/task")).unwrap();
    server.project.write("app/task/mail.rs", "three");
    server.line_with("built from two");
    server.line_with(NEW_PROGRAM);
    server.line_with(RELOADS);
}

#[test]
fn a_program_that_cannot_be_started_is_a_build_that_has_failed() {
    let project = workshop();
    project.write("unchanged", "");
    project.write("beside", "printf '#!/bin/sh\\nexit 1\\n' >target/release/new\nchmod +x target/release/new\nmv target/release/new target/release/think");
    let mut server = watched(project);
    server.project.write("app/main.rs", "two");
    server.line_with("built from two");
    server.line_with("the build has failed");
}

#[test]
fn a_build_that_changes_nothing_is_not_told_and_settings_beside_it_are() {
    let project = workshop();
    project.write("unchanged", "");
    let mut server = watched(project);
    server.project.write("app/main.rs", "two");
    server.line_with("built from two");
    server.line_with("The program is as it was before.");
    server.project.write("app/main.rs", "three");
    server.project.write("config/client.toml", "");
    server.line_with("built from three");
    server.line_with(NEW_SETTINGS);
    server.line_with(RELOADS);
    server.signal(Signal::INT);
    assert_eq!(server.exit_code(), Some(0));
    assert!(!server.said(RELOADS));
}

#[test]
fn a_change_during_a_build_is_built_after_it() {
    let project = workshop();
    let gate = gate(&project);
    let mut server = watched(project);
    server.project.write("app/main.rs", "two");
    server.line_with("the build is under way");
    server.project.write("app/main.rs", "three");
    gate.open();
    for built in ["built from two", "built from three"] {
        server.line_with(built);
        server.line_with(NEW_PROGRAM);
        server.line_with(RELOADS);
    }
}

#[test]
fn a_build_is_given_up_when_the_server_is_stopped() {
    let project = workshop();
    let _gate = gate(&project);
    let mut server = watched(project);
    server.project.write("app/main.rs", "two");
    server.line_with("the build is under way");
    server.signal(Signal::INT);
    assert_eq!(server.exit_code(), Some(0));
    // Comes to an end when nobody can say anything any more.
    assert!(!server.rest().iter().any(|line| line.contains("built from")));
}

#[test]
fn what_is_made_while_one_works_builds_nothing() {
    let mut server = watched(workshop());
    for file in
        ["app/.main.rs.swp", "app/main.rs~", "app/4913", "target/x.rs", "runtime/x.rs", ".git/x", "notes"]
    {
        server.project.write(file, "");
    }
    // Comes after them.
    server.project.write("config/server.toml", "");
    server.line_with(NEW_SETTINGS);
    server.line_with(RELOADS);
    assert_eq!(calls(&server.project), "");
}

#[test]
fn a_folder_that_takes_the_place_of_another_is_watched_from_then_on() {
    let mut server = watched(workshop());
    fs::rename(server.project.path("app"), server.project.path("old")).unwrap();
    fs::create_dir(server.project.path("app")).unwrap();
    server.project.write("app/main.rs", "two");
    server.line_with("built from two");
    server.line_with(RELOADS);
    server.project.write("app/main.rs", "three");
    server.line_with("built from three");
}

#[test]
fn without_sources_or_a_program_made_of_them_only_the_settings_are_watched() {
    for (missing, said) in [
        ("Cargo.toml", "there are no sources here"),
        ("target/release/think.stamp", "this program is not the one that ./think builds"),
    ] {
        let project = workshop();
        fs::remove_file(project.path(missing)).unwrap();
        // One that cannot start has said so before.
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port().to_string();
        let mut start = command(&project, "target/release/think");
        let ran = Ran::of(start.args(["task:start", "--watch", "--port", &port])).exits(1);
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
        let mut server = watched(project);
        server.project.write("app/main.rs", "two");
        server.project.write("config/server.toml", "");
        server.line_with(NEW_SETTINGS);
        server.line_with(RELOADS);
        assert_eq!(calls(&server.project), "");
    }
}

#[test]
fn watching_is_for_the_foreground() {
    let ran = Project::new().think("task:start --watch -d").exits(2);
    assert!(ran.stderr.contains("--watch") && ran.stderr.contains("--daemon"), "{}", ran.stderr);
}

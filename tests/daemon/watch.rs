//! `task:start --watch`: builds, reloads, and how supervisor and server end.

mod fake_cargo;

use std::fs;
use std::net::TcpListener;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use self::fake_cargo::{build_gate, calls, command, project_with_cargo, watched};
use crate::harness::eventually::wait_until;
use crate::harness::mail::SilentMailServer;
use crate::harness::pty::Terminal;
use crate::harness::server::first_address;
use crate::harness::{Project, Ran};

/// The lines of the supervisor when it requests a reload, and that of the server after it.
const NEW_PROGRAM: &str = "There is a new program; reloading the server.";
const NEW_SETTINGS: &str = "The configuration has changed; reloading the server.";
const RELOADS: &str = "reloaded: process ";

/// The task of a mail, which runs until its mail server closes the connection.
const MAIL: [&str; 3] = ["task:send", "send_mail", r#"{"to":"a@example.com","content":""}"#];

/// A project whose mails go to a mail server that never answers.
fn project_with_silent_mail() -> (SilentMailServer, Project) {
    let (mail_server, project) = (SilentMailServer::start(), project_with_cargo());
    mail_server.configure(&project);
    (mail_server, project)
}

#[test]
fn watch_supervises_the_server_and_ends_with_ctrl_c() {
    let mut server = watched(project_with_cargo());
    assert_ne!(server.status()["pid"], server.pid());
    server.signal(Signal::INT);
    assert_eq!(server.exit_code(), Some(0));
    assert!(server.rest().iter().any(|line| line.contains("All tasks have ended")));
}

#[test]
fn watch_second_ctrl_c_ends_it_at_once() {
    let (_mail_server, project) = project_with_silent_mail();
    let mut server = watched(project);
    server.think(&MAIL).exits(0);
    server.line_with("Dispatch AsyncTask: id=0");
    server.signal(Signal::INT);
    server.line_with("Ctrl-C again");
    server.signal(Signal::INT);
    assert_eq!(server.exit_code(), Some(130));
}

#[test]
fn watch_terminal_ctrl_c_reaches_the_server_once() {
    let (mail_server, project) = project_with_silent_mail();
    let mut terminal =
        Terminal::run(&command(&project, "target/release/think"), &["task:start", "--watch", "--port", "0"]);
    let line = terminal.line_with("listens on ");
    Ran::of(project.command().args(MAIL).args(["--address", first_address(&line)])).exits(0);
    terminal.line_with("Dispatch AsyncTask: id=0");
    terminal.interrupt();
    terminal.line_with("Ctrl-C again");
    drop(mail_server.accept());
    terminal.line_with("Left for the next start: 1 task.");
    assert_eq!(terminal.exit_code(), Some(0));
}

#[test]
fn watch_ends_with_the_exit_of_its_server() {
    let mut server = watched(project_with_cargo());
    server.think(&["task:stop"]).exits(0);
    assert_eq!(server.exit_code(), Some(0));

    let mut server = watched(project_with_cargo());
    kill(&server.status(), Signal::KILL);
    server.line_with("server process exited abnormally: signal 9");
    assert_eq!(server.exit_code(), Some(1));

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let project = project_with_cargo();
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
fn watch_that_is_killed_leaves_no_server() {
    let mut server = watched(project_with_cargo());
    server.signal(Signal::KILL);
    server.line_with("the supervisor process has exited");
    // Its stderr ends with the last process that holds it.
    assert!(server.rest().iter().any(|line| line.contains("All tasks have ended")));
}

#[test]
fn watch_that_is_killed_while_its_server_stops_ends_it_at_once() {
    let (_mail_server, project) = project_with_silent_mail();
    let mut server = watched(project);
    server.think(&MAIL).exits(0);
    server.line_with("Dispatch AsyncTask: id=0");
    server.signal(Signal::TERM);
    server.line_with("Stopping");
    server.signal(Signal::KILL);
    server.line_with("ended at once");
}

#[test]
fn watch_ends_with_a_killed_server_after_reloads_too() {
    let mut server = watched(project_with_cargo());
    server.think(&["task:reload"]).exits(0);
    server.think(&["task:reload"]).exits(0);
    kill(&server.status(), Signal::KILL);
    server.line_with("server process exited abnormally: signal 9");
    assert_eq!(server.exit_code(), Some(1));
}

#[test]
fn watch_builds_a_changed_source_once() {
    let mut server = watched(project_with_cargo());
    server.project.write("app/main.rs", "two");
    server.line_with("built from two");
    server.line_with(NEW_PROGRAM);
    server.line_with(RELOADS);
    assert_eq!(calls(&server.project), "build");
    Ran::of(command(&server.project, "think").arg("--version")).exits(0);
    assert_eq!(calls(&server.project), "build");
}

#[test]
fn watch_builds_a_source_that_changed_during_the_first_build() {
    let project = project_with_cargo();
    let modified = |file| fs::metadata(project.path(file)).unwrap().modified().unwrap();
    // The clock of the file system may stand still for some milliseconds.
    wait_until("the source is newer than the program", || {
        project.write("app/main.rs", "two");
        modified("app/main.rs") > modified("target/release/think.stamp")
    });
    let mut server = watched(project);
    server.line_with(RELOADS);
    assert_eq!(calls(&server.project), "build");
}

#[test]
fn watch_reloads_on_changed_settings_without_a_build() {
    let mut server = watched(project_with_cargo());
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
fn watch_with_invalid_settings_keeps_the_server() {
    let mut server = watched(project_with_cargo());
    server.project.write("config/server.toml", "wroker_num = 1\n");
    let said = server.line_with("not reloaded");
    assert!(said.contains("wroker_num"), "{said}");
    assert!(server.connect().send("hello\n").receives("Message from Server: hello"));
    server.project.write("config/server.toml", "worker_num = 1\n");
    server.line_with(RELOADS);
}

#[test]
fn watch_with_a_failed_build_keeps_the_server() {
    let project = project_with_cargo();
    project.write("broken", "");
    let mut server = watched(project);
    server.project.write("app/main.rs", "two");
    server.line_with("error: it does not compile");
    server.line_with("the build has failed; the server goes on with the last program");
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
fn watch_counts_an_unstartable_program_as_a_failed_build() {
    let project = project_with_cargo();
    project.write("unchanged", "");
    project.write("beside", "printf '#!/bin/sh\\nexit 1\\n' >target/release/new\nchmod +x target/release/new\nmv target/release/new target/release/think");
    let mut server = watched(project);
    server.project.write("app/main.rs", "two");
    server.line_with("built from two");
    server.line_with("the build has failed");
}

#[test]
fn watch_ignores_an_unchanged_program_but_not_settings() {
    let project = project_with_cargo();
    project.write("unchanged", "");
    let mut server = watched(project);
    server.project.write("app/main.rs", "two");
    server.line_with("built from two");
    server.line_with("The build has changed nothing.");
    server.project.write("app/main.rs", "three");
    server.project.write("config/client.toml", "");
    server.line_with("built from three");
    server.line_with(NEW_SETTINGS);
    server.line_with(RELOADS);
    server.signal(Signal::INT);
    assert_eq!(server.exit_code(), Some(0));
    assert!(!server.has_printed(RELOADS));
}

#[test]
fn watch_builds_again_after_a_change_during_a_build() {
    let project = project_with_cargo();
    let gate = build_gate(&project);
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
fn watch_aborts_a_build_when_the_server_stops() {
    let project = project_with_cargo();
    let _gate = build_gate(&project);
    let mut server = watched(project);
    server.project.write("app/main.rs", "two");
    server.line_with("the build is under way");
    server.signal(Signal::INT);
    assert_eq!(server.exit_code(), Some(0));
    // Its stderr ends with the last process that holds it.
    assert!(!server.rest().iter().any(|line| line.contains("built from")));
}

#[test]
fn watch_ignores_temporary_files() {
    let mut server = watched(project_with_cargo());
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
fn watch_follows_a_replaced_folder() {
    let mut server = watched(project_with_cargo());
    fs::rename(server.project.path("app"), server.project.path("old")).unwrap();
    fs::create_dir(server.project.path("app")).unwrap();
    server.project.write("app/main.rs", "two");
    server.line_with("built from two");
    server.line_with(RELOADS);
    server.project.write("app/main.rs", "three");
    server.line_with("built from three");
}

#[test]
fn watch_without_sources_or_stamp_watches_settings_only() {
    for (missing, said) in [
        ("Cargo.toml", "there are no sources here"),
        ("target/release/think.stamp", "this program is not the one that ./think builds"),
    ] {
        let project = project_with_cargo();
        fs::remove_file(project.path(missing)).unwrap();
        // Also one that cannot start has reported it before.
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
fn watch_rejects_daemon_mode() {
    let ran = Project::new().think("task:start --watch -d").exits(2);
    assert!(ran.stderr.contains("--watch") && ran.stderr.contains("--daemon"), "{}", ran.stderr);
}

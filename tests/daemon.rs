//! The server in the background: how it is started, stopped and started again, and what stands in the way.

pub(crate) mod guard;
mod idle;
mod obstacles;
mod service;
mod swoole;
mod twice;

use std::fs::File;
use std::io::Read;
use std::net::TcpListener;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};

use self::guard::{Daemon, on_terminal, project, with_silent_mail};
use crate::harness::server::{Client, Server};
use crate::harness::{Project, Ran};

/// The exit codes that the README promises.
const NOT_RUNNING: i32 = 3;
const ALREADY_RUNNING: i32 = 4;
const INTERRUPTED: i32 = 130;

#[test]
fn the_starter_returns_when_the_server_is_ready_and_stop_when_it_has_ended() {
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
fn a_second_start_is_told_of_the_first() {
    let daemon = Daemon::start(project(), "");
    let pid = format!("pid {}", daemon.pid);
    for arguments in ["task:start -d", "task:start", "task:start -d --port 0"] {
        let second = daemon.think(arguments).exits(ALREADY_RUNNING);
        assert!(second.stderr.starts_with("error: ") && second.stderr.contains(&pid), "{}", second.stderr);
    }
    assert_eq!(daemon.status()["pid"], daemon.pid);
}

#[test]
fn a_setting_starts_it_in_the_background_and_an_option_does_not() {
    let project = project();
    let config = project.read("config/server.toml");
    project.write("config/server.toml", &format!("{config}daemonize = true\n"));
    let daemon = Daemon::started(project, "task:start");
    daemon.think("task:stop").exits(0);
    let foreground = Server::with(daemon.into_project(), "--foreground");
    assert_eq!(foreground.status()["pid"], foreground.pid());
}

#[test]
fn whatever_stands_in_the_way_is_said_by_the_starter() {
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
fn a_log_directory_that_is_missing_is_made() {
    let project = project();
    let config = project.read("config/server.toml");
    project.write("config/server.toml", &format!("{config}log_file = \"deep/down/server.log\"\n"));
    let daemon = Daemon::start(project, "");
    assert!(daemon.project.read("deep/down/server.log").contains("the task server listens on"));
}

#[test]
fn a_pid_file_that_was_left_behind_is_taken_over_and_told() {
    for (left, said) in [
        // The process that runs this test is alive, and no server.
        (std::process::id().to_string(), "is another program by now"),
        // Beyond the highest number that Linux gives.
        ("4194305".to_owned(), "has ended without its goodbye"),
        ("nonsense".to_owned(), "is no pid"),
    ] {
        let project = project();
        std::fs::create_dir(project.path("runtime")).unwrap();
        project.write("runtime/server.pid", &left);
        let stopped = project.think("task:stop").exits(NOT_RUNNING);
        assert!(stopped.stderr.contains("was left behind"), "{}", stopped.stderr);
        let daemon = Daemon::start(project, "");
        let log = daemon.project.read("runtime/server.log");
        assert!(log.contains(said), "{log}");
        assert_eq!(daemon.project.read("runtime/server.pid"), format!("{}\n", daemon.pid));
    }
}

#[test]
fn one_that_is_killed_is_not_running_and_starts_again() {
    let daemon = Daemon::start(project(), "");
    daemon.signal(Signal::KILL);
    daemon.wait();
    assert!(daemon.think("task:stop").exits(NOT_RUNNING).stderr.contains("was left behind"));
    let daemon = Daemon::start(daemon.into_project(), "");
    assert_eq!(daemon.status()["pid"], daemon.pid);
}

#[test]
fn one_that_is_stopped_while_it_starts_ends_without_having_begun() {
    let project = project();
    let config = project.read("config/server.toml");
    let fifo = project.path("held");
    project.write("config/server.toml", &format!("{config}log_file = \"{}\"\n", fifo.display()));
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    // It waits for somebody who reads its log, with its pid file in hand.
    let mut command = project.command();
    let starter = command.args(["task:start", "-d"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut stop = project.command();
    stop.arg("task:stop").stderr(Stdio::piped());
    let stop = loop {
        let mut stop = stop.spawn().unwrap();
        let mut said = [0; 64];
        // Told to stop, or not there yet.
        let count = stop.stderr.as_mut().unwrap().read(&mut said).unwrap();
        match said[..count].starts_with(b"The task server with pid") {
            true => break stop,
            false => assert_eq!(stop.wait().unwrap().code(), Some(NOT_RUNNING)),
        }
    };
    let mut log = String::new();
    File::open(&fifo).unwrap().read_to_string(&mut log).unwrap();
    let starter = starter.wait_with_output().unwrap();
    let said = String::from_utf8(starter.stderr).unwrap();
    assert_eq!(starter.status.code(), Some(INTERRUPTED), "{said}");
    assert!(said.contains("told to stop while it started"), "{said}");
    assert!(stop.wait_with_output().unwrap().status.success());
    assert!(!project.path("runtime/server.pid").exists());
}

#[test]
fn restart_starts_it_as_it_was() {
    let daemon = Daemon::start(project(), "--workers 3");
    daemon.client().send("{\"function\":\"echo\",\"args\":\"x\",\"reply\":\"result\"}\n").json();
    let daemon = daemon.restarted("task:restart");
    let status = daemon.status();
    assert_eq!((&status["workers"]["total"], &status["ledger"]["done"]), (&json!(3), &json!(1)));
}

#[test]
fn restart_starts_one_where_none_runs_and_keeps_one_whose_settings_are_broken() {
    let daemon = Daemon::started(project(), "task:restart");
    let config = daemon.project.read("config/server.toml");
    daemon.project.write("config/server.toml", &format!("{config}wroker_num = 1\n"));
    daemon.think("task:restart").exits(1);
    daemon.project.write("config/server.toml", &config);
    assert_eq!(daemon.status()["pid"], daemon.pid);
}

#[test]
fn it_outlives_its_terminal() {
    let project = project();
    let screen = on_terminal(&project, "task:start -d");
    let daemon = Daemon::found(project, &screen);
    assert_eq!(daemon.status()["pid"], daemon.pid);
    daemon.signal(Signal::HUP);
    daemon.client().send("still here\n").line();
    daemon.think("task:stop").exits(0);
}

#[test]
fn idle_connections_do_not_hold_a_stop_up() {
    let daemon = Daemon::start(project(), "");
    let mut idle: Vec<Client> = (0..20).map(|_| daemon.client()).collect();
    for client in &mut idle {
        client.send("x\n").line();
    }
    let http = daemon.client();
    daemon.think("task:stop").exits(0);
    assert!(idle.iter_mut().all(|client| client.rest().is_empty()));
    drop(http);
}

#[test]
fn stop_shows_what_it_waits_for_and_now_waits_for_nothing() {
    let (listener, daemon) = with_silent_mail();
    let (_connection, _) = listener.accept().unwrap();
    let stopped = daemon.think("task:stop --now").exits(0);
    assert!(stopped.stderr.contains("Left for its next start: 1 tasks"), "{}", stopped.stderr);

    let daemon = Daemon::start(daemon.into_project(), "");
    let (_connection, _) = listener.accept().unwrap();
    let shown: Value = serde_json::from_str(&daemon.think("task:show 0 --json").exits(0).stdout).unwrap();
    assert_eq!(shown["state"], "running");
    assert_eq!(shown["attempts"], 1, "an attempt that was given up does not count");
    let stopped = daemon.think("task:stop --grace 1s").exits(0);
    let waited = "Waiting up to 1s for running tasks: 1 of send_mail";
    assert!(stopped.stderr.contains(waited), "{}", stopped.stderr);
    assert!(stopped.stderr.contains("Left for its next start: 1 tasks"), "{}", stopped.stderr);
}

#[test]
fn a_stop_under_load_loses_no_task_that_was_acknowledged() {
    let project = project();
    let config = project.read("config/server.toml");
    project.write("config/server.toml", &format!("{config}app_log = false\n"));
    let daemon = Daemon::start(project, "");
    let clients: Vec<_> = (0..4).map(|_| daemon.client()).collect();
    let (begun, begin) = std::sync::mpsc::channel();
    let loads: Vec<_> = clients.into_iter().map(|client| guard::load(client, begun.clone())).collect();
    for _ in &loads {
        begin.recv().unwrap();
    }
    daemon.think("task:stop").exits(0);
    let acknowledged: u64 = loads.into_iter().map(|load| load.join().unwrap()).sum();
    assert!(acknowledged >= 4 * guard::ENOUGH);

    let daemon = Daemon::start(daemon.into_project(), "");
    let ledger = daemon.settled();
    assert_eq!(ledger["accepted"], acknowledged, "each acknowledged task is there, and no other");
    assert_eq!(ledger["done"], acknowledged);
}

#[test]
fn whoever_asks_by_hand_hears_of_the_end_as_lines() {
    let daemon = Daemon::start(project(), "--workers 2");
    let mut client = daemon.client();
    let first = client.send("{\"command\":\"stop\",\"id\":7}\n").json();
    assert_eq!((&first["id"], &first["result"]["phase"]), (&json!(7), &json!("stopping")));
    assert_eq!(first["result"]["arguments"], json!(["task:start", "--workers=2"]));
    let last = client.json();
    assert_eq!((&last["result"]["phase"], &last["result"]["remaining"]), (&json!("stopped"), &json!(0)));
    assert_eq!(client.rest(), "");
    daemon.wait();
    daemon.think("task:stop").exits(NOT_RUNNING);
}

#[test]
fn what_a_stop_is_told_has_to_make_sense() {
    let server = Server::start();
    for (command, said) in [
        (r#"{"command":"stop","grace":"soon"}"#, "grace"),
        (r#"{"command":"stop","grace":1e18}"#, "100 years"),
        (r#"{"command":"stop","when":"now"}"#, "when"),
    ] {
        let answer = server.connect().send(format!("{command}\n")).json();
        assert!(
            answer["code"] == "bad_request" && answer["error"].as_str().unwrap().contains(said),
            "{answer}"
        );
    }
}

#[test]
fn a_server_in_the_foreground_goes_with_its_terminal_unless_it_logs_to_a_file() {
    let mut server = Server::start();
    server.signal(Signal::HUP);
    assert_eq!(server.exit_code(), Some(0));
    let ran = Ran::of(server.project.command().args(["task:stop", "--address", &server.address]));
    ran.exits(NOT_RUNNING);
}

//! The queue's file itself: its lock, whatever name leads to it, and its loss while a server uses it.

use std::fs;
use std::os::unix::fs::symlink;

use rusqlite::Connection;
use rustix::process::Signal;
use serde_json::json;

use crate::harness::Project;
use crate::harness::client::Client;
use crate::harness::eventually::{eventually, wait_until};
use crate::harness::server::Server;

const FILE: &str = "runtime/queue.db";
const PUSH: &str = "{\"function\":\"echo\",\"args\":\"x\",\"delay\":\"1h\"}\n";

/// Pushes until one is refused; the refusal.
#[track_caller]
fn refusal(client: &mut Client) -> serde_json::Value {
    eventually("a push is refused", || {
        Some(client.send(PUSH).json()).filter(|reply| reply["status"] != "queued")
    })
}

#[track_caller]
fn wait_until_accepted(client: &mut Client) {
    wait_until("tasks are accepted again", || client.send(PUSH).json()["status"] == "queued");
}

fn readiness(server: &Server) -> String {
    let mut client = server.connect();
    client.send(format!("GET /readyz HTTP/1.1\r\nHost: {}\r\n\r\n", server.address)).line()
}

fn rename(server: &Server, from: &str, to: &str) {
    fs::rename(server.project.path(from), server.project.path(to)).unwrap();
}

#[test]
fn queue_that_is_moved_away_is_refused_by_name_until_it_is_back() {
    let mut server = Server::start();
    let mut client = server.connect();
    assert_eq!(client.send(PUSH).json()["status"], "queued");
    for file in [FILE, "runtime/queue.db-wal", "runtime"] {
        rename(&server, file, "elsewhere");
        // Nothing has to be pushed for it to be noticed.
        wait_until("the server is not ready", || readiness(&server).contains("503"));
        let refused = refusal(&mut client);
        assert_eq!(refused["code"], "storage_failed", "{refused}");
        assert!(refused["error"].as_str().unwrap().contains("queue.db"), "{refused}");
        assert_eq!(client.send("{\"command\":\"pause\",\"queue\":\"default\"}\n").json()["status"], "error");
        rename(&server, "elsewhere", file);
        wait_until("the server is ready", || readiness(&server).contains("200"));
        wait_until_accepted(&mut client);
    }
    drop(client);
    server.signal(Signal::TERM);
    let lines = server.rest();
    let count = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    assert_eq!((count("was removed or replaced"), count("are back at their places")), (3, 3), "{lines:#?}");
}

#[test]
fn queue_that_is_removed_or_replaced_accepts_nothing() {
    let server = Server::start();
    let mut client = server.connect();
    assert_eq!(client.send(PUSH).json()["status"], "queued");
    for file in [FILE, "runtime/queue.db-wal", "runtime/queue.db-shm"] {
        fs::remove_file(server.project.path(file)).unwrap();
    }
    assert_eq!(client.send(PUSH).json()["code"], "storage_failed");
    Connection::open(server.project.path(FILE)).unwrap().execute_batch("CREATE TABLE other (x)").unwrap();
    assert_eq!(client.send(PUSH).json()["code"], "storage_failed");
    let shown = server.think(&["task:status"]).exits(0).stdout;
    assert!(shown.contains("removed or replaced"), "{shown}");
}

#[test]
fn stop_saves_what_only_a_removed_log_holds() {
    let server = Server::start();
    assert_eq!(server.connect().send(PUSH).json()["status"], "queued");
    fs::remove_file(server.project.path("runtime/queue.db-wal")).unwrap();
    assert_eq!(refusal(&mut server.connect())["code"], "storage_failed");
    server.signal(Signal::TERM);
    let server = server.again("");
    assert_eq!(server.ledger()["waiting"], 1);
}

#[test]
fn tasks_that_are_missing_after_a_kill_are_said_and_their_numbers_are_not_given_again() {
    let server = Server::start();
    let mut client = server.connect();
    let accepted: Vec<_> = (0..3).map(|_| client.send(PUSH).json()["task_id"].clone()).collect();
    server.signal(Signal::KILL);
    let project = server.into_project();
    fs::remove_file(project.path("runtime/queue.db-wal")).unwrap();

    let server = Server::with(project, "");
    let next = server.connect().send(PUSH).json()["task_id"].clone();
    assert!(!accepted.contains(&next), "{next} is new beside {accepted:?}");
    let shown = server.think(&["task:status"]).exits(0).stdout;
    assert!(shown.contains("The tasks 0 to 2 were accepted and are not in the queue's file"), "{shown}");
}

#[test]
fn second_server_on_one_file_is_refused_by_whatever_name_it_has() {
    let server = Server::start();
    let original = server.project.path(FILE);
    symlink(&original, server.project.path("link.db")).unwrap();
    fs::hard_link(&original, server.project.path("hard.db")).unwrap();
    let other = Project::new();
    for queue in ["link.db", "hard.db", FILE] {
        // The lock does not depend on the file beside it.
        let _ = fs::remove_file(server.project.path("runtime/queue.db.running"));
        let settings = json!(server.project.path(queue)).to_string();
        other.write("config/server.toml", &format!("queue_file = {settings}\n"));
        let ran = other.think("task:start --port 0").exits(4);
        assert!(ran.stderr.contains("another process uses"), "{queue}: {ran:?}");
        let ran = other.think("queue:repair").exits(4);
        assert!(ran.stderr.contains("another process uses"), "{queue}: {ran:?}");
    }
    assert_eq!(server.connect().send(PUSH).json()["status"], "queued");
}

#[test]
fn repair_and_start_leave_nothing_beside_what_is_no_queue() {
    let project = Project::new();
    project.write("notes.txt", &"Dear diary, ".repeat(400));
    project.write("empty", "");
    let songs = Connection::open(project.path("songs.db")).unwrap();
    songs.execute_batch("CREATE TABLE songs (title)").unwrap();
    drop(songs);
    let before = || {
        let names = fs::read_dir(project.path("")).unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let expected = before();
    for file in ["notes.txt", "songs.db", "empty"] {
        let ran = project.think(&format!("queue:repair --file {file}")).exits(1);
        assert!(ran.stderr.contains(file), "{ran:?}");
        assert_eq!(before(), expected, "{file}");
    }
    for file in ["notes.txt", "songs.db"] {
        project.write("config/server.toml", &format!("queue_file = \"{file}\"\n"));
        project.think("task:start --port 0").exits(1);
        assert!(!project.path(&format!("{file}.running")).exists());
    }
}

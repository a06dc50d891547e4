//! Queue files and disks that cannot be used: each is reported, and left unchanged.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rusqlite::Connection;
use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;
use serde_json::json;

use crate::harness::client::Client;
use crate::harness::eventually::{eventually, wait_until};
use crate::harness::lines::Lines;
use crate::harness::process::kill;
use crate::harness::server::{Server, first_address};
use crate::harness::{Project, Ran};

const FILE: &str = "runtime/queue.db";

fn project() -> Project {
    let project = Project::new();
    fs::create_dir(project.path("runtime")).unwrap();
    project
}

/// A start that fails, names the queue file, and leaves it unchanged.
#[track_caller]
fn failed_start(project: &Project, word: &str) -> Ran {
    let before = fs::read(project.path(FILE)).unwrap();
    let ran = project.think("task:start --port 0").exits(1);
    assert!(ran.stderr.contains("queue.db") && ran.stderr.contains(word), "no {word:?} in\n{}", ran.stderr);
    assert!(ran.stdout.is_empty(), "{ran:?}");
    assert_eq!(fs::read(project.path(FILE)).unwrap(), before, "the file is unchanged");
    for rest in ["-wal", "-shm", "-journal"] {
        assert!(!project.path(&format!("{FILE}{rest}")).exists(), "{rest} is left behind");
    }
    ran
}

#[test]
fn queue_file_that_is_no_database_is_rejected_unchanged() {
    let project = project();
    project.write(FILE, &"Dear diary, ".repeat(4_000));
    failed_start(&project, "move it away");
}

#[test]
fn queue_file_of_another_program_is_rejected_unchanged() {
    let project = project();
    let connection = Connection::open(project.path(FILE)).unwrap();
    connection.execute_batch("CREATE TABLE songs (title); INSERT INTO songs VALUES ('Yesterday')").unwrap();
    drop(connection);
    failed_start(&project, "another program");
}

#[test]
fn queue_file_of_a_newer_version_is_rejected() {
    let project = end(Server::with(project(), ""));
    let connection = Connection::open(project.path(FILE)).unwrap();
    connection.pragma_update(None, "user_version", 4_711).unwrap();
    connection.pragma_update(None, "journal_mode", "DELETE").unwrap();
    drop(connection);
    let ran = failed_start(&project, "newer version");
    assert!(ran.stderr.contains("4711"), "{}", ran.stderr);
}

#[test]
fn queue_file_of_schema_3_goes_on_with_the_change_that_was_under_way() {
    let server = Server::with(project(), "");
    for _ in 0..3 {
        server.think(&["task:send", "echo", "x", "--delay", "1h"]).exits(0);
    }
    let project = end(server);
    let file = Connection::open(project.path(FILE)).unwrap();
    file.execute_batch(
        "ALTER TABLE changes DROP COLUMN function; ALTER TABLE changes DROP COLUMN cause;
         INSERT INTO changes VALUES (1, 'flush', NULL, NULL, -1, 2);
         PRAGMA user_version = 3;",
    )
    .unwrap();
    drop(file);
    let server = Server::with(project, "");
    wait_until("the flush goes on", || server.ledger()["cancelled"] == 2);
    assert_eq!(server.ledger()["waiting"], 1);
}

#[test]
fn queue_file_that_is_truncated_is_rejected_with_advice() {
    let server = Server::with(project(), "");
    let mut client = server.connect();
    for _ in 0..20 {
        let request = json!({"function": "echo", "args": "x".repeat(50_000), "delay": "1h"});
        assert_eq!(client.send(format!("{request}\n")).json()["status"], "queued");
    }
    drop(client);
    let project = end(server);
    let file = fs::OpenOptions::new().write(true).open(project.path(FILE)).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    let ran = failed_start(&project, "queue:check");
    assert!(ran.stderr.contains("queue:repair"), "{}", ran.stderr);
}

#[test]
fn queue_file_locked_by_another_process_is_left_alone() {
    let project = project();
    let lock = fs::File::create(project.path(&format!("{FILE}.running"))).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let ran = project.think("task:start --port 0");
    let ran = ran.exits(4);
    assert!(ran.stderr.contains("another process") && ran.stderr.contains("queue.db"), "{ran:?}");
    assert!(!project.path(FILE).exists(), "nothing is made beside another process");
}

#[test]
fn second_server_on_one_queue_names_the_first() {
    let server = Server::with(project(), "");
    let ran = server.project.think("task:start --port 0");
    let ran = ran.exits(4);
    assert!(ran.stderr.contains(&format!("pid {}", server.pid())), "{ran:?}");
}

#[test]
fn unwritable_queue_folder_is_named() {
    // Root may write anywhere, but not below a file.
    let project = project();
    project.write("runtime/blocked", "");
    project.write("config/server.toml", "queue_file = \"runtime/blocked/queue.db\"\n");
    let ran = project.think("task:start --port 0").exits(1);
    assert!(ran.stderr.contains("runtime/blocked"), "{ran:?}");
    assert_eq!(project.read("runtime/blocked"), "");
}

/// A start in a mount namespace of its own, after this mount; `None` where mounting is not permitted.
pub(super) fn with_mount(project: &Project, mount: &str) -> Option<Command> {
    let ways: [&[&str]; 2] = [&["--mount"], &["--map-root-user", "--mount"]];
    let way = ways.into_iter().find(|way| {
        let mut probe = Command::new("unshare");
        probe.args(*way).args(["sh", "-c", "mount -t tmpfs none /mnt"]);
        probe.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        probe.spawn().is_ok_and(|probe| Ran::finish(probe).code == Some(0))
    })?;
    let mut command = project.command();
    let program = command.get_program().to_owned();
    command = Command::new("unshare");
    command.current_dir(project.path("")).env("THINK_ROOT", project.path("")).env_remove("NO_COLOR");
    command.args(way).args(["sh", "-c", &format!("{mount} && exec \"$@\"")]).arg("sh").arg(program);
    command.args(["task:start", "--port", "0"]);
    Some(command)
}

#[test]
fn read_only_queue_folder_is_named() {
    let project = project();
    let Some(mut command) = with_mount(&project, "mount -t tmpfs -o ro none runtime") else {
        return unwritable_queue_folder_is_named();
    };
    let ran = Ran::of(&mut command).exits(1);
    assert!(ran.stderr.contains("queue.db"), "{ran:?}");
}

#[test]
fn full_disk_rejects_tasks_until_there_is_space() {
    let project = project();
    let mount = "mount -t tmpfs -o size=48m none runtime && head -c 24M /dev/zero > runtime/filler";
    // Where mounting is not permitted, the disk in memory of power_cut.rs fills up.
    let Some(mut command) = with_mount(&project, mount) else { return };
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = Lines::of(child.stderr.take().unwrap());
    let mut client = Client::connect(first_address(&lines.line_with("listens on ")));

    let request = format!("{}\n", json!({"function": "echo", "args": "x".repeat(400_000), "delay": "1h"}));
    let refused = eventually("the disk is full", || {
        Some(client.send(&request).json()).filter(|reply| reply["status"] != "queued")
    });
    assert_eq!(refused["code"], "storage_full", "{refused}");
    let status = client.status();
    assert!(status["storage_error"].as_str().is_some_and(|trouble| trouble.contains("full")), "{status}");

    let filler = format!("/proc/{}/root{}", child.id(), project.path("runtime/filler").display());
    fs::remove_file(Path::new(&filler)).unwrap();
    // The server tries the disk again after a moment.
    wait_until("tasks are accepted again", || client.send(&request).json()["status"] == "queued");
    let status = client.status();
    assert!(status["storage_error"].is_null(), "{status}");
    kill(&mut child);
}

fn stop(server: &mut Server) {
    server.signal(Signal::INT);
    assert_eq!(server.exit_code(), Some(0));
}

/// Ends a server and leaves its project.
fn end(mut server: Server) -> Project {
    stop(&mut server);
    std::mem::replace(&mut server.project, Project::new())
}

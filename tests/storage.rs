//! Disks and files that are not as they should be: each is met with a clear word, and left as it was.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rusqlite::Connection;
use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;
use serde_json::json;

use crate::harness::server::{Server, lines_of};
use crate::harness::{Project, Ran};

const FILE: &str = "runtime/queue.db";

fn project() -> Project {
    let project = Project::new();
    fs::create_dir(project.path("runtime")).unwrap();
    project
}

/// A start that fails, names the queue's file, and leaves its bytes as they were.
#[track_caller]
fn refused(project: &Project, word: &str) -> Ran {
    let before = fs::read(project.path(FILE)).unwrap();
    let ran = project.think("task:start --port 0").exits(1);
    assert!(ran.stderr.contains("queue.db") && ran.stderr.contains(word), "no {word:?} in\n{}", ran.stderr);
    assert!(ran.stdout.is_empty(), "{ran:?}");
    assert_eq!(fs::read(project.path(FILE)).unwrap(), before, "the file is as it was");
    for rest in ["-wal", "-shm", "-journal"] {
        assert!(!project.path(&format!("{FILE}{rest}")).exists(), "{rest} is left behind");
    }
    ran
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let project = project();
    project.write(FILE, &"Dear diary, ".repeat(4_000));
    refused(&project, "move it away");
}

#[test]
fn a_database_of_another_program_is_refused_and_left_alone() {
    let project = project();
    let connection = Connection::open(project.path(FILE)).unwrap();
    connection.execute_batch("CREATE TABLE songs (title); INSERT INTO songs VALUES ('Yesterday')").unwrap();
    drop(connection);
    refused(&project, "another program");
}

#[test]
fn a_file_of_a_newer_version_is_refused_by_name() {
    let project = end(Server::with(project(), ""));
    let connection = Connection::open(project.path(FILE)).unwrap();
    connection.pragma_update(None, "user_version", 4_711).unwrap();
    connection.pragma_update(None, "journal_mode", "DELETE").unwrap();
    drop(connection);
    let ran = refused(&project, "newer version");
    assert!(ran.stderr.contains("4711"), "{}", ran.stderr);
}

#[test]
fn a_truncated_file_is_refused_with_the_commands_that_help() {
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
    let ran = refused(&project, "queue:check");
    assert!(ran.stderr.contains("queue:repair"), "{}", ran.stderr);
}

#[test]
fn a_queue_that_another_process_holds_is_left_to_it() {
    let project = project();
    let lock = fs::File::create(project.path(&format!("{FILE}.running"))).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let ran = project.think("task:start --port 0");
    let ran = ran.exits(4);
    assert!(ran.stderr.contains("another process") && ran.stderr.contains("queue.db"), "{ran:?}");
    assert!(!project.path(FILE).exists(), "nothing is made beside another process");
}

#[test]
fn a_second_server_on_one_queue_names_the_first() {
    let server = Server::with(project(), "");
    let ran = server.project.think("task:start --port 0");
    let ran = ran.exits(4);
    assert!(ran.stderr.contains(&format!("pid {}", server.pid())), "{ran:?}");
}

#[test]
fn a_folder_that_cannot_be_written_to_is_named() {
    // Whoever is root writes wherever he likes, but not below a file.
    let project = project();
    project.write("runtime/blocked", "");
    project.write("config/server.toml", "queue_file = \"runtime/blocked/queue.db\"\n");
    let ran = project.think("task:start --port 0").exits(1);
    assert!(ran.stderr.contains("runtime/blocked"), "{ran:?}");
    assert_eq!(project.read("runtime/blocked"), "");
}

/// A shell of its own mounts; `None` where the machine does not let anybody.
fn mounting(project: &Project, mount: &str) -> Option<Command> {
    let ways: [&[&str]; 2] = [&["--mount"], &["--map-root-user", "--mount"]];
    let way = ways.into_iter().find(|way| {
        let mut probe = Command::new("unshare");
        probe.args(*way).args(["sh", "-c", "mount -t tmpfs none /mnt"]);
        probe.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
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
fn a_read_only_folder_is_named() {
    let project = project();
    let Some(mut command) = mounting(&project, "mount -t tmpfs -o ro none runtime") else {
        return a_folder_that_cannot_be_written_to_is_named();
    };
    let ran = Ran::of(&mut command).exits(1);
    assert!(ran.stderr.contains("queue.db"), "{ran:?}");
}

#[test]
fn a_disk_that_fills_up_refuses_tasks_until_there_is_room_again() {
    let project = project();
    let mount = "mount -t tmpfs -o size=48m none runtime && head -c 24M /dev/zero > runtime/filler";
    // Where nobody may mount, the disk over memory in power_cut.rs is the one that fills up.
    let Some(mut command) = mounting(&project, mount) else { return };
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = lines_of(child.stderr.take().unwrap());
    let line = lines.iter().find(|line| line.contains("listens on ")).expect("the server starts");
    let address = line.split_once("listens on ").unwrap().1.split_once(". ").unwrap().0.to_owned();
    let mut client = crate::harness::server::Client::connect(&address);

    let request = format!("{}\n", json!({"function": "echo", "args": "x".repeat(400_000), "delay": "1h"}));
    let refused = loop {
        let reply = client.send(&request).json();
        if reply["status"] != "queued" {
            break reply;
        }
    };
    assert_eq!(refused["code"], "storage_full", "{refused}");
    let status = client.send("{\"command\":\"status\"}\n").json();
    assert!(
        status["result"]["storage_error"].as_str().is_some_and(|trouble| trouble.contains("full")),
        "{status}"
    );

    let filler = format!("/proc/{}/root{}", child.id(), project.path("runtime/filler").display());
    fs::remove_file(Path::new(&filler)).unwrap();
    // It asks the disk again after a moment.
    while client.send(&request).json()["status"] != "queued" {
        std::thread::yield_now();
    }
    let status = client.send("{\"command\":\"status\"}\n").json();
    assert!(status["result"]["storage_error"].is_null(), "{status}");
    child.kill().unwrap();
    child.wait().unwrap();
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

//! Disks that are small, full, or damaged: what is accepted, and what is said.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use serde_json::{Value, json};

use super::queue_file::with_mount;
use crate::harness::Project;
use crate::harness::client::Client;
use crate::harness::eventually::{eventually, wait_until};
use crate::harness::lines::Lines;
use crate::harness::mail::SilentMailServer;
use crate::harness::process::kill;
use crate::harness::server::{Server, first_address};

fn project_with(settings: &str) -> Project {
    let project = Project::with_settings(settings);
    fs::create_dir(project.path("runtime")).unwrap();
    project
}

/// A server whose folder `runtime` is a small disk.
struct SmallDisk {
    _project: Project,
    child: Child,
    lines: Lines,
    client: Client,
}

impl SmallDisk {
    /// `None` where mounting is not permitted.
    fn start(megabytes: u32, settings: &str) -> Option<Self> {
        let project = project_with(settings);
        let command = with_mount(&project, &format!("mount -t tmpfs -o size={megabytes}m none runtime"))?;
        Some(Self::of(project, command))
    }

    fn of(project: Project, mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = Lines::of(child.stderr.take().unwrap());
        let client = Client::connect(first_address(&lines.line_with("listens on ")));
        Self { _project: project, child, lines, client }
    }

    /// Sends one task of so many bytes.
    fn send(&mut self, bytes: usize, delay: &str) -> Value {
        let task = json!({"function": "echo", "args": "x".repeat(bytes), "delay": delay});
        self.client.send(format!("{task}\n")).json()
    }

    /// Sends tasks that wait until the disk is full.
    fn fill(&mut self) {
        let refused = eventually("the disk is full", || {
            Some(self.send(100_000, "1h")).filter(|reply| reply["status"] != "queued")
        });
        assert_eq!(refused["code"], "storage_full", "{refused}");
    }

    fn wait_until_accepted(&mut self, what: &str) {
        wait_until(what, || self.send(10, "1h")["status"] == "queued");
        assert!(self.client.status()["storage_error"].is_null());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

#[test]
fn small_disk_takes_many_times_its_size_one_after_the_other() {
    for megabytes in [16, 32] {
        let Some(mut disk) = SmallDisk::start(megabytes, "retention_count = 10\napp_log = false\n") else {
            return;
        };
        for task in 0..megabytes * 30 {
            let reply = disk.send(100_000, "0s");
            assert_eq!(reply["status"], "queued", "task {task} on {megabytes} MB: {reply}");
            // The tasks before it have gone from the disk when it has.
            if task % 20 == 0 {
                wait_until("the tasks end", || disk.client.status()["ledger"]["waiting"] == 0);
            }
        }
    }
}

#[test]
fn small_disk_that_is_filled_again_and_again_accepts_tasks_again_each_time() {
    let Some(mut disk) = SmallDisk::start(24, "retention_count = 10\napp_log = false\n") else { return };
    for round in 0..8 {
        disk.fill();
        let flushed = disk.client.send("{\"command\":\"flush\"}\n").json();
        assert!(flushed["error"].is_null(), "round {round}: {flushed}");
        disk.wait_until_accepted(&format!("tasks are accepted in round {round}"));
    }
}

#[test]
fn small_disk_with_room_again_accepts_tasks_after_a_restart_too() {
    let project = project_with("");
    let mount = "mount -t tmpfs -o size=40m none runtime && head -c 16M /dev/zero > runtime/filler";
    let program = project.command().get_program().to_str().unwrap().to_owned();
    // The second server finds the disk that the first one has left.
    let both = format!("{mount} && {program} task:start --port 0; rm runtime/filler");
    let Some(command) = with_mount(&project, &both) else { return };
    let mut disk = SmallDisk::of(project, command);
    disk.fill();
    let pid = disk.client.status()["pid"].as_i64().unwrap();
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    disk.client = Client::connect(first_address(&disk.lines.line_with("listens on ")));
    disk.wait_until_accepted("tasks are accepted after a restart");
}

#[test]
fn full_disk_has_the_ends_of_running_tasks_still_written() {
    let project = project_with("");
    let mail_server = SilentMailServer::start();
    mail_server.configure(&project);
    let Some(command) = with_mount(&project, "mount -t tmpfs -o size=24m none runtime") else { return };
    let mut disk = SmallDisk::of(project, command);
    let mail = r#"{"function":"send_mail","args":{"to":"b@example.com","content":"x"},"attempts":1}"#;
    for _ in 0..4 {
        assert_eq!(disk.client.send(format!("{mail}\n")).json()["status"], "queued");
    }
    let connections: Vec<_> = (0..4).map(|_| mail_server.accept()).collect();
    disk.fill();
    drop(connections);
    wait_until("the mails have failed", || disk.client.status()["ledger"]["failed"] == 4);
    // What is counted is also in the file: nothing is on its way when this is answered.
    let listed = disk.client.send("{\"command\":\"list\",\"state\":\"failed\",\"limit\":100}\n").json();
    assert_eq!(listed["result"].as_array().map(Vec::len), Some(4), "{listed}");
}

#[test]
fn server_says_at_its_start_that_acknowledged_tasks_are_lost_with_a_damaged_log() {
    let mut server = Server::with(project_with(""), "");
    let mut client = server.connect();
    for _ in 0..40 {
        let sent = client.send("{\"function\":\"echo\",\"args\":\"x\",\"delay\":\"1h\"}\n").json();
        assert_eq!(sent["status"], "queued");
    }
    server.signal(Signal::KILL);
    server.exit_code();
    let log = server.project.path("runtime/queue.db-wal");
    let mut bytes = fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&log, bytes).unwrap();

    let mut server = server.again("");
    let warning = server.status()["storage_warning"].as_str().unwrap_or_default().to_owned();
    assert!(warning.contains("is damaged at byte") && warning.contains("acknowledged"), "{warning}");
    assert!(server.project.path("runtime/queue.db-wal.damaged").exists());
    let shown = server.think(&["task:status"]).exits(0).stdout;
    assert!(shown.contains("is damaged at byte"), "{shown}");
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
    assert!(Path::new(&server.project.path("runtime/queue.db")).exists());
}

/// More than one file of the queue holds at this size in all.
const FILE_SIZE: u64 = 16 << 20;

#[test]
fn file_that_may_not_grow_counts_as_a_full_disk_until_it_may() {
    let project = project_with("app_log = false\n");
    let mut command = project.command_after(&format!("ulimit -S -f {}", FILE_SIZE / 512));
    command.args(["task:start", "--port", "0"]);
    let server = Server::of(project, &mut command);
    let mut client = server.connect();
    let task = json!({"function": "echo", "args": "x".repeat(100_000), "delay": "1h"});
    let mut accepted = 0;
    let refused = eventually("the file may not grow", || {
        let reply = client.send(format!("{task}\n")).json();
        accepted += u64::from(reply["status"] == "queued");
        Some(reply).filter(|reply| reply["status"] != "queued")
    });
    assert_eq!(refused["code"], "storage_full", "{refused}");
    assert!(accepted * 100_000 > FILE_SIZE / 2, "after {accepted} tasks");
    let pid = Pid::from_raw(server.pid() as i32);
    let limit = Rlimit { current: None, maximum: None };
    prlimit(pid, Resource::Fsize, limit).unwrap();
    wait_until("tasks are accepted again", || {
        let is_accepted = client.send(format!("{task}\n")).json()["status"] == "queued";
        accepted += u64::from(is_accepted);
        is_accepted
    });
    assert!(client.status()["storage_error"].is_null());
    server.signal(Signal::KILL);
    assert_eq!(server.again("").ledger()["waiting"], accepted);
}

//! Changes of many tasks on a disk that gets full meanwhile: all of a change happens, or nothing of it.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::queue_file::with_mount;
use crate::harness::Project;
use crate::harness::client::Client;
use crate::harness::eventually::wait_until;
use crate::harness::lines::Lines;
use crate::harness::metrics::{assert_balanced, balance};
use crate::harness::process::kill;
use crate::harness::server::first_address;

/// Enough for many steps.
const MANY: u64 = 12_000;
/// The least number of looks at the counts while the disk is full, and the time for a change to meet that.
const LOOKS: usize = 10;
const MEETING_TIME: Duration = Duration::from_secs(1);
const SETTINGS: &str = "app_log = false\nretention_count = 10000000\n";

/// A server on a small disk, which another one follows when it is killed.
struct FullDisk {
    project: Project,
    child: std::process::Child,
    lines: Lines,
    address: String,
    client: Client,
    server: Pid,
    /// The number of changes during which the disk was full.
    was_full: usize,
}

impl FullDisk {
    /// `None` where mounting is not permitted.
    fn start() -> Option<Self> {
        let project = Project::with_settings(SETTINGS);
        fs::create_dir(project.path("runtime")).unwrap();
        let program = project.command().get_program().to_str().unwrap().to_owned();
        let server = format!("{program} task:start --port 0");
        let script =
            format!("mount -t tmpfs -o size=40m none runtime && {{ {server}; {server}; {server}; true; }}");
        let mut command = with_mount(&project, &script)?;
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = Lines::of(child.stderr.take().unwrap());
        let address = first_address(&lines.line_with("listens on ")).to_owned();
        let mut client = Client::connect(&address);
        let server = pid_of(&mut client);
        Some(Self { project, child, lines, address, client, server, was_full: 0 })
    }

    fn ask(&mut self, request: &Value) -> Value {
        self.client.send(format!("{request}\n")).json()
    }

    fn ledger(&mut self) -> Value {
        let ledger = self.client.status()["ledger"].take();
        assert_balanced(&ledger);
        ledger
    }

    fn filler(&self) -> PathBuf {
        let path = self.project.path("runtime/filler");
        format!("/proc/{}/root{}", self.child.id(), path.display()).into()
    }

    /// Takes all the room that the disk has left.
    fn fill(&self) {
        let mut filler = File::create(self.filler()).unwrap();
        for block in [1 << 16, 1 << 12] {
            while filler.write_all(&vec![0; block]).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn kill(&mut self) {
        kill_process(self.server, Signal::KILL).unwrap();
        self.address = first_address(&self.lines.line_with("listens on ")).to_owned();
        self.client = Client::connect(&self.address);
        self.server = pid_of(&mut self.client);
    }

    /// The tasks of a batch that have ended, by its own count.
    fn ended_of(&mut self, batch: u64) -> u64 {
        let info = self.ask(&json!({"command": "batch", "batch": batch}))["result"].take();
        let count = |name: &str| info[name].as_u64().unwrap();
        let ended = count("done") + count("failed") + count("cancelled") + count("expired");
        assert!(ended <= count("total"), "{info}");
        ended
    }

    /// A sealed batch of many tasks of a paused queue.
    fn batch_of_many(&mut self) -> u64 {
        let open = json!({"command": "open_batch", "name": "many", "function": "echo"});
        let batch = self.ask(&open)["result"]["batch_id"].as_u64().unwrap();
        let before = self.ledger()["waiting"].as_u64().unwrap();
        let task = json!({"function": "echo", "args": "x", "reply": "none", "batch": batch});
        self.client.send(format!("{task}\n").repeat(MANY as usize));
        wait_until("they are accepted", || self.ledger()["waiting"] == before + MANY);
        assert_eq!(self.ask(&json!({"command": "seal_batch", "batch": batch}))["status"], "ok");
        batch
    }

    /// Carries out a change on the full disk, and what is left of it once there is room; `count` is what it
    /// brings from one number to another.
    fn change(
        &mut self,
        request: &Value,
        is_killed: bool,
        (from, to): (u64, u64),
        count: fn(&mut Self) -> u64,
    ) {
        assert_eq!(count(self), from, "before {request}");
        self.fill();
        let mut asking = Client::connect(&self.address);
        asking.send(format!("{request}\n"));
        let (begin, mut looks, mut is_full) = (Instant::now(), 0, false);
        while looks < LOOKS || !is_full && begin.elapsed() < MEETING_TIME {
            let found = count(self);
            assert!((from.min(to)..=from.max(to)).contains(&found), "{found} during {request}");
            is_full |= !self.client.status()["storage_error"].is_null();
            looks += 1;
        }
        self.was_full += usize::from(is_full);
        let reply = if is_killed {
            self.kill();
            None
        } else {
            Some(asking.line())
        };
        self.make_room();
        wait_until("no change is under way", || {
            let changes = self.ask(&json!({"command": "changes"}));
            changes["result"].as_array().is_some_and(Vec::is_empty) && self.is_in_order()
        });
        let found = count(self);
        let is_refused = |reply: &String| !reply.contains("\"ok\"") && !reply.contains("others follow");
        if found == from && reply.as_ref().is_none_or(is_refused) {
            // Not even its beginning found room.
            let done = self.ask(request);
            assert_eq!(done["status"], "ok", "{done}");
            assert_eq!(count(self), to, "after {request}");
            return;
        }
        assert_eq!(found, to, "after {request}, whose reply was {reply:?}");
    }

    fn is_in_order(&mut self) -> bool {
        let status = self.client.status();
        balance(&status["ledger"]).unwrap();
        status["storage_error"].is_null()
    }
}

impl Drop for FullDisk {
    /// The shell first, which would start another server.
    fn drop(&mut self) {
        kill(&mut self.child);
        let _ = kill_process(self.server, Signal::KILL);
    }
}

fn pid_of(client: &mut Client) -> Pid {
    client.status()["pid"].as_i64().and_then(|pid| Pid::from_raw(pid as i32)).unwrap()
}

fn cancelled(disk: &mut FullDisk) -> u64 {
    disk.ledger()["cancelled"].as_u64().unwrap()
}

fn waiting(disk: &mut FullDisk) -> u64 {
    disk.ledger()["waiting"].as_u64().unwrap()
}

fn listed(disk: &mut FullDisk) -> u64 {
    let list = disk.ask(&json!({"command": "list", "state": "cancelled", "limit": 1}));
    let is_empty = list["result"].as_array().is_some_and(Vec::is_empty);
    if is_empty { 0 } else { 1 }
}

fn play(kills: [bool; 4]) {
    let Some(mut disk) = FullDisk::start() else { return };
    assert_eq!(disk.ask(&json!({"command": "pause", "queue": "default"}))["status"], "ok");
    let batch = disk.batch_of_many();
    disk.change(&json!({"command": "cancel", "batch": batch}), kills[0], (0, MANY), |disk| {
        disk.ended_of(1);
        cancelled(disk)
    });
    assert_eq!(disk.ended_of(batch), MANY);
    disk.change(&json!({"command": "retry", "batch": batch}), kills[1], (0, MANY), waiting);
    disk.change(&json!({"command": "flush"}), kills[2], (MANY, 0), waiting);
    let batch = disk.batch_of_many();
    assert_eq!(disk.ask(&json!({"command": "cancel", "batch": batch}))["status"], "ok");
    disk.change(&json!({"command": "forget", "batch": batch}), kills[3], (1, 0), listed);
    assert_eq!(cancelled(&mut disk), 2 * MANY);
    assert!(disk.was_full > 0, "it gets full during some of them");
}

#[test]
fn changes_of_many_tasks_on_a_full_disk_are_whole_once_there_is_room() {
    play([false; 4]);
}

#[test]
fn changes_of_many_tasks_on_a_full_disk_are_whole_after_kills() {
    play([true, false, true, false]);
    play([false, true, false, true]);
}

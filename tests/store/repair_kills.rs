//! A repair that is killed at any moment: the next start finds every task, after another repair if need be.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::process::Signal;

use crate::harness::process::{kill, wait};
use crate::harness::server::Server;
use crate::harness::{Project, variable};

/// The tasks of the queue.
const TASKS: usize = 2_000;
/// The number of kills, unless the variable `REPAIR_KILLS` has another one.
const KILLS: usize = 16;

/// The queue of a server that was killed: part of it is in the log.
struct Queue(Vec<(PathBuf, Vec<u8>)>);

impl Queue {
    fn make(project: Project) -> (Self, Project) {
        let server = Server::with(project, "");
        let task = "{\"function\":\"echo\",\"args\":\"x\",\"delay\":\"1day\"}\n";
        let mut client = server.connect();
        client.send(task.repeat(TASKS));
        (0..TASKS).for_each(|_| assert_eq!(client.json()["status"], "queued"));
        server.signal(Signal::KILL);
        let project = server.into_project();
        let files = ["runtime/queue.db", "runtime/queue.db-wal"].map(|file| project.path(file));
        let files = files.map(|file| (file.clone(), fs::read(file).unwrap()));
        (Self(files.into()), project)
    }

    /// Puts the queue at its place, and nothing else beside it.
    fn restore(&self, project: &Project) {
        for entry in fs::read_dir(project.path("runtime")).unwrap() {
            let path = entry.unwrap().path();
            if path.to_string_lossy().contains("queue.db") {
                fs::remove_file(path).unwrap();
            }
        }
        self.0.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    }
}

/// Repairs the queue until the moment of the kill; `false` if the repair was done before.
fn repair_until(project: &Project, is_time: impl Fn() -> bool) -> bool {
    let mut command = project.command();
    command.args(["queue:repair"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut repair = command.spawn().unwrap();
    while !is_time() {
        if repair.try_wait().unwrap().is_some() {
            return false;
        }
        std::hint::spin_loop();
    }
    kill(&mut repair);
    wait(&mut repair).code().is_none()
}

#[test]
fn killed_repair_loses_nothing() {
    let (queue, mut project) = Queue::make(Project::new());
    queue.restore(&project);
    let begin = Instant::now();
    project.think("queue:repair").exits(0);
    let length = begin.elapsed();
    let mut random = Rng::new();
    let [mut cut, mut went_on] = [0, 0];
    let kills = variable("REPAIR_KILLS").map_or(KILLS, |kills| kills.parse().expect("REPAIR_KILLS"));
    for round in 0..kills {
        queue.restore(&project);
        let begin = Instant::now();
        let finished = project.path("runtime/queue.db.repaired");
        let is_cut = if round % 2 == 0 {
            let time = length.mul_f64(random.f64());
            repair_until(&project, || begin.elapsed() > time)
        } else {
            // Between the renames at its end.
            let pause = Duration::from_micros(random.u64(..3_000));
            let seen = std::cell::Cell::new(None);
            repair_until(&project, || {
                if seen.get().is_none() && finished.exists() {
                    seen.set(Some(Instant::now()));
                }
                seen.get().is_some_and(|seen: Instant| seen.elapsed() > pause)
            })
        };
        cut += usize::from(is_cut);
        if finished.exists() {
            let refused = project.think("task:start --port 0").exits(1);
            assert!(refused.stderr.contains("queue:repair"), "{refused:?}");
            project.think("queue:repair").exits(0);
            went_on += 1;
        }
        let server = Server::with(project, "");
        assert_eq!(server.ledger()["waiting"], TASKS, "in round {round}");
        server.signal(Signal::KILL);
        project = server.into_project();
        project.think("queue:check").exits(0);
    }
    assert!(cut > 0, "some repairs are killed");
    assert!(went_on > 0 || kills < KILLS, "some are killed between their renames");
}

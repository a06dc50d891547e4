//! Child processes that are replaced: after so many tasks, by a reload, and at a stop.

use std::path::Path;

use super::*;
use crate::harness::daemon::{load, project_with};
use crate::harness::process::install;

#[test]
fn processes_are_replaced_after_so_many_tasks_without_losing_one() {
    const TASKS: usize = 60;
    for most in [1, 4] {
        let settings = CRASH.replace("isolated_worker_num = 1", "isolated_worker_num = 2");
        let server = Server::with_settings(&format!("{settings}task_max_request = {most}\n"));
        let mut client = server.connect();
        let line = format!("{}\n", json!({"function": "crash", "args": {"how": "none"}, "reply": "result"}));
        client.send(line.repeat(TASKS));
        let mut of_process: BTreeMap<u64, usize> = BTreeMap::new();
        for _ in 0..TASKS {
            let end = client.json();
            assert_eq!(end["status"], "done", "{end}");
            *of_process.entry(end["result"].as_u64().unwrap()).or_default() += 1;
        }
        assert!(of_process.values().all(|count| *count <= most), "{most}: {of_process:?}");
        for id in 0..TASKS as u64 {
            let task = show(&server, id);
            assert_eq!((&task["attempts"], &task["crashes"]), (&json!(1), &json!(0)), "{task}");
        }
        let program = server.status()["programs"][0].clone();
        assert_eq!((&program["restarts"], &program["error"]), (&json!(0), &Value::Null), "{program}");
        wait_until("those that were replaced end", || server.status()["programs"][0]["running"] == 2);
    }
}

#[test]
fn processes_are_those_of_the_running_program_also_when_its_file_is_another() {
    let project = Project::with_settings(CRASH);
    let program = project.path("think");
    install(Path::new(env!("CARGO_BIN_EXE_think")), &program);
    let mut command = project.command_by(program.to_str().unwrap());
    let server = Server::of(project, command.args(["task:start", "--port", "0"]));
    run(&server, &crash("none"));
    fs::remove_file(&program).unwrap();
    server.project.write("think", "#!/bin/sh\nexit 1\n");
    kill_process(busy_or_idle(&server), Signal::KILL).unwrap();
    assert_eq!(run(&server, &crash("none"))["state"], "done");
    assert_eq!(
        fs::read_to_string(format!("/proc/{}/comm", busy_or_idle(&server).as_raw_nonzero())).unwrap(),
        "isolated#1\n"
    );
}

#[test]
fn drained_process_is_replaced() {
    let server = Server::with_settings(CRASH);
    let first = run(&server, &crash("none"))["result"].clone();
    server.think(&["task:workers", "--drain", "isolated#1"]).exits(0);
    let second = run(&server, &crash("none"));
    assert_eq!((&second["state"], &second["attempts"]), (&json!("done"), &json!(1)));
    assert_ne!(second["result"], first);
    assert_eq!(server.status()["programs"][0]["restarts"], 0);
}

/// A daemon whose `echo` runs in two child processes, which have joined.
fn daemon_with_echo() -> (Daemon, Vec<Pid>) {
    let daemon = Daemon::start(project_with("isolated = [\"echo\"]\nisolated_worker_num = 2\n"), "");
    let children = joined(&daemon);
    (daemon, children)
}

#[track_caller]
fn joined(daemon: &Daemon) -> Vec<Pid> {
    eventually("both have joined", || {
        Some(children(&mut daemon.client())).filter(|children| children.len() == 2)
    })
}

#[test]
fn reload_and_stop_under_load_lose_no_task_and_leave_no_process() {
    let (mut daemon, mut old) = daemon_with_echo();
    let mut acknowledged = 0;
    for _ in 0..2 {
        let (begun, has_begun) = std::sync::mpsc::channel();
        let load = load(daemon.client(), begun);
        has_begun.recv().unwrap();
        daemon.think("task:reload").exits(0);
        acknowledged += load.join().unwrap();
        daemon.follow_reload();
        all_end(&old);
        old = joined(&daemon);
    }
    let (begun, has_begun) = std::sync::mpsc::channel();
    let load = load(daemon.client(), begun);
    has_begun.recv().unwrap();
    daemon.think("task:stop").exits(0);
    acknowledged += load.join().unwrap();
    daemon.wait();
    all_end(&old);
    let daemon = Daemon::start(daemon.into_project(), "");
    let ledger = daemon.idle_ledger();
    assert!(ledger["done"].as_u64().unwrap() >= acknowledged, "{acknowledged}: {ledger}");
    assert_eq!((&ledger["failed"], &ledger["cancelled"]), (&json!(0), &json!(0)), "{ledger}");
    assert!(!daemon.project.read("runtime/server.log").contains("The process of the attempt"));
}

#[test]
fn stop_runs_the_due_tasks_of_a_store_that_does_not_survive() {
    const TASKS: usize = 100;
    let mut server = Server::with_settings(&format!("{CRASH}durability = \"memory\"\n"));
    run(&server, &crash("none"));
    let mut client = server.connect();
    client.send(format!("{}\n", crash("none")).repeat(TASKS));
    client.find_json("the last one is accepted", |reply| {
        reply["task_id"] == TASKS && reply["status"] == "queued"
    });
    server.signal(Signal::TERM);
    let rest = client.rest();
    let printed = server.rest().join("\n");
    assert!(!rest.contains("error"), "{rest}");
    assert!(!printed.contains("lost"), "{printed}");
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn reload_at_once_kills_what_runs_and_runs_it_again_without_counting() {
    let mut daemon = Daemon::start(project_with(CRASH), "");
    let id = send(&mut daemon.client(), &crash("hang"));
    let busy = |daemon: &Daemon| {
        eventually("it runs", || {
            let workers = workers(&mut daemon.client());
            workers.iter().find(|worker| worker["running"] == 1).and_then(process)
        })
    };
    let child = busy(&daemon);
    daemon.think("task:reload --now").exits(0);
    daemon.follow_reload();
    assert!(!lives(child));
    busy(&daemon);
    let reply = daemon.client().send(format!("{}\n", json!({"command": "show", "task": id}))).json();
    assert_eq!(
        (&reply["result"]["attempts"], &reply["result"]["crashes"]),
        (&json!(1), &json!(0)),
        "{reply}"
    );
}

#[test]
fn reload_waits_for_what_runs_in_a_child_process() {
    let daemon = Daemon::start(project_with(CRASH), "");
    send(&mut daemon.client(), &crash("hang"));
    wait_until("it runs", || workers(&mut daemon.client()).iter().any(|worker| worker["running"] == 1));
    let ran = daemon.think("task:reload --grace 200ms");
    assert!(ran.code != Some(0) && ran.stderr.contains("1 of crash"), "{ran:?}");
}

#[test]
fn task_of_a_child_process_runs_again_at_once_after_a_kill_of_the_server() {
    let settings = format!("{CRASH}worker_lease_time = \"1d\"\n");
    let daemon = Daemon::start(project_with(&settings), "");
    let runs = |daemon: &Daemon| {
        wait_until("it runs", || workers(&mut daemon.client()).iter().any(|worker| worker["running"] == 1));
    };
    send(&mut daemon.client(), &crash("hang"));
    runs(&daemon);
    let daemon = Daemon::start(daemon.into_project(), "");
    runs(&daemon);
}

//! Reload: a new process replaces the running one without losing a task or refusing a connection.

mod failed_reload;
mod load;
mod rust_client;
mod waiting;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::client::{Client, unix};
use crate::harness::daemon::{Daemon, project_with, with_silent_mail};
use crate::harness::eventually::{PATIENCE, eventually, wait_until};
use crate::harness::metrics::descriptors;
use crate::harness::server::Server;

/// A daemon with these settings.
fn started(settings: &str) -> Daemon {
    Daemon::start(project_with(settings), "")
}

/// Reloads, and waits until the old process has ended.
fn reload(daemon: &mut Daemon) {
    let said = daemon.think("task:reload").exits(0).stderr;
    let old = daemon.pid;
    daemon.follow_reload();
    assert_ne!(daemon.pid, old);
    assert!(said.contains(&format!("the new process is {}", daemon.pid)), "{said}");
}

#[test]
fn reload_applies_new_settings_in_a_new_process() {
    let mut daemon = started("");
    let kept = daemon.client().send("{\"function\":\"echo\",\"args\":\"1\",\"delay\":\"1h\"}\n").json();
    let config = daemon.project.read("config/server.toml");
    daemon.project.write("config/server.toml", &format!("{config}task_worker_num = 3\n"));
    reload(&mut daemon);
    let status = daemon.status();
    assert_eq!((&status["pid"], &status["workers"]["total"]), (&json!(daemon.pid), &json!(3)));
    assert_eq!(status["ledger"]["waiting"], 1);
    let next = daemon.client().send("{\"function\":\"echo\",\"args\":\"2\",\"reply\":\"both\"}\n").json();
    assert_eq!(next["task_id"], kept["task_id"].as_u64().unwrap() + 1);
    let log = daemon.project.read("runtime/server.log");
    assert!(log.contains(&format!("reloaded: process {} serves", daemon.pid)), "{log}");
    daemon.think("task:stop").exits(0);
    daemon.wait();
    assert!(!daemon.project.path("runtime/server.pid").exists());
    assert!(!daemon.project.path("runtime/server.sock").exists());
}

#[test]
fn reload_closes_removed_sockets_and_opens_new_ones() {
    let mut daemon = started("[[listeners]]\nhost = \"unix:first.sock\"\n");
    let config = daemon.project.read("config/server.toml").replace("first.sock", "second.sock");
    daemon.project.write("config/server.toml", &config);
    reload(&mut daemon);
    let addresses = daemon.status()["addresses"].to_string();
    assert!(addresses.contains("unix:second.sock") && !addresses.contains("first"), "{addresses}");
    assert!(std::os::unix::net::UnixStream::connect(daemon.project.path("first.sock")).is_err());
    unix(&daemon.project.path("second.sock"));
}

#[test]
fn sigusr1_reloads_like_the_command() {
    let mut daemon = started("");
    let old = daemon.pid;
    daemon.signal(Signal::USR1);
    daemon.follow_reload();
    assert_ne!(daemon.pid, old);
    assert_eq!(daemon.status()["pid"], daemon.pid);
}

#[test]
fn reload_keeps_the_pid_file_until_the_settings_name_another() {
    let mut daemon = started("");
    let over = AtomicBool::new(false);
    let path = daemon.project.path("runtime/server.pid");
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            // A test that fails does not end this.
            let begun = Instant::now();
            while !over.load(Ordering::Relaxed) && begun.elapsed() < PATIENCE {
                assert!(path.exists());
            }
        });
        (0..3).for_each(|_| reload(&mut daemon));
        over.store(true, Ordering::Relaxed);
        looking.join().unwrap();
    });
    assert!(!daemon.project.read("runtime/server.log").contains("left behind"));
    let config = daemon.project.read("config/server.toml");
    daemon.project.write("config/server.toml", &format!("{config}pid_file = \"other.pid\"\n"));
    daemon.think("task:reload").exits(0);
    daemon.wait();
    assert!(!path.exists());
    daemon.pid = daemon.project.read("other.pid").trim().parse().unwrap();
}

/// The processes that were started in the project of this daemon.
fn processes_of(daemon: &Daemon) -> Vec<u32> {
    let root = format!("THINK_ROOT={}", daemon.project.path("config").parent().unwrap().display());
    let processes = std::fs::read_dir("/proc").unwrap().map(Result::unwrap);
    let is_of_project = |process: &std::fs::DirEntry| {
        let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
        String::from_utf8_lossy(&environment).split('\0').any(|variable| variable == root)
    };
    processes.filter(is_of_project).filter_map(|process| process.file_name().to_str()?.parse().ok()).collect()
}

#[test]
fn reload_twenty_times_leaves_one_process_and_no_open_file() {
    let mut daemon = started("");
    reload(&mut daemon);
    daemon.status();
    let before = descriptors(daemon.pid);
    for _ in 0..20 {
        reload(&mut daemon);
    }
    daemon.status();
    wait_until("its files are closed", || descriptors(daemon.pid) <= before);
    assert_eq!(processes_of(&daemon), [daemon.pid]);
    assert_eq!(daemon.client().send("{\"function\":\"echo\",\"args\":\"1\"}\n").json()["task_id"], 0);
    let log = daemon.project.read("runtime/server.log");
    assert_eq!(log.matches("reloaded: process").count(), 21, "{log}");
}

#[test]
fn reload_closes_idle_connections_and_the_new_process_serves() {
    let mut daemon = started("");
    let mut idle = daemon.client();
    assert_eq!(idle.send("{\"function\":\"noop\"}\n").json()["status"], "queued");
    reload(&mut daemon);
    assert_eq!(idle.rest(), "");
    assert_eq!(daemon.client().status()["pid"], daemon.pid);
}

#[test]
fn reload_reports_each_phase() {
    let mut daemon = started("");
    let mut client = daemon.client();
    let first = client.send("{\"command\":\"reload\",\"id\":7}\n").json();
    assert_eq!((&first["id"], &first["result"]["phase"]), (&json!(7), &json!("preparing")));
    let last = client.find_json("the phase after draining", |line| line["result"]["phase"] != "draining");
    let old = daemon.pid;
    daemon.follow_reload();
    assert_eq!(last["result"]["phase"], "reloaded");
    assert_eq!((&last["result"]["pid"], &last["result"]["new_pid"]), (&json!(old), &json!(daemon.pid)));
    assert_eq!(client.rest(), "");
}

#[test]
fn reload_waits_for_running_tasks_unless_now() {
    let (mail_server, mut daemon) = with_silent_mail();
    let _first = mail_server.accept();
    let off = daemon.think("task:reload --grace 600ms").exits(1);
    assert!(off.stderr.contains("1 of send_mail") && off.stderr.contains("--now"), "{}", off.stderr);
    assert_eq!(daemon.status()["pid"], daemon.pid);
    // Tasks begin again as before.
    let mut client = daemon.client();
    client.send("{\"function\":\"echo\",\"args\":\"on\",\"reply\":\"result\"}\n");
    assert_eq!(client.json()["result"], "on -> OK");
    daemon.think("task:reload --now").exits(0);
    daemon.follow_reload();
    let _second = mail_server.accept();
    let shown = daemon.think("task:show 0 --json").exits(0).json();
    assert_eq!((&shown["state"], &shown["attempts"]), (&json!("running"), &json!(1)));
}

#[test]
fn stop_overrides_a_pending_reload() {
    let (mail_server, daemon) = with_silent_mail();
    let _first = mail_server.accept();
    let mut asking: Client = daemon.client();
    assert_eq!(asking.send("{\"command\":\"reload\"}\n").json()["result"]["phase"], "preparing");
    asking.find_json("the running mail", |line| line["result"]["running"]["send_mail"] == 1);
    let stopped = daemon.think("task:stop --now").exits(0);
    assert!(stopped.stderr.contains("1 task kept for its next start"), "{}", stopped.stderr);
    daemon.wait();
    assert!(!daemon.project.path("runtime/server.pid").exists());
}

#[test]
fn reload_in_the_foreground_keeps_the_first_process() {
    let mut server = Server::start();
    let first = server.pid();
    let mut waiting = server.connect();
    server.think(&["queue:pause", "default"]).exits(0);
    waiting.send("{\"function\":\"echo\",\"args\":\"1\",\"reply\":\"result\"}\n");
    wait_until("the task waits", || server.ledger()["waiting"] == 1);
    let mut pids = vec![first];
    for _ in 0..3 {
        server.project.think("task:reload").exits(0);
        pids.push(u32::try_from(server.status()["pid"].as_u64().unwrap()).unwrap());
    }
    pids.dedup();
    assert_eq!(pids.len(), 4, "{pids:?}");
    server.think(&["queue:resume", "default"]).exits(0);
    assert_eq!(waiting.json()["result"], "1 -> OK");
    assert_eq!(waiting.rest(), "");
    server.line_with("AsyncTask[0] Finish");
    // As Ctrl-C does, to the process that the shell knows.
    server.signal(Signal::INT);
    assert_eq!(server.exit_code(), Some(0));
    let rest = server.rest();
    assert!(rest.iter().any(|line| line.contains("All tasks have ended")), "{rest:#?}");
}

#[test]
fn reloaded_foreground_server_ends_with_its_supervisor() {
    let mut server = Server::start();
    server.project.think("task:reload").exits(0);
    let pid = server.status()["pid"].as_u64().unwrap();
    assert_ne!(pid, u64::from(server.pid()));
    server.signal(Signal::KILL);
    // Its stderr is open as long as the other one lives.
    let rest = server.rest();
    assert!(rest.iter().any(|line| line.contains("supervisor process has exited")), "{rest:#?}");
    assert!(!server.project.path("runtime/server.sock").exists());
}

#[test]
fn sigusr1_during_a_reload_starts_another() {
    let (mail_server, mut daemon) = with_silent_mail();
    let first = mail_server.accept();
    daemon.signal(Signal::USR1);
    daemon.wait_for_log("the reload begins", |line| line.contains("checks whether it can serve"));
    // Once the running tasks are reported, the new process has read its settings.
    let mut asking = daemon.client();
    asking.send("{\"command\":\"reload\"}\n");
    asking.find_json("the running mail", |line| line["result"]["running"]["send_mail"] == 1);
    let config = daemon.project.read("config/server.toml");
    daemon.project.write("config/server.toml", &format!("{config}task_worker_num = 3\n"));
    daemon.signal(Signal::USR1);
    drop(first);
    daemon.wait();
    // The second reload closes connections that it finds idle: the command may fail meanwhile.
    let status = eventually("the second reload applies its settings", || {
        let ran = daemon.think("task:status --json");
        let status: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
        Some(status).filter(|status| status["workers"]["total"] == 3)
    });
    daemon.pid = status["pid"].as_u64().unwrap() as u32;
}

#[test]
fn foreground_start_exits_as_its_last_server_does() {
    let mut server = Server::start();
    for _ in 0..2 {
        server.project.think("task:reload").exits(0);
    }
    let pid = server.status()["pid"].as_i64().unwrap();
    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
    server.line_with("server process exited abnormally: signal 9");
    assert_eq!(server.exit_code(), Some(1));

    let mut server = Server::start();
    server.project.think("task:reload").exits(0);
    server.project.think("task:stop").exits(0);
    assert_eq!(server.exit_code(), Some(0));
}

//! A new process takes the place of the running server, and nobody who is connected notices.

mod broken;
mod given;
mod load;
mod rust;
mod waiting;

use std::net::TcpListener;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::daemon::guard::{Daemon, project};
use crate::harness::server::{Client, Server};

/// A daemon in the background that can be reloaded again and again.
fn started(settings: &str) -> Daemon {
    let project = project();
    let config = project.read("config/server.toml");
    project.write("config/server.toml", &format!("{config}{settings}"));
    Daemon::start(project, "")
}

/// Reloads, and waits until the old process has ended.
fn reload(daemon: &mut Daemon) {
    let said = daemon.think("task:reload").exits(0).stderr;
    let old = daemon.pid;
    daemon.replaced();
    assert_ne!(daemon.pid, old);
    assert!(said.contains(&format!("process {} serves", daemon.pid)), "{said}");
}

fn open_files(daemon: &Daemon) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", daemon.pid)).unwrap().count()
}

#[test]
fn a_reload_puts_new_settings_to_work_in_a_new_process() {
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
fn a_socket_that_the_settings_name_no_more_is_closed_and_a_new_one_opened() {
    let mut daemon = started("[[listeners]]\nhost = \"unix:first.sock\"\n");
    let config = daemon.project.read("config/server.toml").replace("first.sock", "second.sock");
    daemon.project.write("config/server.toml", &config);
    reload(&mut daemon);
    let addresses = daemon.status()["addresses"].to_string();
    assert!(addresses.contains("unix:second.sock") && !addresses.contains("first"), "{addresses}");
    assert!(std::os::unix::net::UnixStream::connect(daemon.project.path("first.sock")).is_err());
    std::os::unix::net::UnixStream::connect(daemon.project.path("second.sock")).unwrap();
}

#[test]
fn a_signal_reloads_as_the_command_does() {
    let mut daemon = started("");
    let old = daemon.pid;
    daemon.signal(Signal::USR1);
    daemon.replaced();
    assert_ne!(daemon.pid, old);
    assert_eq!(daemon.status()["pid"], daemon.pid);
}

#[test]
fn the_pid_file_is_there_all_the_while_and_goes_when_the_settings_name_another() {
    let mut daemon = started("");
    let over = std::sync::atomic::AtomicBool::new(false);
    let path = daemon.project.path("runtime/server.pid");
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                assert!(path.exists());
            }
        });
        (0..3).for_each(|_| reload(&mut daemon));
        over.store(true, std::sync::atomic::Ordering::Relaxed);
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

#[test]
fn twenty_reloads_leave_one_process_and_no_open_file() {
    let mut daemon = started("");
    reload(&mut daemon);
    daemon.status();
    let before = open_files(&daemon);
    for _ in 0..20 {
        reload(&mut daemon);
    }
    daemon.status();
    while open_files(&daemon) > before {
        std::thread::yield_now();
    }
    assert_eq!(daemon.client().send("{\"function\":\"echo\",\"args\":\"1\"}\n").json()["task_id"], 0);
    let log = daemon.project.read("runtime/server.log");
    assert_eq!(log.matches("reloaded: process").count(), 21, "{log}");
}

#[test]
fn idle_connections_are_closed_and_those_who_come_are_served_by_the_new_process() {
    let mut daemon = started("");
    let mut idle = daemon.client();
    assert_eq!(idle.send("{\"function\":\"noop\"}\n").json()["status"], "queued");
    reload(&mut daemon);
    assert_eq!(idle.rest(), "");
    let status: Value = daemon.client().send("{\"command\":\"status\"}\n").json();
    assert_eq!(status["result"]["pid"], daemon.pid);
}

#[test]
fn whoever_asks_by_hand_hears_of_each_phase() {
    let mut daemon = started("");
    let mut client = daemon.client();
    let first = client.send("{\"command\":\"reload\",\"id\":7}\n").json();
    assert_eq!((&first["id"], &first["result"]["phase"]), (&json!(7), &json!("preparing")));
    let last =
        std::iter::repeat_with(|| client.json()).find(|line| line["result"]["phase"] != "draining").unwrap();
    let old = daemon.pid;
    daemon.replaced();
    assert_eq!(last["result"]["phase"], "reloaded");
    assert_eq!((&last["result"]["pid"], &last["result"]["new_pid"]), (&json!(old), &json!(daemon.pid)));
    assert_eq!(client.rest(), "");
}

/// A mail server that never says a word: a mail to it is under way for as long as anybody likes.
fn with_silent_mail() -> (TcpListener, Daemon) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let project = project();
    let mail = format!("transport = \"smtp\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\n");
    project.write("config/mail.toml", &mail);
    let daemon = Daemon::start(project, "");
    let mail = r#"{"function":"send_mail","args":{"to":"b@example.com","title":"Hi","content":"Hello"},"attempts":1}"#;
    assert_eq!(daemon.client().send(format!("{mail}\n")).json()["status"], "queued");
    (listener, daemon)
}

#[test]
fn a_task_that_runs_is_waited_for_and_only_now_gives_it_up() {
    let (listener, mut daemon) = with_silent_mail();
    let (_first, _) = listener.accept().unwrap();
    let off = daemon.think("task:reload --grace 600ms").exits(1);
    assert!(off.stderr.contains("1 of send_mail") && off.stderr.contains("--now"), "{}", off.stderr);
    assert_eq!(daemon.status()["pid"], daemon.pid);
    // Tasks begin again as before.
    let mut client = daemon.client();
    client.send("{\"function\":\"echo\",\"args\":\"on\",\"reply\":\"result\"}\n");
    assert_eq!(client.json()["result"], "on -> OK");
    daemon.think("task:reload --now").exits(0);
    daemon.replaced();
    let (_second, _) = listener.accept().unwrap();
    let shown: Value = serde_json::from_str(&daemon.think("task:show 0 --json").exits(0).stdout).unwrap();
    assert_eq!((&shown["state"], &shown["attempts"]), (&json!("running"), &json!(1)));
}

#[test]
fn a_stop_goes_before_a_reload_that_still_waits() {
    let (listener, daemon) = with_silent_mail();
    let (_first, _) = listener.accept().unwrap();
    let mut asking: Client = daemon.client();
    assert_eq!(asking.send("{\"command\":\"reload\"}\n").json()["result"]["phase"], "preparing");
    while asking.json()["result"]["running"]["send_mail"] != 1 {}
    let stopped = daemon.think("task:stop --now").exits(0);
    assert!(stopped.stderr.contains("Left for its next start: 1 tasks"), "{}", stopped.stderr);
    daemon.wait();
    assert!(!daemon.project.path("runtime/server.pid").exists());
}

#[test]
fn in_the_foreground_the_first_process_stays_for_those_that_follow() {
    let mut server = Server::start();
    let first = server.pid();
    let mut waiting = server.connect();
    server.think(&["queue:pause", "default"]).exits(0);
    waiting.send("{\"function\":\"echo\",\"args\":\"1\",\"reply\":\"result\"}\n");
    while server.status()["ledger"]["waiting"] != 1 {}
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
fn a_server_that_was_reloaded_in_the_foreground_ends_with_who_keeps_it() {
    let mut server = Server::start();
    server.project.think("task:reload").exits(0);
    let pid = server.status()["pid"].as_u64().unwrap();
    assert_ne!(pid, u64::from(server.pid()));
    server.signal(Signal::KILL);
    // Its stderr is open as long as the other one lives.
    let rest = server.rest();
    assert!(rest.iter().any(|line| line.contains("has ended")), "{rest:#?}");
    assert!(!server.project.path("runtime/server.sock").exists());
}

#[test]
fn a_signal_during_a_reload_is_answered_by_another_one() {
    let (listener, mut daemon) = with_silent_mail();
    let (first, _) = listener.accept().unwrap();
    daemon.signal(Signal::USR1);
    while !daemon.project.read("runtime/server.log").contains("looks whether it can serve") {
        std::thread::yield_now();
    }
    // Once this one hears of running tasks, the new process has read its settings.
    let mut asking = daemon.client();
    asking.send("{\"command\":\"reload\"}\n");
    while asking.json()["result"]["running"]["send_mail"] != 1 {}
    let config = daemon.project.read("config/server.toml");
    daemon.project.write("config/server.toml", &format!("{config}task_worker_num = 3\n"));
    daemon.signal(Signal::USR1);
    drop(first);
    daemon.wait();
    // A connection that the second reload finds idle is closed, and asks again.
    let answer =
        || serde_json::from_str::<Value>(&daemon.think("task:status --json").stdout).unwrap_or_default();
    let status = std::iter::repeat_with(answer).find(|status| status["workers"]["total"] == 3).unwrap();
    daemon.pid = status["pid"].as_u64().unwrap() as u32;
}

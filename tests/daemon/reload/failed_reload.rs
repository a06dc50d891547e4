//! Reloads that fail and leave the old process serving.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::{reload, started};
use crate::harness::Ran;
use crate::harness::daemon::{Daemon, project};

/// Attempts a reload that fails with this error, and checks that the old process serves on.
#[track_caller]
fn reload_fails(daemon: &Daemon, said: &str) {
    let mut asking = daemon.client();
    asking.send("{\"command\":\"reload\"}\n");
    let last = asking.find_json("an error", |line| !line["result"]["error"].is_null());
    let error = last["result"]["error"].as_str().unwrap();
    assert!(last["result"]["phase"] == "failed" && error.contains(said), "{said}: {last}");
    let mut client = daemon.client();
    client.send("{\"function\":\"echo\",\"args\":\"still\",\"reply\":\"result\"}\n");
    assert_eq!(client.json()["result"], "still -> OK");
    assert_eq!(client.status()["pid"], daemon.pid);
    assert_eq!(daemon.project.read("runtime/server.pid"), format!("{}\n", daemon.pid));
    daemon.wait_for_log("the failure is logged", |line| line.contains("not reloaded") && line.contains(said));
}

#[test]
fn reload_with_invalid_settings_changes_nothing() {
    let mut daemon = started("");
    let good = daemon.project.read("config/server.toml");
    for (settings, said) in [
        ("wroker_num = 1\n", "worker_num"),
        ("default_function = \"sned_mail\"\n", "send_mail"),
        ("ssl_cert_file = \"none.pem\"\nssl_key_file = \"none.pem\"\n", "none.pem"),
        ("log_file = \"/dev/null/server.log\"\n", "/dev/null/server.log"),
        ("queue_file = \"runtime/other.db\"\n", "the queue is not "),
        ("durability = \"memory\"\n", "the queue is not "),
        // Found only when the queue has been handed over; it is taken back.
        ("pid_file = \"/dev/null/server.pid\"\n", "/dev/null/server.pid"),
        ("[[listeners]]\nhost = \"192.0.2.1\"\nport = 1\ninsecure = true\n", "192.0.2.1:1"),
    ] {
        daemon.project.write("config/server.toml", &format!("{good}{settings}"));
        reload_fails(&daemon, said);
        daemon.project.write("config/server.toml", &good);
    }
    daemon.project.write("config/server.toml", "worker_num = 0\n");
    let ran = daemon.think("task:reload").exits(1);
    assert!(ran.stderr.contains("worker_num"), "{}", ran.stderr);
    daemon.project.write("config/server.toml", &good);
    reload(&mut daemon);
}

#[test]
fn failed_reload_still_answers_waiting_clients() {
    let daemon = started("");
    daemon.think("queue:pause default").exits(0);
    let mut waiting = daemon.client();
    waiting.send("{\"function\":\"echo\",\"args\":\"1\",\"reply\":\"result\"}\n");
    daemon.wait_for_waiting(1);
    let good = daemon.project.read("config/server.toml");
    daemon.project.write("config/server.toml", &format!("{good}pid_file = \"/dev/null/server.pid\"\n"));
    let ran = daemon.think("task:reload").exits(1);
    assert!(
        ran.stderr.contains("/dev/null/server.pid") && ran.stderr.contains("goes on: "),
        "{}",
        ran.stderr
    );
    daemon.project.write("config/server.toml", &good);
    assert_eq!(daemon.status()["pid"], daemon.pid);
    daemon.think("queue:resume default").exits(0);
    assert_eq!(waiting.json()["result"], "1 -> OK");
    assert_eq!(waiting.rest(), "");
}

#[test]
fn reload_with_undecodable_waiting_tasks_is_rejected() {
    let mut daemon = started("");
    let mail = r#"{"function":"send_mail","args":{"to":"b@example.com","title":"Hi","content":"Hello"},"delay":"1h"}"#;
    assert_eq!(daemon.client().send(format!("{mail}\n")).json()["status"], "queued");
    // As if the programs differed: the new one cannot decode what the old one has accepted.
    let file = rusqlite::Connection::open(daemon.project.path("runtime/queue.db")).unwrap();
    assert_eq!(file.execute("UPDATE tasks SET args = '{\"to\":1}' WHERE id = 0", []).unwrap(), 1);
    reload_fails(&daemon, "1 of 1 task waiting cannot run");
    assert_eq!(file.execute("UPDATE tasks SET function = 'send_fax' WHERE id = 0", []).unwrap(), 1);
    reload_fails(&daemon, "send_fax");
    daemon.think("task:cancel 0").exits(0);
    reload(&mut daemon);
}

#[test]
fn reload_of_a_memory_store_is_rejected() {
    let daemon = started("durability = \"memory\"\n");
    reload_fails(&daemon, "memory store");
}

#[test]
fn reload_with_a_broken_program_keeps_the_old_process() {
    let project = project();
    // A program of its own, which can be replaced.
    let program = project.path("program");
    fs::copy(project.command().get_program(), &program).unwrap();
    let mut command = std::process::Command::new(&program);
    command.args(["task:start", "-d"]).env("THINK_ROOT", project.path(""));
    let said = Ran::of(&mut command).exits(0).stderr;
    let mut daemon = Daemon::of_output(project, &said);
    let replace = |content: &[u8]| {
        let new = daemon.project.path("new");
        fs::write(&new, content).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        // A file that is executed cannot be written, but another can take its name.
        fs::rename(new, &program).unwrap();
    };
    for (content, said) in [
        ("", "Exec format error"),
        ("#!/bin/sh\nexit 7\n", "exit status: 7"),
        ("#!/bin/sh\nkill -SEGV $$\n", "signal: 11"),
        ("#!/bin/sh\necho '\"ready\"' >&0; exec sleep 60\n", "at the wrong time"),
        ("#!/bin/sh\necho nonsense >&0; exec sleep 60\n", "cannot be understood"),
    ] {
        replace(content.as_bytes());
        reload_fails(&daemon, said);
    }
    replace(&[]);
    fs::remove_file(&program).unwrap();
    reload_fails(&daemon, "No such file");
    fs::copy(daemon.project.command().get_program(), &program).unwrap();
    reload(&mut daemon);
    assert_eq!(daemon.status()["ledger"]["waiting"], json!(0));
}

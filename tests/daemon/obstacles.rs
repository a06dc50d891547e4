//! What a server in the background cannot write, and what belongs to somebody else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use rustix::process::{Signal, geteuid};

use super::ALREADY_RUNNING;
use super::guard::{Daemon, project, project_with};
use crate::harness::server::Client;
use crate::harness::{Project, Ran};

fn echo(client: &mut Client) {
    let request = "{\"function\":\"echo\",\"args\":\"x\",\"reply\":\"result\"}\n";
    assert_eq!(client.send(request).json()["status"], "done");
}

fn mode(project: &Project, file: &str, mode: u32) {
    fs::set_permissions(project.path(file), fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_log_directory_that_cannot_be_is_named() {
    let project = project_with("log_file = \"taken/server.log\"\n");
    project.write("taken", "a file");
    let ran = project.think("task:start -d").exits(1);
    let path = project.path("taken/server.log");
    assert!(ran.stderr.contains(path.to_str().unwrap()), "{}", ran.stderr);
    assert!(!project.path("runtime/server.pid").exists());
}

#[test]
fn a_log_directory_that_goes_is_made_again_at_the_next_sighup() {
    let daemon = Daemon::start(project_with("log_file = \"logs/server.log\"\n"), "");
    let logs = daemon.project.path("logs");
    fs::remove_dir_all(&logs).unwrap();
    let mut client = daemon.client();
    echo(&mut client);
    // Where it should be, there is a file for now: the log stays where it is, and nobody else minds.
    fs::write(&logs, "in the way").unwrap();
    daemon.signal(Signal::HUP);
    echo(&mut client);
    fs::remove_file(&logs).unwrap();
    daemon.signal(Signal::HUP);
    while !logs.join("server.log").exists() {
        echo(&mut client);
    }
    daemon.think("task:stop").exits(0);
    assert!(daemon.project.read("logs/server.log").contains("All tasks have ended"));
}

#[test]
fn a_daemon_without_room_for_its_log_serves_on() {
    let daemon = Daemon::start(project_with("log_file = \"/dev/full\"\n"), "");
    let mut client = daemon.client();
    (0..100).for_each(|_| echo(&mut client));
    daemon.think("task:stop").exits(0);
}

#[test]
fn a_log_that_may_not_grow_any_more_says_later_what_is_missing() {
    // As on a full disk, but for this file alone: what waits is in memory.
    let project = project_with("durability = \"memory\"\nlog_file = \"server.log\"\n");
    let think = project.command();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -f 64; exec \"$0\" \"$@\""]).arg(think.get_program());
    command.args(["task:start", "-d"]).current_dir(project.path("")).env("THINK_ROOT", project.path(""));
    let said = Ran::of(&mut command).exits(0).stderr;
    let daemon = Daemon::found(project, &said);
    let mut client = daemon.client();
    let log = daemon.project.path("server.log");
    while fs::metadata(&log).unwrap().len() < 64 * 512 {
        echo(&mut client);
    }
    for _ in 0..100 {
        echo(&mut client);
    }
    // Somebody makes room.
    fs::rename(&log, daemon.project.path("old.log")).unwrap();
    daemon.signal(Signal::HUP);
    while !log.exists() || !daemon.project.read("server.log").contains("lines of the log were lost: File too")
    {
        echo(&mut client);
    }
    daemon.think("task:stop").exits(0);
    assert!(daemon.project.read("server.log").contains("All tasks have ended"));
}

/// Runs the program as nobody, who can do nothing here but read and run.
fn as_nobody(project: &Project, arguments: &str) -> Ran {
    let think = project.path("think");
    if !think.exists() {
        let program = env!("CARGO_BIN_EXE_think");
        assert!(Command::new("install").args(["-m", "755", program]).arg(&think).status().unwrap().success());
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(think);
    command.args(arguments.split_whitespace());
    Ran::of(command.current_dir("/").env("THINK_ROOT", project.path("")))
}

#[test]
fn a_server_of_another_user_is_told_from_ones_own_and_from_none() {
    // Only root can be somebody else, too.
    if !geteuid().is_root() {
        return;
    }
    let project = project();
    mode(&project, "", 0o755);
    let daemon = Daemon::start(project, "");
    let pid = format!("pid {}", daemon.pid);
    for command in ["task:stop", "task:stop --now", "task:restart"] {
        let refused = as_nobody(&daemon.project, command).exits(1);
        assert!(refused.stderr.contains("another user (uid 0)"), "{}", refused.stderr);
        assert!(refused.stderr.contains(&pid), "{}", refused.stderr);
    }
    let second = as_nobody(&daemon.project, "task:start -d").exits(ALREADY_RUNNING);
    assert!(
        second.stderr.contains("another user (uid 0)") && second.stderr.contains(&pid),
        "{}",
        second.stderr
    );
    assert_eq!(daemon.status()["pid"], daemon.pid, "nothing has happened to it");

    daemon.signal(Signal::KILL);
    daemon.wait();
    let refused = as_nobody(&daemon.project, "task:stop").exits(1);
    assert!(refused.stderr.contains("another user (uid 0)"), "{}", refused.stderr);
    assert!(!refused.stderr.contains(&pid), "it is over: {}", refused.stderr);
    let refused = as_nobody(&daemon.project, "task:start -d").exits(1);
    assert!(refused.stderr.contains("left behind by a server of another user (uid 0)"), "{}", refused.stderr);
}

#[test]
fn a_log_directory_that_one_may_not_write_to_is_named() {
    if !geteuid().is_root() {
        // Then a directory without the right to write is enough.
        let project = project_with("log_file = \"closed/server.log\"\n");
        fs::create_dir(project.path("closed")).unwrap();
        mode(&project, "closed", 0o555);
        let ran = project.think("task:start -d").exits(1);
        assert!(ran.stderr.contains("closed/server.log") && ran.stderr.contains("denied"), "{}", ran.stderr);
        return;
    }
    let project = project_with("log_file = \"closed/server.log\"\n");
    mode(&project, "", 0o755);
    for (folder, bits) in [("closed", 0o755), ("runtime", 0o777)] {
        fs::create_dir(project.path(folder)).unwrap();
        mode(&project, folder, bits);
    }
    let ran = as_nobody(&project, "task:start -d").exits(1);
    assert!(ran.stderr.contains("closed/server.log") && ran.stderr.contains("denied"), "{}", ran.stderr);
    assert!(!project.path("runtime/server.pid").exists());
}

//! Paths that a server in the background cannot write, or that belong to another user.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Signal, geteuid};

use crate::harness::client::Client;
use crate::harness::daemon::{Daemon, project, project_with};
use crate::harness::eventually::wait_until;
use crate::harness::process::install;
use crate::harness::{Project, Ran};

fn echo(client: &mut Client) {
    let request = "{\"function\":\"echo\",\"args\":\"x\",\"reply\":\"result\"}\n";
    assert_eq!(client.send(request).json()["status"], "done");
}

fn mode(project: &Project, file: &str, mode: u32) {
    fs::set_permissions(project.path(file), fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn log_directory_that_is_a_file_is_named() {
    let project = project_with("log_file = \"taken/server.log\"\n");
    project.write("taken", "a file");
    let ran = project.think("task:start -d").exits(1);
    let path = project.path("taken/server.log");
    assert!(ran.stderr.contains(path.to_str().unwrap()), "{}", ran.stderr);
    assert!(!project.path("runtime/server.pid").exists());
}

#[test]
fn log_directory_that_was_removed_is_made_again_at_sighup() {
    let daemon = Daemon::start(project_with("log_file = \"logs/server.log\"\n"), "");
    let logs = daemon.project.path("logs");
    fs::remove_dir_all(&logs).unwrap();
    let mut client = daemon.client();
    echo(&mut client);
    // A file takes its place for now: the log stays where it is, and clients do not notice.
    fs::write(&logs, "in the way").unwrap();
    daemon.signal(Signal::HUP);
    echo(&mut client);
    fs::remove_file(&logs).unwrap();
    daemon.signal(Signal::HUP);
    wait_until("the log is made again", || {
        echo(&mut client);
        logs.join("server.log").exists()
    });
    daemon.think("task:stop").exits(0);
    assert!(daemon.project.read("logs/server.log").contains("All tasks have ended"));
}

#[test]
fn full_log_device_does_not_stop_the_daemon() {
    let daemon = Daemon::start(project_with("log_file = \"/dev/full\"\n"), "");
    let mut client = daemon.client();
    (0..100).for_each(|_| echo(&mut client));
    daemon.think("task:stop").exits(0);
}

#[test]
fn log_file_size_limit_is_reported_after_reopening() {
    // As on a full disk, but for this file alone: what waits is in memory.
    let project = project_with("durability = \"memory\"\nlog_file = \"server.log\"\n");
    let think = project.command();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -f 64; exec \"$0\" \"$@\""]).arg(think.get_program());
    command.args(["task:start", "-d"]).current_dir(project.path("")).env("THINK_ROOT", project.path(""));
    let said = Ran::of(&mut command).exits(0).stderr;
    let daemon = Daemon::of_output(project, &said);
    let mut client = daemon.client();
    let log = daemon.project.path("server.log");
    wait_until("the log is as long as it may be", || {
        (0..20).for_each(|_| echo(&mut client));
        fs::metadata(&log).unwrap().len() >= 64 * 512
    });
    for _ in 0..100 {
        echo(&mut client);
    }
    // A new file has space again.
    fs::rename(&log, daemon.project.path("old.log")).unwrap();
    daemon.signal(Signal::HUP);
    wait_until("the lost lines are reported", || {
        echo(&mut client);
        log.exists() && daemon.project.read("server.log").contains("lines of the log were lost: File too")
    });
    daemon.think("task:stop").exits(0);
    assert!(daemon.project.read("server.log").contains("All tasks have ended"));
}

/// Runs the program as the user nobody, who may only read and execute here.
fn as_nobody(project: &Project, arguments: &str) -> Ran {
    let think = project.path("think");
    if !think.exists() {
        let program = env!("CARGO_BIN_EXE_think");
        install(Path::new(program), &think);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(think);
    command.args(arguments.split_whitespace());
    Ran::of(command.current_dir("/").env("THINK_ROOT", project.path("")))
}

#[test]
fn server_of_another_user_is_reported_as_such() {
    // Only root can switch to another user.
    if !geteuid().is_root() {
        return;
    }
    let project = project();
    mode(&project, "", 0o755);
    let daemon = Daemon::start(project, "");
    for command in ["task:stop", "task:stop --now", "task:restart"] {
        let refused = as_nobody(&daemon.project, command).exits(1);
        assert!(refused.stderr.contains("another user (uid 0)"), "{}", refused.stderr);
    }
    let second = as_nobody(&daemon.project, "task:start -d").exits(1);
    assert!(second.stderr.contains("another user (uid 0)"), "{}", second.stderr);
    assert_eq!(daemon.status()["pid"], daemon.pid, "it runs on");

    daemon.signal(Signal::KILL);
    daemon.wait();
    let refused = as_nobody(&daemon.project, "task:stop").exits(1);
    assert!(refused.stderr.contains("another user (uid 0)"), "{}", refused.stderr);
}

#[test]
fn unwritable_log_directory_is_named() {
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

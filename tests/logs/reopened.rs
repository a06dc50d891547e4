//! Log files that are reopened while they are written.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;

use super::{echo, logging};
use crate::harness::Project;
use crate::harness::eventually::wait_until;
use crate::harness::server::Server;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[test]
fn log_loses_no_line_through_a_hundred_sighups() {
    const HANGUPS: usize = 100;
    const TASKS: usize = 20;
    let mut server = logging("log_rotation = \"none\"\n");
    let mut client = server.connect();
    for number in 0..HANGUPS {
        client.send("{\"function\":\"echo\",\"args\":\"x\"}\n".repeat(TASKS));
        if number % 10 == 0 {
            // As logrotate does.
            let aside = server.project.path(&format!("aside.{number}"));
            fs::rename(server.project.path("server.log"), aside).unwrap();
        }
        server.signal(Signal::HUP);
        for _ in 0..TASKS {
            client.json();
        }
        if number % 10 == 0 {
            wait_until("the log is opened anew", || server.project.path("server.log").exists());
        }
    }
    wait_until("all tasks are done", || client.status()["ledger"]["done"] == HANGUPS * TASKS);
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
    let aside = (0..HANGUPS).step_by(10).map(|number| format!("aside.{number}"));
    let files = aside.chain(["server.log".to_owned()]).map(|name| server.project.read(&name));
    let text: String = files.collect();
    let mut ids: Vec<usize> = text
        .lines()
        .filter_map(|line| line.split_once("outcome: task=")?.1.split(' ').next()?.parse().ok())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, Vec::from_iter(0..HANGUPS * TASKS), "each end is there, once");
}

/// Writes a log whose last line is this old.
fn write_old(project: &Project, name: &str, text: &str, age: Duration) {
    let mut file = File::create(project.path(name)).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

#[test]
fn log_of_yesterday_is_rotated_once() {
    let project = Project::new();
    project.write("config/server.toml", "log_file = \"server.log\"\nlog_rotation = \"daily\"\n");
    write_old(&project, "server.log", "yesterday\n", DAY);
    let server = Server::with(project, "");
    echo(&server, "x");
    assert_eq!(server.project.read("server.log.1"), "yesterday\n");
    for _ in 0..10 {
        server.signal(Signal::HUP);
        let log = echo(&server, "x");
        assert!(log.contains("task=0 done") && !log.contains("yesterday"), "{log}");
    }
    assert!(!server.project.path("server.log.2").exists());
    // An old file takes the place of the log.
    write_old(&server.project, "put.back", "two days ago\n", 2 * DAY);
    fs::rename(server.project.path("put.back"), server.project.path("server.log")).unwrap();
    server.signal(Signal::HUP);
    wait_until("the old file is rotated", || {
        // The end of this task may still go to the file that was replaced.
        server.connect().send("{\"function\":\"echo\",\"args\":\"x\",\"reply\":\"result\"}\n").json();
        server.project.path("server.log.2").exists()
    });
    assert_eq!(server.project.read("server.log.1"), "two days ago\n");
    assert_eq!(server.project.read("server.log.2"), "yesterday\n");
}

#[test]
fn log_device_is_never_rotated() {
    let project = Project::new();
    symlink("/dev/null", project.path("null")).unwrap();
    project.write("config/server.toml", "log_file = \"null\"\nlog_rotation = \"1KB\"\n");
    let mut server = Server::with(project, "");
    for _ in 0..20 {
        server.connect().send("{\"function\":\"echo\",\"args\":\"x\",\"reply\":\"result\"}\n").json();
    }
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
    assert_eq!(fs::read_link(server.project.path("null")).unwrap().to_str(), Some("/dev/null"));
    assert!(!server.project.path("null.1").exists());
}

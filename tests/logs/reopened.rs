//! A log that is opened anew, again and again, while it is written.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;

use super::{echo, logging};
use crate::harness::Project;
use crate::harness::server::Server;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[test]
fn a_hundred_sighups_under_load_lose_no_line() {
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
        (0..TASKS).for_each(|_| drop(client.json()));
        while number % 10 == 0 && !server.project.path("server.log").exists() {
            std::thread::yield_now();
        }
    }
    loop {
        let ledger = client.send("{\"command\":\"status\"}\n").json()["result"]["ledger"].take();
        if ledger["done"] == HANGUPS * TASKS {
            break;
        }
    }
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

/// A log whose last line is from so long ago.
fn old(project: &Project, name: &str, text: &str, age: Duration) {
    let mut file = File::create(project.path(name)).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

#[test]
fn a_log_of_yesterday_is_put_aside_once_and_sighup_changes_nothing_about_it() {
    let project = Project::new();
    project.write("config/server.toml", "log_file = \"server.log\"\nlog_rotation = \"daily\"\n");
    old(&project, "server.log", "yesterday\n", DAY);
    let server = Server::with(project, "");
    echo(&server, "x");
    assert_eq!(server.project.read("server.log.1"), "yesterday\n");
    for _ in 0..10 {
        server.signal(Signal::HUP);
        let log = echo(&server, "x");
        assert!(log.contains("task=0 done") && !log.contains("yesterday"), "{log}");
    }
    assert!(!server.project.path("server.log.2").exists());
    // Somebody puts an old one back.
    old(&server.project, "put.back", "two days ago\n", 2 * DAY);
    fs::rename(server.project.path("put.back"), server.project.path("server.log")).unwrap();
    server.signal(Signal::HUP);
    while !server.project.path("server.log.2").exists() {
        // Its end may still go where nobody finds it.
        server.connect().send("{\"function\":\"echo\",\"args\":\"x\",\"reply\":\"result\"}\n").json();
    }
    assert_eq!(server.project.read("server.log.1"), "two days ago\n");
    assert_eq!(server.project.read("server.log.2"), "yesterday\n");
}

#[test]
fn a_log_into_a_device_leaves_the_device_where_it_is() {
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

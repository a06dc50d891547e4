//! `doctor`, and the topics of `help`.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::harness::daemon::{self, Daemon};
use crate::harness::{Project, Ran};

/// The state and the text of a check.
fn check(findings: &Value, name: &str) -> (String, String) {
    let finding = findings.as_array().unwrap().iter().find(|finding| finding["check"] == name).unwrap();
    (finding["state"].as_str().unwrap().to_owned(), finding["found"].as_str().unwrap().to_owned())
}

#[test]
fn doctor_finds_nothing_wrong_in_a_new_project() {
    let project = Project::with_settings("port = 0\n");
    let ran = project.think("doctor --json").exits(0);
    for name in ["project", "settings", "commands", "clock", "permissions", "disk", "port"] {
        assert_eq!(check(&ran.json(), name).0, "ok", "{}", ran.stdout);
    }
    assert_eq!(fs::read_dir(project.path("")).unwrap().count(), 2, "it leaves nothing behind");
    assert!(project.think("doctor").exits(0).stdout.contains("settings"));
}

#[test]
fn doctor_names_what_is_wrong_and_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let project = Project::with_settings(&format!("port = {port}\npid_file = \"runtime/server.pid\"\n"));
    fs::create_dir(project.path("runtime")).unwrap();
    fs::set_permissions(project.path("runtime"), fs::Permissions::from_mode(0o755)).unwrap();
    project.write("runtime/server.pid", "4194304\n");
    let findings = project.think("doctor --json").exits(0).json();
    assert_eq!(check(&findings, "port"), ("warning".to_owned(), format!("127.0.0.1:{port} is in use")));
    assert_eq!(check(&findings, "permissions").0, "warning");
    assert!(check(&findings, "pid file").1.ends_with("names the process 4194304, which is gone"));
    project.write("config/server.toml", "prot = 9501\n");
    let ran = project.think("doctor").exits(1);
    assert!(ran.stdout.contains("prot") && ran.stderr.contains("one thing has to be done"), "{ran:?}");
}

#[test]
fn doctor_agrees_with_the_running_server() {
    let server = Daemon::start(daemon::project(), "");
    let findings = server.project.think("doctor --json").exits(0).json();
    let (state, found) = check(&findings, "port");
    assert_eq!(
        (state.as_str(), found.ends_with("is that of this project's running server")),
        ("ok", true),
        "{found}"
    );
    let mut limited = server.project.command_after("ulimit -n 20000");
    let limits = Ran::of(limited.args(["doctor", "--json"])).exits(0).json();
    let found = check(&limits, "files").1;
    assert_eq!(found, "20000 files may be open, and max_connection needs 20100");
}

#[test]
fn help_topics_are_chapters_of_the_readme() {
    let project = Project::new();
    for (topic, text) in [
        ("exit-codes", "no server is running"),
        ("wire", "is what a reply says"),
        ("configuration", "worker_num"),
        ("deploying", "Graceful shutdown."),
        ("console", "task:status: each part of a name"),
        ("workers", "lease"),
        ("http", "problem documents"),
    ] {
        assert!(project.think(&format!("help {topic}")).exits(0).stdout.contains(text), "{topic}");
    }
    assert!(project.think("help").exits(0).stdout.contains("beanstalkd, configuration"));
    let ran = project.think("help exit-code").exits(2);
    assert!(ran.stderr.contains("There is the topic \"exit-codes\""), "{}", ran.stderr);
}

#[test]
fn help_topics_fit_into_every_terminal() {
    let project = Project::new();
    for columns in ["40", "80"] {
        for topic in ["exit-codes", "wire", "configuration"] {
            let mut command = project.command();
            let ran = Ran::of(command.args(["help", topic]).env("COLUMNS", columns)).exits(0);
            let limit: usize = columns.parse().unwrap();
            // Examples and single words stay as they are.
            let is_free = |line: &str| line.starts_with("    ") || line.split_whitespace().count() == 1;
            let wide = ran.stdout.lines().find(|line| line.chars().count() > limit && !is_free(line));
            assert_eq!(wide, None, "{topic} at {columns}");
        }
    }
}

//! The server under a service manager, and what can be watched of it.

use std::os::unix::net::UnixDatagram;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use super::guard::project;
use crate::harness::Project;
use crate::harness::server::{Server, lines_of};

#[test]
fn a_service_manager_hears_that_it_is_ready_that_it_lives_and_that_it_stops() {
    let project = Project::new();
    let path = project.path("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let variables = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "20000")];
    let mut server = Server::with_environment(project, "--foreground", &variables);
    let hear = || {
        let mut word = [0; 64];
        let count = manager.recv(&mut word).unwrap();
        String::from_utf8(word[..count].to_vec()).unwrap()
    };
    // It may live before it is ready.
    let first = std::iter::repeat_with(hear).find(|word| word != "WATCHDOG=1");
    assert_eq!(first.unwrap(), "READY=1");
    assert_eq!([hear(), hear()], ["WATCHDOG=1", "WATCHDOG=1"]);
    server.signal(Signal::TERM);
    while hear() != "STOPPING=1" {}
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn a_unit_is_written_with_the_paths_of_the_project() {
    let project = project();
    let ran = project.think("make:service mailer --user deploy").exits(0);
    assert!(ran.stderr.contains("systemctl enable --now ./runtime/mailer.service"), "{}", ran.stderr);
    let unit = project.read("runtime/mailer.service");
    let root = project.path("config").parent().unwrap().display().to_string();
    for line in [
        "Type=notify".to_owned(),
        "User=deploy".to_owned(),
        format!("WorkingDirectory={root}"),
        format!("ReadWritePaths=\"{root}/runtime\""),
        "TimeoutStopSec=45s".to_owned(),
    ] {
        assert!(unit.lines().any(|there| there == line), "{line}: {unit}");
    }
    assert!(unit.contains("task:start --foreground\n"));
    assert!(project.think("make:service mailer").exits(1).stderr.contains("--force"));
    project.think("make:service ../mailer").exits(2);
}

#[test]
fn the_status_is_told_again_and_again_until_nobody_reads_it() {
    let server = Server::start();
    let mut command = server.project.command();
    command.args(["task:status", "--watch", "--json", "--every", "50ms", "--address", &server.address]);
    let mut watch = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = lines_of(watch.stdout.take().unwrap());
    let first: Value = serde_json::from_str(&lines.recv().unwrap()).unwrap();
    assert_eq!(first["ledger"]["done"], 0);
    server.connect().send("{\"function\":\"echo\",\"args\":\"x\",\"reply\":\"result\"}\n").json();
    let done = |line: String| serde_json::from_str::<Value>(&line).unwrap()["ledger"]["done"] == 1;
    assert!(lines.iter().any(done));
    drop(lines);
    assert!(watch.wait().unwrap().success());
}

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
    assert_eq!(hear(), "READY=1");
    assert_eq!([hear(), hear()], ["WATCHDOG=1", "WATCHDOG=1"]);
    server.signal(Signal::TERM);
    while hear() != "STOPPING=1" {}
    assert_eq!(server.exit_code(), Some(0));
}

/// Ends whatever server a project has by then.
struct Ending<'a>(&'a Project);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.think("task:stop --now");
    }
}

#[test]
fn a_service_manager_hears_of_a_reload_and_which_process_is_the_server_then() {
    let project = Project::new();
    let path = project.path("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let variables = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "20000")];
    let mut server = Server::with_environment(project, "--foreground", &variables);
    // A word that is not about life alone.
    let hear = || {
        std::iter::repeat_with(|| {
            let mut word = [0; 64];
            let count = manager.recv(&mut word).unwrap();
            String::from_utf8(word[..count].to_vec()).unwrap()
        })
        .find(|word| word != "WATCHDOG=1")
        .unwrap()
    };
    assert_eq!(hear(), "READY=1");
    server.project.write("config/server.toml", "default_function = \"sned_mail\"\n");
    server.project.think("task:reload").exits(1);
    assert_eq!([hear(), hear()], ["RELOADING=1", "READY=1"]);
    server.project.write("config/server.toml", "");
    server.project.think("task:reload").exits(0);
    assert_eq!(hear(), "RELOADING=1");
    let word = hear();
    assert_eq!(server.exit_code(), Some(0), "the one that was replaced ends");
    let ending = Ending(&server.project);
    let pid = server.project.think("task:status --json --address unix:runtime/server.sock").exits(0).stdout;
    let pid = serde_json::from_str::<Value>(&pid).unwrap()["pid"].clone();
    assert_eq!(word, format!("MAINPID={pid}\nREADY=1"));
    // It lives, and says so.
    let mut life = [0; 64];
    let count = manager.recv(&mut life).unwrap();
    assert_eq!(&life[..count], b"WATCHDOG=1");
    drop(ending);
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

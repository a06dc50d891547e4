//! The server under a service manager, and what can be watched of it.

use std::os::unix::net::UnixDatagram;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use super::guard::project;
use crate::harness::Project;
use crate::harness::server::{Server, lines_of};

const ALIVE: &str = "WATCHDOG=1";

/// A service manager, as far as its server notices.
struct Manager(UnixDatagram);

impl Manager {
    /// With a server that it has started and that is to live audibly.
    fn with_server() -> (Self, Server) {
        let project = Project::new();
        let path = project.path("notify");
        let manager = Self(UnixDatagram::bind(&path).unwrap());
        let variables = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "20000")];
        let server = Server::with_environment(project, "--foreground", &variables);
        (manager, server)
    }

    fn hear(&self) -> String {
        let mut word = [0; 64];
        let count = self.0.recv(&mut word).unwrap();
        String::from_utf8(word[..count].to_vec()).unwrap()
    }

    /// Forgets what was said until now.
    fn forget(&self) {
        self.0.set_nonblocking(true).unwrap();
        while self.0.recv(&mut [0; 64]).is_ok() {}
        self.0.set_nonblocking(false).unwrap();
    }

    /// The next word that is not about life alone.
    fn hear_news(&self) -> String {
        std::iter::repeat_with(|| self.hear()).find(|word| word != ALIVE).unwrap()
    }
}

#[test]
fn a_service_manager_hears_that_it_is_ready_that_it_lives_and_that_it_stops() {
    let (manager, mut server) = Manager::with_server();
    assert_eq!([manager.hear(), manager.hear(), manager.hear()], ["READY=1", ALIVE, ALIVE]);
    server.signal(Signal::TERM);
    assert_eq!(manager.hear_news(), "STOPPING=1");
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
    let (manager, mut server) = Manager::with_server();
    assert_eq!(manager.hear_news(), "READY=1");
    server.project.write("config/server.toml", "default_function = \"sned_mail\"\n");
    server.project.think("task:reload").exits(1);
    assert_eq!([manager.hear_news(), manager.hear_news()], ["RELOADING=1", "READY=1"]);
    server.project.write("config/server.toml", "");
    server.project.think("task:reload").exits(0);
    assert_eq!(manager.hear_news(), "RELOADING=1");
    let word = manager.hear_news();
    assert_eq!(server.exit_code(), Some(0), "the one that was replaced ends");
    let ending = Ending(&server.project);
    let pid = server.project.think("task:status --json --address unix:runtime/server.sock").exits(0).stdout;
    let pid = serde_json::from_str::<Value>(&pid).unwrap()["pid"].clone();
    assert_eq!(word, format!("MAINPID={pid}\nREADY=1"));
    // It lives, and says so: nobody else is there to say it.
    manager.forget();
    assert_eq!(manager.hear(), ALIVE);
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

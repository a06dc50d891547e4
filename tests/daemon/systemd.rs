//! The server under a service manager, and `task:status --watch`.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::Project;
use crate::harness::daemon::project;
use crate::harness::eventually::PATIENCE;
use crate::harness::lines::Lines;
use crate::harness::process::wait;
use crate::harness::server::Server;

const ALIVE: &str = "WATCHDOG=1";

/// The notifications to a service manager, received by a thread: a server that cannot send them would block.
struct Manager(Receiver<String>);

impl Manager {
    /// With a server that it has started and whose watchdog notifications it expects.
    fn with_server() -> (Self, Server) {
        let project = Project::new();
        let path = project.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let (sender, received) = channel();
        std::thread::spawn(move || {
            let mut message = [0; 64];
            while let Ok(count) = socket.recv(&mut message) {
                if sender
                    .send(String::from_utf8(message[..count].to_vec()).unwrap().trim_end().to_owned())
                    .is_err()
                {
                    return;
                }
            }
        });
        let variables = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "20000")];
        let server = Server::with_environment(project, "--foreground", &variables);
        (Self(received), server)
    }

    /// The next notification.
    #[track_caller]
    fn recv(&self) -> String {
        self.0.recv_timeout(PATIENCE).expect("the server sends a notification")
    }

    /// Discards the notifications that have come.
    fn discard(&self) {
        self.0.try_iter().for_each(drop);
    }

    /// The next notification that is not one of the watchdog.
    #[track_caller]
    fn recv_change(&self) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut message = self.recv();
        while message == ALIVE {
            assert!(Instant::now() < deadline, "timed out after {PATIENCE:?}: a notification of a change");
            message = self.recv();
        }
        message
    }
}

#[test]
fn service_manager_is_notified_of_ready_watchdog_and_stopping() {
    let (manager, mut server) = Manager::with_server();
    assert_eq!([manager.recv(), manager.recv(), manager.recv()], ["READY=1", ALIVE, ALIVE]);
    server.signal(Signal::TERM);
    assert_eq!(manager.recv_change(), "STOPPING=1");
    assert_eq!(server.exit_code(), Some(0));
}

/// Stops the server of a project at the end of a test.
struct StopGuard<'a>(&'a Project);

impl Drop for StopGuard<'_> {
    fn drop(&mut self) {
        self.0.think("task:stop --now");
    }
}

#[test]
fn service_manager_is_notified_of_a_reload_and_the_new_pid() {
    let (manager, mut server) = Manager::with_server();
    assert_eq!(manager.recv_change(), "READY=1");
    server.project.write("config/server.toml", "default_function = \"sned_mail\"\n");
    server.project.think("task:reload").exits(1);
    assert_eq!([manager.recv_change(), manager.recv_change()], ["RELOADING=1", "READY=1"]);
    server.project.write("config/server.toml", "");
    server.project.think("task:reload").exits(0);
    assert_eq!(manager.recv_change(), "RELOADING=1");
    let message = manager.recv_change();
    assert_eq!(server.exit_code(), Some(0), "the one that was replaced ends");
    let stop = StopGuard(&server.project);
    let pid = server.project.think("task:status --json --address unix:runtime/server.sock").exits(0).stdout;
    let pid = serde_json::from_str::<Value>(&pid).unwrap()["pid"].clone();
    assert_eq!(message, format!("MAINPID={pid}\nREADY=1"));
    // Only the new process is left to send this.
    manager.discard();
    assert_eq!(manager.recv(), ALIVE);
    drop(stop);
}

#[test]
fn service_manager_that_reads_nothing_stops_neither_a_reload_nor_a_stop() {
    let project = Project::new();
    let path = project.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let variables = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "20000")];
    let mut server = Server::with_environment(project, "--foreground", &variables);
    // Until the socket takes no more: the watchdog is due every 10 ms.
    let probe = UnixDatagram::unbound().unwrap();
    probe.connect(&path).unwrap();
    probe.set_nonblocking(true).unwrap();
    while probe.send(ALIVE.as_bytes()).is_ok() {}
    server.project.think("task:reload").exits(0);
    assert_eq!(server.exit_code(), Some(0));
    server.project.think("task:stop").exits(0);
    drop(socket);
}

#[test]
fn service_manager_is_reached_by_an_abstract_name() {
    let name = format!("think-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let recv = || {
        let mut message = [0; 64];
        let count = socket.recv(&mut message).unwrap();
        String::from_utf8(message[..count].to_vec()).unwrap().trim_end().to_owned()
    };
    let name = format!("@{name}");
    let mut server = Server::with_environment(Project::new(), "--foreground", &[("NOTIFY_SOCKET", &name)]);
    assert_eq!(recv(), "READY=1");
    server.signal(Signal::TERM);
    assert_eq!(recv(), "STOPPING=1");
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn make_service_writes_a_unit_with_the_project_paths() {
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
fn task_status_watch_repeats_until_stdout_closes() {
    let server = Server::start();
    let mut command = server.project.command();
    command.args(["task:status", "--watch", "--json", "--every", "50ms", "--address", &server.address]);
    let mut watch = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = Lines::of(watch.stdout.take().unwrap());
    let first: Value = serde_json::from_str(&lines.line()).unwrap();
    assert_eq!(first["ledger"]["done"], 0);
    server.connect().send("{\"function\":\"echo\",\"args\":\"x\",\"reply\":\"result\"}\n").json();
    let done = |line: &str| serde_json::from_str::<Value>(line).unwrap()["ledger"]["done"] == 1;
    lines.find("one task done", done);
    drop(lines);
    assert!(wait(&mut watch).success());
}

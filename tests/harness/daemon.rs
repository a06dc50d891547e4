//! A server in the background that does not outlive its test, and what is done to it.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::client::Client;
use super::eventually::{eventually, wait_until};
use super::mail::SilentMailServer;
use super::metrics::is_idle;
use super::{Project, Ran};

/// The acknowledged tasks of one client that make a load.
pub(crate) const ENOUGH: u64 = 500;

/// A project whose server has a port of its own, which clients find in the settings.
pub(crate) fn project() -> Project {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    Project::with_settings(&format!("port = {port}\n"))
}

/// The same with more settings.
pub(crate) fn project_with(settings: &str) -> Project {
    let project = project();
    let config = project.read("config/server.toml");
    project.write("config/server.toml", &format!("{config}{settings}"));
    project
}

/// `task:start -d`; killed with its owner, whatever has become of the test.
pub(crate) struct Daemon {
    pub(crate) project: Project,
    pub(crate) pid: u32,
    pub(crate) address: String,
}

impl Daemon {
    #[track_caller]
    pub(crate) fn start(project: Project, arguments: &str) -> Self {
        Self::start_by(project, &format!("task:start -d {arguments}"))
    }

    #[track_caller]
    pub(crate) fn start_by(project: Project, command: &str) -> Self {
        let output = project.think(command).exits(0).stderr;
        Self::of_output(project, &output)
    }

    /// The server that the output of its starter names.
    #[track_caller]
    pub(crate) fn of_output(project: Project, output: &str) -> Self {
        let line = output.lines().find(|line| line.contains("listens on")).expect(output);
        let (_, rest) = line.split_once("listens on ").unwrap();
        let (address, pid) = rest.split_once(" with pid ").unwrap();
        // On a terminal it is coloured.
        let pid = pid.split(|letter: char| !letter.is_ascii_digit()).next().unwrap().parse().unwrap();
        Self { project, pid, address: address.to_owned() }
    }

    /// Runs a command that ends this server and starts another.
    #[track_caller]
    pub(crate) fn restart_by(self, command: &str) -> Self {
        let output = self.think(command).exits(0).stderr;
        self.wait();
        Self::of_output(self.into_project(), &output)
    }

    /// Waits for the end of this process after a reload, and takes the pid of the one in its place.
    #[track_caller]
    pub(crate) fn follow_reload(&mut self) {
        self.wait();
        self.pid = self.project.read("runtime/server.pid").trim().parse().unwrap();
    }

    pub(crate) fn into_project(mut self) -> Project {
        self.end();
        std::mem::replace(&mut self.project, Project::new())
    }

    #[track_caller]
    pub(crate) fn think(&self, arguments: &str) -> Ran {
        self.project.think(arguments)
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.address)
    }

    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        self.think("task:status --json").exits(0).json()
    }

    /// The ledger, once nothing waits or runs any more.
    #[track_caller]
    pub(crate) fn idle_ledger(&self) -> Value {
        eventually("no task waits or runs", || Some(self.status()["ledger"].take()).filter(is_idle))
    }

    /// Waits until so many tasks wait.
    #[track_caller]
    pub(crate) fn wait_for_waiting(&self, count: u32) {
        wait_until("the tasks wait", || self.status()["ledger"]["waiting"] == count);
    }

    /// Waits until a line of the log is what is looked for.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, what: &str, is_it: impl Fn(&str) -> bool) {
        wait_until(what, || self.project.read("runtime/server.log").lines().any(&is_it));
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid as i32).unwrap(), signal).unwrap();
    }

    /// `true` while its process is there and not a zombie. Its first thread may be over while others still
    /// hold what is open.
    pub(crate) fn lives(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid)).map_or(0, Iterator::count);
        threads > 1 || stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    }

    /// `true` if the pid is still that of this server, whose environment names the project.
    fn is_ours(&self) -> bool {
        let environment = fs::read(format!("/proc/{}/environ", self.pid)).unwrap_or_default();
        let root = self.project.path("config").parent().unwrap().to_str().unwrap().to_owned();
        String::from_utf8_lossy(&environment).contains(&format!("THINK_ROOT={root}\0"))
    }

    #[track_caller]
    pub(crate) fn wait(&self) {
        wait_until("the server ends", || !self.lives());
    }

    fn end(&self) {
        if self.is_ours() {
            // It may have ended just now.
            let _ = kill_process(Pid::from_raw(self.pid as i32).unwrap(), Signal::KILL);
            self.wait();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}

/// A daemon with one mail on its way to a mail server that never answers: its only attempt does not end by
/// itself.
pub(crate) fn with_silent_mail() -> (SilentMailServer, Daemon) {
    let mail_server = SilentMailServer::start();
    let project = project();
    mail_server.configure(&project);
    let daemon = Daemon::start(project, "");
    let mail = r#"{"function":"send_mail","args":{"to":"b@example.com","title":"Hi","content":"Hello"},"attempts":1}"#;
    assert_eq!(daemon.client().send(format!("{mail}\n")).json()["status"], "queued");
    (mail_server, daemon)
}

/// Sends tasks until the server closes, some of them always in flight, and counts those that were
/// acknowledged; sends to `begun` when they are [`ENOUGH`].
pub(crate) fn load(mut client: Client, begun: Sender<()>) -> JoinHandle<u64> {
    const AHEAD: u64 = 50;
    let mut sending = client.stream().try_clone().unwrap();
    let mut send = move |count: u64| {
        let tasks = "{\"function\":\"echo\",\"args\":\"x\"}\n".repeat(count as usize);
        // A server that has stopped acknowledges nothing.
        let _ = sending.write_all(tasks.as_bytes());
    };
    std::thread::spawn(move || {
        let mut acknowledged = 0;
        send(2 * AHEAD);
        while client.receives("\"status\":\"queued\"") {
            acknowledged += 1;
            if acknowledged % AHEAD == 0 {
                send(AHEAD);
            }
            if acknowledged == ENOUGH {
                begun.send(()).unwrap();
            }
        }
        acknowledged
    })
}

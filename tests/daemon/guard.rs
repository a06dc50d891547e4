//! A server in the background that does not outlive its test, and what is done to it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;

use crate::harness::server::Client;
use crate::harness::{Project, Ran};

/// How many acknowledged tasks of one client make a load.
pub(crate) const ENOUGH: u64 = 500;

/// A project whose server has a port of its own, which clients find in the settings.
pub(crate) fn project() -> Project {
    let project = Project::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    project.write("config/server.toml", &format!("port = {port}\n"));
    project
}

/// Such a project with more settings.
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
    pub(crate) fn start(project: Project, arguments: &str) -> Self {
        Self::started(project, &format!("task:start -d {arguments}"))
    }

    pub(crate) fn started(project: Project, command: &str) -> Self {
        let said = project.think(command).exits(0).stderr;
        Self::found(project, &said)
    }

    /// The one of which the starter said so.
    pub(crate) fn found(project: Project, said: &str) -> Self {
        let line = said.lines().find(|line| line.contains("listens on")).expect(said);
        let (_, rest) = line.split_once("listens on ").unwrap();
        let (address, pid) = rest.split_once(" with pid ").unwrap();
        // On a terminal it is coloured.
        let pid = pid.split(|letter: char| !letter.is_ascii_digit()).next().unwrap().parse().unwrap();
        Self { project, pid, address: address.to_owned() }
    }

    /// After a command that ends this one and starts another.
    pub(crate) fn restarted(self, command: &str) -> Self {
        let said = self.think(command).exits(0).stderr;
        self.wait();
        Self::found(self.into_project(), &said)
    }

    /// After a reload, which leaves another process in its place.
    pub(crate) fn replaced(&mut self) {
        self.wait();
        self.pid = self.project.read("runtime/server.pid").trim().parse().unwrap();
    }

    pub(crate) fn into_project(mut self) -> Project {
        self.end();
        std::mem::replace(&mut self.project, Project::new())
    }

    pub(crate) fn think(&self, arguments: &str) -> Ran {
        self.project.think(arguments)
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.address)
    }

    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.think("task:status --json").exits(0).stdout).unwrap()
    }

    /// The ledger, once nothing waits or runs any more.
    pub(crate) fn settled(&self) -> Value {
        loop {
            let ledger = self.status()["ledger"].take();
            if ledger["waiting"] == 0 && ledger["running"] == 0 {
                return ledger;
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid as i32).unwrap(), signal).unwrap();
    }

    /// Whether its process is there, and has not only not been waited for. The first of its threads may be over while
    /// others still hold what is open.
    pub(crate) fn lives(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid)).map_or(0, Iterator::count);
        threads > 1 || stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    }

    /// Whether it is this one and not another of the same number: its environment names the project.
    fn is_ours(&self) -> bool {
        let environment = fs::read(format!("/proc/{}/environ", self.pid)).unwrap_or_default();
        let root = self.project.path("config").parent().unwrap().to_str().unwrap().to_owned();
        String::from_utf8_lossy(&environment).contains(&format!("THINK_ROOT={root}\0"))
    }

    pub(crate) fn wait(&self) {
        while self.lives() {
            std::thread::yield_now();
        }
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

/// A mail server that never says a word: a mail to it is under way for as long as anybody likes.
pub(crate) fn with_silent_mail() -> (TcpListener, Daemon) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let project = project();
    project.write(
        "config/mail.toml",
        &format!("transport = \"smtp\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\n"),
    );
    let daemon = Daemon::start(project, "");
    let mail = r#"{"function":"send_mail","args":{"to":"b@example.com","title":"Hi","content":"Hello"}}"#;
    assert_eq!(daemon.client().send(format!("{mail}\n")).json()["status"], "queued");
    (listener, daemon)
}

/// Sends tasks until the server closes, some of them always on their way, and counts those that were acknowledged;
/// tells `begun` when they are [`ENOUGH`].
pub(crate) fn load(mut client: Client, begun: Sender<()>) -> JoinHandle<u64> {
    const AHEAD: u64 = 50;
    let mut sending = client.stream().try_clone().unwrap();
    let mut send = move |count: u64| {
        let tasks = "{\"function\":\"echo\",\"args\":\"x\"}\n".repeat(count as usize);
        // What is sent to a server that has stopped is not acknowledged.
        drop(sending.write_all(tasks.as_bytes()));
    };
    std::thread::spawn(move || {
        let mut acknowledged = 0;
        send(2 * AHEAD);
        while client.says("\"status\":\"queued\"") {
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

/// What a command shows on a terminal of its own, which is closed then.
pub(crate) fn on_terminal(project: &Project, arguments: &str) -> String {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let theirs = File::options().read(true).write(true).open(name).unwrap();
    let think = project.command();
    // A session of its own, whose controlling terminal it is: what sends SIGHUP when it goes.
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait"]).arg(think.get_program()).args(arguments.split_whitespace());
    command.current_dir(project.path("")).env("THINK_ROOT", project.path(""));
    command.stdin(theirs.try_clone().unwrap()).stdout(theirs.try_clone().unwrap()).stderr(theirs);
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut shown = Vec::new();
    // Ends with an error once nobody holds the other end any more.
    let _ = File::from(ours).read_to_end(&mut shown);
    assert!(child.wait().unwrap().success());
    String::from_utf8(shown).unwrap()
}

//! A server whose process stands still for a while, or whose terminal does.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::pipe::pipe;
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::Project;
use crate::harness::client::Client;
use crate::harness::eventually::{bounded, wait_until};
use crate::harness::mail::SilentMailServer;
use crate::harness::process::{kill, wait};
use crate::harness::server::{Server, first_address};

const MAIL: &str = r#"{"function":"send_mail","args":{"to":"b@example.com","content":"x"},"attempts":1}"#;

#[test]
fn server_that_stood_still_for_longer_than_a_lease_loses_no_running_task() {
    for durability in ["fsync", "memory"] {
        let project =
            Project::with_settings(&format!("lease_time = \"500ms\"\ndurability = \"{durability}\"\n"));
        let mail_server = SilentMailServer::start();
        mail_server.configure(&project);
        let server = Server::with(project, "");
        assert_eq!(server.connect().send(format!("{MAIL}\n")).json()["status"], "queued");
        let _connection = mail_server.accept();
        for _ in 0..2 {
            server.signal(Signal::STOP);
            // The standstill itself: three leases.
            thread::sleep(Duration::from_millis(1_500));
            let before = Instant::now();
            server.signal(Signal::CONT);
            // Meanwhile the store has looked for leases that were not renewed.
            wait_until("three leases pass", || {
                assert_eq!(server.ledger()["running"], 1, "{durability}");
                before.elapsed() > Duration::from_millis(1_500)
            });
        }
        let task = server.think(&["task:show", "0", "--json"]).exits(0).json();
        assert_eq!((&task["crashes"], &task["attempts"]), (&0.into(), &1.into()), "{durability}: {task}");
    }
}

/// A server in the foreground whose stderr nobody reads.
struct Unread {
    child: Child,
    stderr: BufReader<File>,
    address: String,
    _project: Project,
}

impl Unread {
    fn start(settings: &str) -> Self {
        let project = Project::with_settings(settings);
        let (reader, writer) = pipe().unwrap();
        let (reader, writer) = (File::from(reader), File::from(writer));
        let mut command: Command = project.command();
        let child = command
            .args(["task:start", "--port", "0"])
            .stdin(Stdio::null())
            .stdout(writer.try_clone().unwrap())
            .stderr(writer)
            .spawn()
            .unwrap();
        drop(command);
        let (stderr, address) = bounded("the server says where it listens", move || {
            let mut stderr = BufReader::new(reader);
            let mut line = String::new();
            while !line.contains("listens on") {
                line.clear();
                assert!(stderr.read_line(&mut line).unwrap() > 0);
            }
            (stderr, first_address(&line).to_owned())
        });
        Self { child, stderr, address, _project: project }
    }

    /// Runs more tasks than the pipe has room for their lines.
    fn fill(&self) {
        let text = "x".repeat(8_000);
        let request = format!("{{\"function\":\"echo\",\"args\":\"{text}\",\"reply\":\"result\"}}\n");
        let mut client = Client::connect(&self.address);
        for _ in 0..100 {
            assert_eq!(client.send(request.as_str()).json()["status"], "done");
        }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

#[test]
fn server_whose_stderr_stands_still_goes_on_and_stops() {
    let mut server = Unread::start("");
    server.fill();
    kill_process(Pid::from_child(&server.child), Signal::TERM).unwrap();
    assert_eq!(wait(&mut server.child).code(), Some(0));
}

#[test]
fn server_whose_stderr_is_read_again_says_how_many_lines_were_lost() {
    let mut server = Unread::start("max_log_buffer = \"16KB\"\n");
    server.fill();
    let mut reader = File::from(pipe().unwrap().0);
    std::mem::swap(&mut reader, server.stderr.get_mut());
    bounded("the loss is said", move || {
        let lines = BufReader::new(reader).lines().map_while(Result::ok);
        let said = |line: &String| line.contains("lines of the log were lost: nobody has read them in time");
        assert!(lines.into_iter().any(|line| said(&line)));
    });
}

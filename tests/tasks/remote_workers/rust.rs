//! `task:work`: the program's own handlers in another process, as a worker of a server.

use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{TestWorker, send, show};
use crate::harness::Project;
use crate::harness::certificates::Authority;
use crate::harness::daemon::{Daemon, project_with};
use crate::harness::eventually::wait_until;
use crate::harness::lines::Lines;
use crate::harness::mail::SilentMailServer;
use crate::harness::process::{kill, wait};
use crate::harness::server::Server;

/// Settings of a server that runs no task itself.
pub(super) const HANDS_OUT: &str = "task_worker_num = 0\n";
const JOINED: &str = "a worker of the server";

/// `task:work` in a project of its own, killed with its owner.
pub(super) struct RustWorker {
    project: Project,
    child: Child,
    pub(super) lines: Lines,
}

impl RustWorker {
    /// Starts as a worker of this server, and waits until it is one.
    #[track_caller]
    pub(super) fn join(address: &str, arguments: &str) -> Self {
        Self::in_project(Project::new(), address, arguments)
    }

    #[track_caller]
    pub(super) fn in_project(project: Project, address: &str, arguments: &str) -> Self {
        let mut command = project.command();
        command.args(["task:work", "--server", address]).args(arguments.split_whitespace());
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = Lines::of(child.stderr.take().unwrap());
        let worker = Self { project, child, lines };
        worker.lines.line_with(JOINED);
        worker
    }

    /// A worker whose mails are never sent, because their server never answers.
    #[track_caller]
    pub(super) fn with_silent_mail(mail: &SilentMailServer, address: &str, arguments: &str) -> Self {
        let project = Project::new();
        mail.configure(&project);
        Self::in_project(project, address, arguments)
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end; the exit code.
    #[track_caller]
    pub(super) fn exit_code(mut self) -> Option<i32> {
        wait(&mut self.child).code()
    }

    pub(super) fn kill(mut self) {
        kill(&mut self.child);
    }
}

impl Drop for RustWorker {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

pub(super) fn mail() -> Value {
    let args = json!({"to": "ada@example.com", "title": "Hi", "content": "Hello"});
    json!({"function": "send_mail", "args": args, "attempts": 9})
}

fn workers(server: &Server) -> Value {
    server.think(&["task:workers", "--json"]).exits(0).json()
}

#[test]
fn server_without_workers_of_its_own_hands_out_all_tasks() {
    let mut server = Server::with_settings(HANDS_OUT);
    let mut client = server.connect();
    let waits = send(&mut client, &json!({"function": "echo", "args": "hi"}));
    let status = server.think(&["task:status"]).exits(0).stdout;
    assert!(status.contains("none here") && status.contains("nobody runs"), "{status}");
    assert_eq!(
        (server.ledger()["waiting"].clone(), show(&server, waits)["state"].clone()),
        (json!(1), json!("waiting"))
    );
    let worker = RustWorker::join(&server.address, "");
    assert_eq!(client.json()["result"], "hi -> OK");
    send(&mut client, &mail());
    let end = client.json();
    assert_eq!(end["status"], "done", "{end}");
    assert!(std::fs::read_dir(worker.project.path("runtime/mail")).unwrap().count() > 0, "it ran there");
    let listed = workers(&server)[0].clone();
    assert!(listed["name"].as_str().unwrap().ends_with(&format!(":{}", worker.child.id())), "{listed}");
    assert!(listed["language"].as_str().unwrap().starts_with("rust/"), "{listed}");
    assert!(listed["functions"].as_array().unwrap().contains(&json!("send_mail")), "{listed}");
    let status = server.think(&["task:status"]).exits(0).stdout;
    assert!(!status.contains("nobody runs"), "{status}");
    server.signal(Signal::TERM);
    let printed = server.rest().join("\n");
    assert_eq!(server.exit_code(), Some(0), "{printed}");
}

#[test]
fn start_says_that_no_task_runs_in_the_server() {
    let project = Project::with_settings(HANDS_OUT);
    let mut command = project.command();
    let mut child = command
        .args(["task:start", "--port", "0"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = Lines::of(child.stderr.take().unwrap());
    lines.line_with("no task runs in this server");
    lines.line_with("listens on");
    kill(&mut child);
}

#[test]
fn tasks_of_a_server_with_busy_workers_run_elsewhere() {
    let silent = SilentMailServer::start();
    let project = Project::with_settings("task_worker_num = 1\n");
    silent.configure(&project);
    let server = Server::with(project, "");
    let mut client = server.connect();
    send(&mut client, &mail());
    let _mail = silent.accept();
    let worker = RustWorker::join(&server.address, "--queue default --function echo --concurrency 2");
    assert_eq!(workers(&server)[0]["functions"], json!(["echo"]));
    for _ in 0..20 {
        send(&mut client, &json!({"function": "echo", "args": "hi"}));
        assert_eq!(client.json()["result"], "hi -> OK");
    }
    // Nor is it in anybody's way.
    worker.signal(Signal::INT);
    assert_eq!(worker.exit_code(), Some(0));
}

#[test]
fn worker_for_a_queue_gets_every_task_in_it_and_no_other() {
    let server = Server::with_settings(HANDS_OUT);
    let mut client = server.connect();
    let worker = RustWorker::join(&server.address, "--queue mail");
    assert_eq!(workers(&server)[0]["queues"], json!(["mail"]));
    assert!(server.think(&["task:workers"]).exits(0).stdout.contains("send_mail (only in mail)"));
    let other = send(&mut client, &json!({"function": "echo", "args": "later"}));
    send(&mut client, &json!({"function": "echo", "queue": "mail", "args": "now"}));
    assert_eq!(client.json()["result"], "now -> OK");
    assert_eq!(show(&server, other)["state"], "waiting");
    let unserved = server.status()["unserved"].clone();
    let of = |name: &str| unserved.as_array().unwrap().iter().any(|function| function["function"] == name);
    assert!(of("echo") && !of("send_mail"), "{unserved}");
    worker.signal(Signal::INT);
    assert_eq!(worker.exit_code(), Some(0));
    let _other = RustWorker::join(&server.address, "--queue default --queue mail");
    assert_eq!(client.json()["result"], "later -> OK");
}

#[test]
fn tasks_of_a_killed_worker_are_taken_by_another_before_its_lease_has_ended() {
    let silent = SilentMailServer::start();
    let server = Server::with_settings(&format!("{HANDS_OUT}worker_lease_time = \"1d\"\n"));
    let mut client = server.connect();
    let first = RustWorker::with_silent_mail(&silent, &server.address, "--function send_mail");
    let id = send(&mut client, &mail());
    let _mail = silent.accept();
    let _second = RustWorker::join(&server.address, "");
    first.kill();
    let end = client.json();
    assert_eq!(end["status"], "done", "{end}");
    let task = show(&server, id);
    assert_eq!((&task["attempts"], &task["state"]), (&json!(2), &json!("done")), "{task}");
}

#[test]
fn interrupted_worker_finishes_what_runs_and_gets_no_other_task() {
    let silent = SilentMailServer::start();
    let server = Server::with_settings(HANDS_OUT);
    let mut client = server.connect();
    let worker = RustWorker::with_silent_mail(&silent, &server.address, "--grace 1m");
    let mut only = mail();
    only["attempts"] = 1.into();
    send(&mut client, &only);
    let running = silent.accept();
    worker.signal(Signal::INT);
    worker.lines.line_with("takes no further tasks");
    wait_until("the worker is quiet", || workers(&server)[0]["quiet"] == true);
    server.connect().send("{\"function\":\"echo\",\"args\":\"later\"}\n").json();
    drop(running);
    assert_eq!(client.json()["status"], "failed", "the attempt has ended by itself");
    assert_eq!(worker.exit_code(), Some(0));
    assert_eq!(server.ledger()["waiting"], 1);
}

#[test]
fn task_that_outlives_the_grace_period_goes_back_without_counting() {
    let silent = SilentMailServer::start();
    let server = Server::with_settings(HANDS_OUT);
    let mut client = server.connect();
    for (arguments, code) in [("--grace 100ms", 0), ("--grace 1h", 130)] {
        let worker = RustWorker::with_silent_mail(&silent, &server.address, arguments);
        let id = send(&mut client, &mail());
        let _running = silent.accept();
        worker.signal(Signal::TERM);
        worker.lines.line_with("takes no further tasks");
        if code == 130 {
            worker.signal(Signal::TERM);
        }
        assert_eq!(worker.exit_code(), Some(code), "{arguments}");
        let _next = RustWorker::join(&server.address, "");
        assert_eq!(client.json()["status"], "done");
        assert_eq!(show(&server, id)["attempts"], 1, "{arguments}");
    }
}

#[test]
fn drained_worker_ends() {
    let server = Server::with_settings(HANDS_OUT);
    let worker = RustWorker::join(&server.address, "--name left");
    let _other = RustWorker::join(&server.address, "--name right");
    server.think(&["task:workers", "--drain", "left"]).exits(0);
    assert_eq!(worker.exit_code(), Some(0));
    wait_until("it has gone", || workers(&server).as_array().unwrap().len() == 1);
    let mut client = server.connect();
    send(&mut client, &json!({"function": "echo", "args": "hi"}));
    assert_eq!(client.json()["status"], "done");
}

#[test]
fn worker_goes_on_after_a_reload_a_restart_and_a_kill_of_the_server() {
    let mut daemon = Daemon::start(project_with(HANDS_OUT), "");
    let worker = RustWorker::join(&daemon.address, "");
    let run = |daemon: &Daemon| {
        let mut client = daemon.client();
        send(&mut client, &json!({"function": "echo", "args": "hi"}));
        assert_eq!(client.json()["result"], "hi -> OK");
    };
    run(&daemon);
    daemon.think("task:reload").exits(0);
    daemon.follow_reload();
    run(&daemon);
    let daemon = daemon.restart_by("task:restart");
    run(&daemon);
    let project = daemon.into_project();
    let daemon = Daemon::start(project, "");
    run(&daemon);
    worker.signal(Signal::TERM);
    assert_eq!(worker.exit_code(), Some(0));
}

#[test]
fn worker_ends_by_a_signal_also_while_the_server_is_away() {
    let server = Server::with_settings(HANDS_OUT);
    let worker = RustWorker::join(&server.address, "");
    drop(server);
    worker.lines.line_with("is tried again");
    worker.signal(Signal::INT);
    assert_eq!(worker.exit_code(), Some(0));
}

#[test]
fn worker_with_tls_and_a_token_for_one_function_runs_that_alone() {
    let authority = Authority::new();
    let project = Project::new();
    authority.issue("localhost").write(&project, "server");
    let settings = "tokens = \"bound-0123456789:work(echo), sender-0123456789:send+inspect\"\n\
                    ssl_cert_file = \"server.crt\"\nssl_key_file = \"server.key\"\nssl_required = true\n";
    project.write("config/server.toml", &format!("{HANDS_OUT}{settings}"));
    let server = Server::with(project, "");
    let machine = |token: &str| {
        let project = Project::new();
        project.write("authority.pem", &authority.pem());
        let settings = format!(
            "token = \"{token}\"\ntls = true\nca_file = \"authority.pem\"\nserver_name = \"localhost\"\n"
        );
        project.write_secret("config/client.toml", &settings);
        project
    };
    let refused = |token: &str, arguments: &str, says: &str| {
        let ran = machine(token).think(&format!("task:work --server {} {arguments}", server.address));
        let ran = ran.exits(5);
        assert!(ran.stderr.contains(says), "{}", ran.stderr);
    };
    refused("wrong-0123456789", "", "token");
    refused("bound-0123456789", "", "The token may not run the function");
    refused("sender-0123456789", "", "\"work\"");
    let worker = RustWorker::in_project(machine("bound-0123456789"), &server.address, "--function echo");
    let sent = machine("sender-0123456789");
    let sent = sent.think(&format!("task:send echo hi --wait --address {}", server.address)).exits(0);
    assert_eq!(sent.stdout.lines().last(), Some("\"hi -> OK\""));
    worker.signal(Signal::TERM);
    assert_eq!(worker.exit_code(), Some(0));
}

#[test]
fn work_that_cannot_begin_says_why() {
    let server = Server::with_settings(HANDS_OUT);
    let project = Project::new();
    let work = |arguments: &str| project.think(&format!("task:work {arguments}"));
    let at = |arguments: &str| work(&format!("--server {} {arguments}", server.address));
    for (ran, code, says) in [
        (at("--function ehco"), 2, "echo"),
        (at("--queue mali"), 2, "mail"),
        (at("--concurrency 0"), 2, "--concurrency"),
        (work("--server 127.0.0.1:1"), 3, "no server is running"),
    ] {
        assert!(ran.exits(code).stderr.contains(says), "{says}");
    }
    // A worker that has other arguments for a function of the server's own program.
    let mut other = TestWorker::new(server.connect());
    let reply =
        other.work(json!({"worker": "w", "functions": [{"name": "echo", "schema": {"type": "array"}}]}));
    assert_eq!(reply["code"], "schema_conflict", "{reply}");
}

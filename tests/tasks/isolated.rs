//! Isolated functions: their attempts run in child processes of the server, and a crash costs one attempt.

mod ends;
mod prefetch;
mod replaced;

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};

use crate::harness::client::Client;
use crate::harness::daemon::Daemon;
use crate::harness::eventually::{eventually, wait_until};
use crate::harness::process::kill;
use crate::harness::readme::{blocks, readme};
use crate::harness::server::Server;
use crate::harness::{Project, Ran};

/// One process for `crash`, which is soon at its end when it does not stop.
const CRASH: &str = "isolated = [\"crash\"]\nisolated_worker_num = 1\nworker_cancel_time = \"200ms\"\n";

fn crash(how: &str) -> Value {
    json!({"function": "crash", "args": {"how": how}, "reply": "both"})
}

/// Sends a task; its id.
#[track_caller]
fn send(client: &mut Client, task: &Value) -> u64 {
    let reply = client.send(format!("{task}\n")).json();
    assert_eq!(reply["status"], "queued", "{reply}");
    reply["task_id"].as_u64().unwrap()
}

/// Runs a task to its end, and returns all that is known of it then.
#[track_caller]
fn run(server: &Server, task: &Value) -> Value {
    let mut client = server.connect();
    let id = send(&mut client, task);
    client.json();
    show(server, id)
}

#[track_caller]
fn show(server: &Server, task: u64) -> Value {
    server.connect().send(format!("{}\n", json!({"command": "show", "task": task}))).json()["result"].take()
}

fn workers(client: &mut Client) -> Vec<Value> {
    client.send("{\"command\":\"workers\"}\n").json()["result"].as_array().unwrap().clone()
}

/// The child processes that are workers now.
pub(super) fn children(client: &mut Client) -> Vec<Pid> {
    workers(client).iter().filter_map(process).collect()
}

/// The process of a worker, if the server has started it.
fn process(worker: &Value) -> Option<Pid> {
    let number = worker["peer"].as_str()?.strip_prefix("child (process ")?.strip_suffix(')')?;
    Pid::from_raw(number.parse().ok()?)
}

/// The child process that runs a task.
#[track_caller]
fn busy_child(server: &Server) -> Pid {
    eventually("a child process runs a task", || {
        let workers = workers(&mut server.connect());
        workers.iter().find(|worker| worker["running"] == 1).and_then(process)
    })
}

/// The child process that runs this task, whose handler has begun.
#[track_caller]
fn begun(server: &Server, task: u64) -> Pid {
    wait_until("the handler has begun", || !show(server, task)["progress"].is_null());
    busy_child(server)
}

/// Whether a process is there; one that has ended and was not waited for is not.
fn lives(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    test_kill_process(pid).is_ok() && !stat.contains(") Z ")
}

#[track_caller]
fn all_end(pids: &[Pid]) {
    wait_until("the child processes end", || !pids.iter().any(|pid| lives(*pid)));
}

#[test]
fn isolated_function_runs_in_a_child_process_and_the_others_in_the_server() {
    let server = Server::with_settings(CRASH);
    let task = run(&server, &crash("none"));
    let child = busy_or_idle(&server);
    assert_eq!(task["result"], child.as_raw_nonzero().get());
    assert_eq!(task["progress"]["text"], "next: None", "{task}");
    assert_eq!(
        run(&server, &json!({"function": "echo", "args": "hi", "reply": "both"}))["result"],
        "hi -> OK"
    );
    let [worker] = &workers(&mut server.connect())[..] else { panic!("there is one") };
    assert_eq!((&worker["name"], &worker["functions"]), (&json!("isolated#1"), &json!(["crash"])));
    let shown = server.think(&["task:functions", "crash"]).exits(0).stdout;
    assert!(shown.contains("child processes of the server"), "{shown}");
    let listed = server.connect().send("{\"command\":\"functions\",\"function\":\"crash\"}\n").json();
    assert_eq!(listed["result"][0]["isolated"], true, "{listed}");
    let status = server.think(&["task:status"]).exits(0).stdout;
    assert!(status.contains("isolated: 1 of 1 run, 0 restarts"), "{status}");
}

/// The only child process.
#[track_caller]
fn busy_or_idle(server: &Server) -> Pid {
    let children = children(&mut server.connect());
    assert_eq!(children.len(), 1);
    children[0]
}

#[test]
fn isolated_function_has_the_settings_and_the_files_of_the_project() {
    let project = Project::with_settings("isolated = [\"send_mail\"]\n");
    let server = Server::with(project, "");
    let args = json!({"to": "ada@example.com", "title": "Hi", "content": "Hello"});
    let task =
        run(&server, &json!({"function": "send_mail", "args": args, "reply": "both", "then": ["echo"]}));
    assert_eq!(task["state"], "done", "{task}");
    assert_eq!(fs::read_dir(server.project.path("runtime/mail")).unwrap().count(), 1);
}

#[test]
fn error_of_an_isolated_handler_is_retried_as_that_of_any_other() {
    let mail = "transport = \"smtp\"\nhost = \"127.0.0.1\"\nport = 1\ntls = \"none\"\n";
    let project = Project::with_settings("isolated = [\"send_mail\"]\nmin_retry_pause = \"1ms\"\n");
    project.write("config/mail.toml", mail);
    let server = Server::with(project, "");
    let args = json!({"to": "ada@example.com", "title": "Hi", "content": "Hello"});
    let task =
        json!({"function": "send_mail", "args": args, "reply": "both", "attempts": 3, "backoff": "1ms"});
    let task = run(&server, &task);
    let expected = (&json!("failed"), &json!(3), &json!(0));
    assert_eq!((&task["state"], &task["attempts"], &task["crashes"]), expected, "{task}");
}

#[test]
fn isolated_names_a_function_that_exists() {
    let refused = |settings: &str| {
        let project = Project::with_settings(settings);
        Ran::of(project.command().args(["task:start", "--port", "0"])).exits(1).stderr
    };
    let said = refused("isolated = [\"ehco\"]\n");
    assert!(said.contains("because: isolated\n") && said.contains("Did you mean \"echo\"?"), "{said}");
    let said = refused("isolated_nice = 20\n");
    assert!(said.contains("config/server.toml:1: `isolated_nice` must be from 0 to 19"), "{said}");
    let said = refused("max_isolated_memory = \"1MB\"\n");
    assert!(said.contains("`max_isolated_memory` must be at least 64MB"), "{said}");
}

#[test]
fn readme_shows_isolated_functions_that_run() {
    let settings = &blocks("toml config/server.toml")[0];
    let server = Server::with_settings(settings);
    let sent = server.think(&["task:send", "crash", "--how", "segmentation_fault", "--wait"]).exits(1);
    let says = "The process of the attempt was killed by signal 11 (SIGSEGV). That was so 2 times: ";
    assert!(sent.stderr.contains(says) && readme().contains(says), "{sent:?}");
    wait_until("both serve", || workers(&mut server.connect()).len() == 2);
}

#[test]
fn arguments_may_be_longer_than_what_a_client_may_leave_unread() {
    let limit = "max_output_buffer = \"16KB\"\n";
    let server = Server::with_settings(&format!("isolated = [\"echo\"]\nisolated_worker_num = 1\n{limit}"));
    server.think(&["task:send", "echo", &"x".repeat(100_000)]).exits(0);
    wait_until("it is done", || server.ledger()["done"] == 1);
    assert_eq!(server.status()["programs"][0]["restarts"], 0);
}

#[test]
fn bench_of_isolated_functions_wants_these_to_be_so() {
    let bench =
        ["task:bench", "--workers", "isolated", "-c", "1", "-d", "1", "-t", "0.1", "--wait", "--json"];
    let server = Server::with_settings("isolated = [\"noop\"]\nisolated_worker_num = 1\n");
    assert_eq!(server.think(&bench).exits(0).json()["lost"], 0);
    let refused = Server::start().think(&bench).exits(2);
    assert!(refused.stderr.contains("isolated = "), "{refused:?}");
}

#[test]
fn isolated_function_without_child_processes_runs_on_workers_elsewhere() {
    for setting in ["isolated_worker_num", "task_worker_num"] {
        let server = Server::with_settings(&format!("isolated = [\"echo\"]\n{setting} = 0\n"));
        let mut client = server.connect();
        send(&mut client, &json!({"function": "echo", "args": "hi", "reply": "both"}));
        let status = server.think(&["task:status"]).exits(0).stdout;
        assert!(status.contains("nobody runs") && status.contains("echo now"), "{status}");
        let project = Project::new();
        let mut work = project.command();
        let work = work.args(["task:work", "--server", &server.address]);
        let mut work = work.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        assert_eq!(client.json()["result"], "hi -> OK");
        kill(&mut work);
    }
}

#[test]
fn tasks_of_one_concurrency_key_run_in_one_child_process_at_a_time() {
    let settings = CRASH.replace("isolated_worker_num = 1", "isolated_worker_num = 2");
    let server = Server::with_settings(&settings);
    let mut client = server.connect();
    let mut task = crash("hang");
    task["concurrency_key"] = "user-7".into();
    let first = send(&mut client, &task);
    let second = send(&mut client, &task);
    begun(&server, first);
    assert_eq!(run(&server, &crash("none"))["state"], "done", "the other process is free");
    assert_eq!(show(&server, second)["state"], "waiting");
    assert_eq!(server.ledger()["running"], 1);
}

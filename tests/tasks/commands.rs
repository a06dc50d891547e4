//! The commands for tasks: task:list, task:show, task:watch, task:cancel, task:retry, task:forget,
//! task:flush.

use std::io::Write;
use std::net::TcpStream;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::eventually::wait_until;
use crate::harness::mail::SilentMailServer;
use crate::harness::server::Server;
use crate::harness::{Project, Ran};

fn ask(server: &Server, request: &Value) -> Value {
    server.connect().send(format!("{request}\n")).json()
}

/// A server whose mails fail, because their folder is a file.
fn server_with_failing_mail() -> Server {
    let project = Project::new();
    project.write("mail", "");
    project.write("config/mail.toml", "folder = \"mail\"\n");
    Server::with(project, "")
}

/// Sends a mail that has one attempt, and waits for its end.
fn fail(server: &Server) {
    let args = json!({"to": "ada@example.com", "title": "Hi", "content": ""});
    let request = json!({"function": "send_mail", "args": args, "attempts": 1, "reply": "result"});
    assert_eq!(ask(server, &request)["status"], "failed");
}

/// A server with a mail on its way to a mail server that never answers.
fn server_with_a_running_task() -> (Server, TcpStream) {
    let mail_server = SilentMailServer::start();
    let project = Project::new();
    mail_server.configure(&project);
    let server = Server::with(project, "");
    let args = json!({"to": "ada@example.com", "title": "Hi", "content": ""});
    ask(&server, &json!({"function": "send_mail", "args": args, "timeout": "1h"}));
    (server, mail_server.accept())
}

#[test]
fn task_list_is_newest_first_and_paged() {
    let server = Server::start();
    for _ in 0..3 {
        server.think(&["task:send", "noop", "{}", "--delay", "1h"]).exits(0);
    }
    server.think(&["task:send", "echo", "\"x\"", "--wait"]).exits(0);
    let ids = |arguments: &[&str]| {
        let ran = server.think(&[&["task:list", "--json"], arguments].concat()).exits(0);
        ran.json()
            .as_array()
            .unwrap()
            .iter()
            .map(|task| task["task_id"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&[]), [3, 2, 1, 0]);
    assert_eq!(ids(&["--state", "waiting", "--limit", "2"]), [2, 1]);
    assert_eq!(ids(&["--state", "waiting", "--before", "1"]), [0]);
    assert_eq!(ids(&["--function", "echo"]), [3]);
    assert_eq!(ids(&["--queue", "mail"]), [] as [u64; 0]);
    let text = server.think(&["task:list"]).exits(0).stdout;
    assert!(text.starts_with("id  state") && text.contains("\n 0  waiting  noop"), "{text}");
}

#[test]
fn task_list_joins_several_replies() {
    let server = Server::start();
    let mut client = server.connect();
    let request = "{\"function\":\"noop\",\"delay\":\"1h\",\"reply\":\"none\"}\n";
    client.send(request.repeat(2_500)).send("{\"command\":\"status\"}\n").json();
    let ran = server.think(&["task:list", "--limit", "100000", "--json"]).exits(0);
    let all = ran.json();
    let ids: Vec<_> = all.as_array().unwrap().iter().map(|task| task["task_id"].as_u64().unwrap()).collect();
    assert_eq!(ids, (0..2_500).rev().collect::<Vec<_>>());
}

#[test]
fn command_sees_tasks_sent_before_it() {
    let server = Server::start();
    let mut client = server.connect();
    client.send("{\"function\":\"noop\",\"delay\":\"1h\"}\n{\"command\":\"show\",\"task\":0,\"id\":7}\n");
    assert_eq!(client.json()["task_id"], 0);
    let shown = client.json();
    assert_eq!((&shown["id"], &shown["result"]["state"]), (&json!(7), &json!("waiting")), "{shown}");
}

#[test]
fn task_show_prints_all_details() {
    let server = server_with_failing_mail();
    fail(&server);
    let story = server.think(&["task:show", "0", "--json"]).exits(0).json();
    assert_eq!(
        (&story["state"], &story["attempts"], &story["max_attempts"]),
        (&json!("failed"), &json!(1), &json!(1))
    );
    assert_eq!(story["history"][0]["pid"], server.pid());
    let text = server.think(&["task:show", "0"]).exits(0).stdout;
    let process = format!("in process {}", server.pid());
    for part in
        ["state           failed", "ada@example.com", "queue           mail", "attempt 1", &process, "mail/"]
    {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[test]
fn unknown_task_is_rejected() {
    let server = Server::start();
    assert_eq!(ask(&server, &json!({"command": "show", "task": 99}))["code"], "unknown_task");
    for command in ["show", "watch", "cancel", "retry", "forget"] {
        let ran = server.think(&[&format!("task:{command}"), "99"]).exits(5);
        assert!(ran.stderr.contains("There is no task 99") && ran.stdout.is_empty(), "{ran:?}");
    }
}

#[test]
fn invalid_command_names_the_mistake() {
    let server = Server::start();
    for (request, said) in [
        (json!({"command": "shwo", "task": 1}), "There is no command \"shwo\"."),
        (json!({"command": "show"}), "needs \"task\""),
        (json!({"command": "show", "taks": 1}), "has no field \"taks\""),
        (json!({"command": "show", "task": -1}), "\"task\" must be"),
        (json!({"command": "list", "state": "doing"}), "\"state\" must be"),
        (json!({"command": "list", "limit": 1001}), "\"limit\" must be"),
        (json!({"command": "list", "queue": "mial"}), "There is no queue \"mial\"."),
        (json!({"command": "retry", "task": 1, "failed": true}), "needs either"),
        (json!({"command": "cancel"}), "needs either \"task\" or \"batch\"."),
        (json!({"command": "watch"}), "needs either \"task\" or \"batch\"."),
        (json!({"command": "watch", "task": 1, "batch": 1}), "either \"task\" or \"batch\", not both."),
        (json!({"command": "watch", "batch": 9}), "There is no batch 9, or it is not kept any more."),
        (json!({"command": "watch", "batch": "9"}), "\"batch\" must be"),
        (json!({"command": "open_batch", "name": "", "function": "ehco"}), "There is no function \"ehco\"."),
        (json!({"command": "open_batch", "name": "", "function": "echo", "then": "echo"}), "do not fit"),
        (json!({"command": "seal_batch", "batch": 9}), "There is no batch 9"),
    ] {
        let answer = ask(&server, &request);
        assert_eq!(answer["status"], "error", "{request}");
        assert!(answer["error"].as_str().unwrap().contains(said), "{request}: {answer}");
    }
}

#[test]
fn cancel_of_a_waiting_task_succeeds_once() {
    let server = Server::start();
    server.think(&["task:send", "noop", "{}", "--delay", "1h"]).exits(0);
    assert_eq!(server.think(&["task:cancel", "0"]).exits(0).stdout, "task 0: cancelled\n");
    let ran = server.think(&["task:cancel", "0", "7", "--json"]).exits(5);
    let told = ran.json();
    assert_eq!((&told[0]["code"], &told[1]["code"]), (&json!("conflict"), &json!("unknown_task")), "{told}");
    let ledger = &server.status()["ledger"];
    assert_eq!((&ledger["cancelled"], &ledger["waiting"]), (&json!(1), &json!(0)));
}

#[test]
fn cancel_of_a_running_task_drops_its_attempt() {
    let (server, _connection) = server_with_a_running_task();
    let ran = server.think(&["task:cancel", "0"]).exits(0);
    assert_eq!(ran.stdout, "task 0: was running and is aborted\n");
    let ran = server.think(&["task:watch", "0"]).exits(1);
    assert!(ran.stderr.contains("was cancelled"), "{ran:?}");
    assert_eq!(server.status()["ledger"]["cancelled"], 1);
}

#[test]
fn retry_runs_a_task_again_and_keeps_its_history() {
    let server = server_with_failing_mail();
    fail(&server);
    fail(&server);
    std::fs::remove_file(server.project.path("mail")).unwrap();
    assert_eq!(server.think(&["task:retry", "1"]).exits(0).stdout, "task 1: waits again\n");
    server.think(&["task:watch", "1"]).exits(0);
    let story = server.think(&["task:show", "1", "--json"]).exits(0).json();
    assert_eq!(
        (&story["state"], &story["history"].as_array().unwrap().len()),
        (&json!("done"), &2),
        "{story}"
    );
    let ran = server.think(&["task:retry", "1"]).exits(5);
    assert!(ran.stderr.contains("done"), "{ran:?}");
    let ran = server.think(&["task:retry", "--failed", "--queue", "default"]).exits(0);
    assert_eq!(ran.stdout, "retried: 0 tasks\n");
    let ran = server.think(&["task:retry", "--failed", "--queue", "mail"]).exits(0);
    assert_eq!(ran.stdout, "retried: 1 task\n");
    server.think(&["task:watch", "0"]).exits(0);
}

#[test]
fn forget_removes_tasks_but_keeps_the_counts() {
    let server = server_with_failing_mail();
    fail(&server);
    fail(&server);
    server.think(&["task:send", "noop", "{}", "--delay", "1h"]).exits(0);
    let ran = server.think(&["task:forget", "2"]).exits(5);
    assert!(ran.stderr.contains("has not ended"), "{ran:?}");
    assert_eq!(server.think(&["task:forget", "0"]).exits(0).stdout, "task 0: forgotten\n");
    server.think(&["task:show", "0"]).exits(5);
    assert_eq!(server.think(&["task:forget", "--failed"]).exits(0).stdout, "forgotten: 1 task\n");
    assert_eq!(server.status()["ledger"]["failed"], 2);
}

#[test]
fn task_watch_exits_with_the_outcome() {
    let server = server_with_failing_mail();
    server.think(&["task:send", "echo", "\"hi\"", "--delay", "100ms"]).exits(0);
    let ran = server.think(&["task:watch", "0"]).exits(0);
    assert_eq!(ran.stdout, "\"hi -> OK\"\n");
    assert!(ran.stderr.contains("done"), "{ran:?}");
    fail(&server);
    let ran = server.think(&["task:watch", "1", "--json"]).exits(1);
    let lines: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let failed = lines.iter().find(|line| line["status"] == "attempt").unwrap();
    assert_eq!((&failed["task_id"], &failed["attempt"]), (&json!(1), &json!(1)), "{ran:?}");
    assert!(lines.iter().any(|line| line["status"] == "watching" && line["state"] == "failed"), "{ran:?}");
    assert_eq!(lines.last().unwrap()["state"], "failed");
    let error: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!((&error["status"], &error["code"]), (&json!("error"), &json!("failed")), "{error}");
}

#[test]
fn error_with_json_is_the_object_of_the_server() {
    let server = Server::start();
    let error = |arguments: &[&str], code: i32| -> Value {
        let ran = server.think(&[arguments, &["--json"]].concat()).exits(code);
        assert_eq!(ran.stdout, "");
        serde_json::from_str(&ran.stderr).unwrap()
    };
    let unknown = error(&["task:send", "ehco", "\"x\""], 5);
    let wire = server.connect().send("{\"function\":\"ehco\",\"args\":\"x\"}\n").json();
    assert_eq!(unknown, wire);
    assert_eq!(error(&["task:show", "7"], 5)["code"], "unknown_task");
    assert_eq!(error(&["task:show", "seven"], 2)["code"], "usage");
    assert_eq!(error(&["task:shwo", "7"], 2)["code"], "usage");
    let away = server.project.think("task:status --json --address 127.0.0.1:1").exits(3).stderr;
    assert_eq!(serde_json::from_str::<Value>(&away).unwrap()["code"], "not_running");
}

#[test]
fn task_flush_asks_unless_forced() {
    let server = Server::start();
    for _ in 0..3 {
        server.think(&["task:send", "noop", "{}", "--delay", "1h"]).exits(0);
    }
    server.think(&["task:send", "noop", "{}", "--delay", "1h", "--queue", "mail"]).exits(0);
    let ran = server.think(&["task:flush", "-n"]).exits(1);
    assert!(ran.stderr.contains("--force"), "{ran:?}");
    assert_eq!(server.status()["ledger"]["waiting"], 4);

    let mut command = server.project.command();
    command.args(["task:flush", "--queue", "mail", "--address", &server.address]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"y\n").unwrap();
    let ran = Ran::finish(child);
    assert!(ran.stderr.contains("Cancel and delete 1 task waiting in the queue mail?"), "{ran:?}");
    assert_eq!(ran.stdout, "cancelled: 1 task\n");

    assert_eq!(server.think(&["task:flush", "--force"]).exits(0).stdout, "cancelled: 3 tasks\n");
    let ledger = &server.status()["ledger"];
    assert_eq!((&ledger["waiting"], &ledger["cancelled"]), (&json!(0), &json!(4)));
}

#[test]
fn ctrl_c_while_send_waits_says_that_the_task_goes_on() {
    let project = Project::new();
    project.write("config/functions.toml", "[functions.slow]\ncommand = [\"sleep\", \"60\"]\n");
    let server = Server::with(project, "");
    for (arguments, stdout) in [(&["--wait"][..], "0\n"), (&["--wait", "--json"][..], "\"task_id\":1")] {
        let mut command = server.project.command();
        command.args(["task:send", "slow", "null"]).args(arguments);
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let id = if stdout == "0\n" { 0 } else { 1 };
        wait_until("the task runs", || server.ledger()["running"] == id + 1);
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let ran = Ran::finish(child).exits(130);
        assert!(ran.stdout.contains(stdout), "{ran:?}");
        assert!(ran.stderr.contains(&format!("task {id} goes on")), "{ran:?}");
    }
}

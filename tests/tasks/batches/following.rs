//! Watching a batch: the command `watch` over lines, frames and WebSocket, and `task:watch --batch`.

use std::process::Stdio;
use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::client::Client;
use crate::harness::eventually::{PATIENCE, wait_until};
use crate::harness::frames::FrameClient;
use crate::harness::lines::Lines;
use crate::harness::metrics::descriptors;
use crate::harness::server::Server;
use crate::harness::websocket::WebSocketClient;
use crate::harness::{Project, Ran};

/// A server that logs no callbacks, and whose mails fail.
fn quiet() -> Server {
    let project = Project::with_settings("app_log = false\n");
    // A mail cannot be put into a folder that is a file.
    project.write("mail", "");
    project.write("config/mail.toml", "folder = \"mail\"\n");
    Server::with(project, "")
}

/// Executes a command, which has to succeed.
#[track_caller]
fn execute(server: &Server, command: &str) -> Value {
    let answer = server.connect().send(format!("{command}\n")).json();
    assert_eq!(answer["status"], "ok", "{command}: {answer}");
    answer
}

fn open(server: &Server) {
    execute(server, r#"{"command":"open_batch","name":"users","function":"echo","then":"batch_ended"}"#);
}

/// Sends this many tasks into batch 1.
fn send_tasks(server: &Server, count: usize) {
    let mut client = server.connect();
    let line = "{\"function\":\"echo\",\"args\":\"a\",\"batch\":1}\n";
    client.send(line.repeat(count));
    for _ in 0..count {
        assert!(client.receives("queued"));
    }
}

fn seal(server: &Server) {
    execute(server, r#"{"command":"seal_batch","batch":1}"#);
}

/// A client that watches batch 1, and its first line.
fn watcher(server: &Server) -> (Client, Value) {
    let mut client = server.connect();
    let first = client.send("{\"command\":\"watch\",\"batch\":1,\"id\":\"b\"}\n").json();
    assert_eq!((&first["id"], &first["status"]), (&json!("b"), &json!("watching")), "{first}");
    (client, first["batch"].clone())
}

/// The batch at its end, from the lines of a watching client.
#[track_caller]
fn last_state(mut line: impl FnMut() -> Value) -> Value {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let line = line();
        assert_eq!(line["id"], "b", "{line}");
        match line["status"].as_str() {
            Some("ended") => return line["batch"].clone(),
            status => assert_eq!(status, Some("progress"), "{line}"),
        }
    }
    panic!("the batch has no end within {PATIENCE:?}")
}

#[test]
fn batch_watch_reports_the_state_and_the_end_with_its_task() {
    let server = quiet();
    open(&server);
    send_tasks(&server, 3);
    let (mut client, first) = watcher(&server);
    assert_eq!(first, execute(&server, r#"{"command":"batch","batch":1}"#)["result"]);
    assert_eq!((&first["state"], &first["total"], &first["done"]), (&json!("open"), &json!(3), &json!(0)));
    seal(&server);
    let end = last_state(|| client.json());
    assert_eq!(end, execute(&server, r#"{"command":"batch","batch":1}"#)["result"]);
    assert_eq!((&end["state"], &end["done"], &end["then_task_id"]), (&json!("ended"), &json!(3), &json!(3)));
    let (mut late, first) = watcher(&server);
    assert_eq!((&first, last_state(|| late.json())), (&end, end.clone()));
    assert_eq!(
        late.send("{\"function\":\"noop\",\"args\":{},\"id\":1}\n").json()["id"],
        1,
        "no further line comes"
    );
    assert_eq!(client.end().rest(), "");
}

#[test]
fn batch_watch_of_ten_thousand_tasks_sends_few_messages() {
    const COUNT: usize = 10_000;
    let server = quiet();
    open(&server);
    let mut page = WebSocketClient::connect(&server);
    page.send(r#"{"command":"watch","batch":1,"id":"b"}"#);
    assert_eq!(page.json()["status"], "watching");
    send_tasks(&server, COUNT);
    seal(&server);
    let (mut lines, mut before) = (0, 0);
    let end = last_state(|| {
        let line = page.json();
        let ended = line["batch"]["done"].as_u64().unwrap();
        assert!(ended >= before, "{ended} after {before}");
        (lines, before) = (lines + 1, ended);
        line
    });
    assert_eq!((&end["total"], &end["done"]), (&json!(COUNT), &json!(COUNT)));
    assert!(lines < COUNT / 10, "{lines} lines for {COUNT} tasks");
}

#[test]
fn batch_sealed_without_tasks_ends_also_in_frames() {
    let server = quiet();
    open(&server);
    let mut client = FrameClient::connect(&server);
    client.send(r#"{"command":"watch","batch":1,"id":"b"}"#);
    assert_eq!(client.json()["status"], "watching");
    seal(&server);
    let end = last_state(|| client.json());
    assert_eq!((&end["total"], &end["then_task_id"]), (&json!(0), &json!(0)));
}

#[test]
fn batch_cancelled_before_its_seal_ends_without_completion() {
    for tasks in [0, 5] {
        let server = quiet();
        open(&server);
        send_tasks(&server, tasks);
        let (mut client, _) = watcher(&server);
        execute(&server, r#"{"command":"cancel","batch":1}"#);
        let end = last_state(|| client.json());
        assert_eq!(
            (&end["cancelled"], &end["total"], &end["done"]),
            (&json!(tasks), &json!(tasks), &json!(0))
        );
        assert_eq!((&end["then"], &end["then_task_id"]), (&Value::Null, &Value::Null));
    }
}

#[test]
fn batch_watch_counts_retried_tasks_back() {
    let server = quiet();
    open(&server);
    send_tasks(&server, 1);
    let mail = r#"{"to":"a@example.com","title":"x","content":"y"}"#;
    let failing = format!("{{\"function\":\"send_mail\",\"args\":{mail},\"batch\":1,\"attempts\":1}}\n");
    assert!(server.connect().send(failing).receives("queued"));
    execute(&server, r#"{"command":"pause","queue":"default"}"#);
    let (mut client, _) = watcher(&server);
    seal(&server);
    // Only the mail can run, and fails; the other one keeps the batch open.
    let wait_for_failed = |client: &mut Client, failed: u64| {
        client.find_json("the count of failed tasks", |line| line["batch"]["failed"] == failed);
    };
    wait_for_failed(&mut client, 1);
    execute(&server, r#"{"command":"pause","queue":"mail"}"#);
    execute(&server, r#"{"command":"retry","failed":true}"#);
    wait_for_failed(&mut client, 0);
    execute(&server, r#"{"command":"resume","queue":"mail"}"#);
    wait_for_failed(&mut client, 1);

    let mut command = server.project.command();
    command.args(["task:watch", "--batch", "1", "--json", "--address", &server.address]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let events = Lines::of(child.stdout.take().unwrap());
    let first: Value = serde_json::from_str(&events.line()).unwrap();
    assert_eq!((&first["status"], &first["batch"]["failed"]), (&json!("watching"), &json!(1)));
    execute(&server, r#"{"command":"resume","queue":"default"}"#);
    assert_eq!(last_state(|| client.json())["failed"], 1);
    let error = Ran::finish(child).exits(1).stderr;
    let story: Value = serde_json::from_str(events.rest().last().unwrap()).unwrap();
    assert_eq!((&story["done"], &story["failed"], &story["state"]), (&json!(1), &json!(1), &json!("ended")));
    assert!(error.contains("1 failed, 0 cancelled, 0 expired; "), "{error}");
    assert!(error.contains(concat!(env!("CARGO_BIN_EXE_think"), " task:list --batch 1")), "{error}");
}

#[test]
fn task_watch_batch_succeeds_when_all_tasks_are_done() {
    let server = quiet();
    open(&server);
    send_tasks(&server, 4);
    seal(&server);
    let ran = server.think(&["task:watch", "--batch", "1"]).exits(0);
    assert!(ran.stdout.starts_with("batch 1: 4 of 4 tasks done"), "{ran:?}");
    let lines = server.think(&["task:watch", "--batch", "1", "--json"]).exits(0).stdout;
    let story: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(story["then_task_id"], 4, "the task made of its end is waited for, too");
    assert_eq!(server.think(&["task:show", "4", "--json"]).exits(0).json()["state"], "done");
    server.think(&["task:watch", "--batch", "2"]).exits(5);
    server.think(&["task:watch", "1", "--batch", "1"]).exits(2);
    server.think(&["task:watch"]).exits(2);
}

#[test]
fn batch_watchers_that_disconnect_are_released() {
    const COUNT: usize = 200;
    let server = quiet();
    open(&server);
    send_tasks(&server, 1);
    // The command that asks is connected, too.
    let wait_for_two = || {
        wait_until("only the watcher is connected", || server.status()["connections"]["current"] == 2);
    };
    let (mut client, _) = watcher(&server);
    wait_for_two();
    let before = descriptors(server.pid());
    let page = |_| {
        let mut page = WebSocketClient::connect(&server);
        page.send(r#"{"command":"watch","batch":1}"#);
        assert_eq!(page.json()["status"], "watching");
        page
    };
    let others: Vec<_> = (0..COUNT).map(page).collect();
    // The connection of the command that asked may be among those before.
    assert!(descriptors(server.pid()) >= before + COUNT - 1);
    drop(others);
    wait_for_two();
    wait_until("the descriptors are closed", || descriptors(server.pid()) <= before);
    seal(&server);
    assert_eq!(last_state(|| client.json())["done"], 1);
    assert_eq!(client.end().rest(), "", "its connection has nothing more to send");
}

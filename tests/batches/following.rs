//! Who follows a batch: the command `watch` over lines, frames and WebSocket, and `task:watch --batch`.

use std::process::Stdio;

use serde_json::{Value, json};

use super::parsed;
use crate::frames::Framed;
use crate::harness::Project;
use crate::harness::server::{Client, Server, lines_of};
use crate::websocket::peer::Peer;

/// A server that says nothing about what it does.
fn quiet() -> Server {
    let project = Project::new();
    project.write("config/server.toml", "app_log = false\n");
    // A mail cannot be put into a folder that is a file.
    project.write("mail", "");
    project.write("config/mail.toml", "folder = \"mail\"\n");
    Server::with(project, "")
}

/// Does what a command says, whose answer has to be good.
#[track_caller]
fn done(server: &Server, command: &str) -> Value {
    let answer = server.connect().send(format!("{command}\n")).json();
    assert_eq!(answer["status"], "ok", "{command}: {answer}");
    answer
}

fn open(server: &Server) {
    done(server, r#"{"command":"open_batch","name":"users","function":"echo","then":"batch_ended"}"#);
}

/// Hands in so many tasks.
fn hand_in(server: &Server, count: usize) {
    let mut client = server.connect();
    let line = "{\"function\":\"echo\",\"args\":\"a\",\"batch\":1}\n";
    client.send(line.repeat(count));
    for _ in 0..count {
        assert!(client.says("queued"));
    }
}

fn seal(server: &Server) {
    done(server, r#"{"command":"seal_batch","batch":1}"#);
}

/// A client that follows batch 1, and the line that it was sent at once.
fn follower(server: &Server) -> (Client, Value) {
    let mut client = server.connect();
    let first = client.send("{\"command\":\"watch\",\"batch\":1,\"id\":\"b\"}\n").json();
    assert_eq!((&first["id"], &first["status"]), (&json!("b"), &json!("watching")), "{first}");
    (client, first["batch"].clone())
}

/// The last line, after some others.
#[track_caller]
fn last(mut line: impl FnMut() -> Value) -> Value {
    loop {
        let line = line();
        assert_eq!(line["id"], "b", "{line}");
        match line["status"].as_str() {
            Some("ended") => return line["batch"].clone(),
            status => assert_eq!(status, Some("progress"), "{line}"),
        }
    }
}

#[test]
fn a_follower_is_told_the_state_at_once_and_the_end_with_the_task_made_of_it() {
    let server = quiet();
    open(&server);
    hand_in(&server, 3);
    let (mut client, first) = follower(&server);
    assert_eq!(first, done(&server, r#"{"command":"batch","batch":1}"#)["result"]);
    assert_eq!((&first["state"], &first["total"], &first["done"]), (&json!("open"), &json!(3), &json!(0)));
    seal(&server);
    let end = last(|| client.json());
    assert_eq!(end, done(&server, r#"{"command":"batch","batch":1}"#)["result"]);
    assert_eq!((&end["state"], &end["done"], &end["then_task"]), (&json!("ended"), &json!(3), &json!(3)));
    let (mut late, first) = follower(&server);
    assert_eq!((&first, last(|| late.json())), (&end, end.clone()));
    assert_eq!(
        late.send("{\"function\":\"noop\",\"args\":{},\"id\":1}\n").json()["id"],
        1,
        "nothing follows"
    );
    assert_eq!(client.end().rest(), "");
}

#[test]
fn ten_thousand_tasks_give_few_messages_to_a_page_and_an_exact_last_one() {
    const COUNT: usize = 10_000;
    let server = quiet();
    open(&server);
    let mut page = Peer::connect(&server);
    page.send(r#"{"command":"watch","batch":1,"id":"b"}"#);
    assert_eq!(page.json()["status"], "watching");
    hand_in(&server, COUNT);
    seal(&server);
    let (mut lines, mut before) = (0, 0);
    let end = last(|| {
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
fn a_batch_that_is_sealed_without_tasks_has_ended_also_in_frames() {
    let server = quiet();
    open(&server);
    let mut client = Framed::connect(&server);
    client.send(r#"{"command":"watch","batch":1,"id":"b"}"#);
    assert_eq!(client.json()["status"], "watching");
    seal(&server);
    let end = last(|| client.json());
    assert_eq!((&end["total"], &end["then_task"]), (&json!(0), &json!(0)));
}

#[test]
fn a_batch_that_is_cancelled_before_it_is_sealed_ends_and_nothing_runs_then() {
    for tasks in [0, 5] {
        let server = quiet();
        open(&server);
        hand_in(&server, tasks);
        let (mut client, _) = follower(&server);
        done(&server, r#"{"command":"cancel","batch":1}"#);
        let end = last(|| client.json());
        assert_eq!(
            (&end["cancelled"], &end["total"], &end["done"]),
            (&json!(tasks), &json!(tasks), &json!(0))
        );
        assert_eq!((&end["then"], &end["then_task"]), (&Value::Null, &Value::Null));
    }
}

#[test]
fn failed_tasks_that_wait_again_are_counted_back_and_watching_fails_with_what_is_left() {
    let server = quiet();
    open(&server);
    hand_in(&server, 1);
    let mail = r#"{"to":"a@example.com","title":"x","content":"y"}"#;
    let failing = format!("{{\"function\":\"send_mail\",\"args\":{mail},\"batch\":1,\"attempts\":1}}\n");
    assert!(server.connect().send(failing).says("queued"));
    done(&server, r#"{"command":"pause","queue":"default"}"#);
    let (mut client, _) = follower(&server);
    seal(&server);
    // Only the mail can run, and fails; the other one keeps the batch open.
    let failed = |failed: u64| move |line: &Value| line["batch"]["failed"] == failed;
    let wait_for = |client: &mut Client, is_it: &dyn Fn(&Value) -> bool| while !is_it(&client.json()) {};
    wait_for(&mut client, &failed(1));
    done(&server, r#"{"command":"pause","queue":"mail"}"#);
    done(&server, r#"{"command":"retry","failed":true}"#);
    wait_for(&mut client, &failed(0));
    done(&server, r#"{"command":"resume","queue":"mail"}"#);
    wait_for(&mut client, &failed(1));

    let mut command = server.project.command();
    command.args(["task:watch", "--batch", "1", "--json", "--address", &server.address]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let said = lines_of(child.stderr.take().unwrap());
    assert!(said.recv().unwrap().contains("50% 1 of 2, 1 failed"));
    done(&server, r#"{"command":"resume","queue":"default"}"#);
    assert_eq!(last(|| client.json())["failed"], 1);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let story: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&story["done"], &story["failed"], &story["state"]), (&json!(1), &json!(1), &json!("ended")));
    let said: String = said.iter().collect();
    assert!(said.contains("1 failed, 0 cancelled, 0 expired; ./think task:list --batch 1"), "{said}");
}

#[test]
fn watching_a_batch_ends_well_with_all_of_it_done() {
    let server = quiet();
    open(&server);
    hand_in(&server, 4);
    seal(&server);
    let ran = server.think(&["task:watch", "--batch", "1"]).exits(0);
    assert!(ran.stdout.starts_with("batch 1: 4 of 4 tasks done"), "{ran:?}");
    let story = parsed(&server.think(&["task:watch", "--batch", "1", "--json"]).exits(0));
    assert_eq!(story["then_task"], 4, "the task made of its end is waited for, too");
    assert_eq!(parsed(&server.think(&["task:show", "4", "--json"]).exits(0))["state"], "done");
    server.think(&["task:watch", "--batch", "2"]).exits(5);
    server.think(&["task:watch", "1", "--batch", "1"]).exits(2);
    server.think(&["task:watch"]).exits(2);
}

#[test]
fn followers_that_leave_take_everything_with_them() {
    const COUNT: usize = 200;
    let server = quiet();
    open(&server);
    hand_in(&server, 1);
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count();
    let current = || server.status()["connections"]["current"].as_u64().unwrap();
    let (mut client, _) = follower(&server);
    while current() != 2 {}
    let before = descriptors();
    let page = |_| {
        let mut page = Peer::connect(&server);
        page.send(r#"{"command":"watch","batch":1}"#);
        assert_eq!(page.json()["status"], "watching");
        page
    };
    let others: Vec<_> = (0..COUNT).map(page).collect();
    assert!(descriptors() >= before + COUNT);
    drop(others);
    // The one who asks is connected, too.
    while current() != 2 {}
    while descriptors() > before {}
    seal(&server);
    assert_eq!(last(|| client.json())["done"], 1);
    assert_eq!(client.end().rest(), "", "its connection owes it nothing more");
}

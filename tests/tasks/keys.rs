//! Idempotency keys: what a second task with the key of an earlier one is answered.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::Project;
use crate::harness::client::Client;
use crate::harness::server::Server;

/// Sends a task of `echo` with a key, and reads the acknowledgement.
fn send(client: &mut Client, arguments: &str, options: &str) -> Value {
    let request = format!("{{\"function\":\"echo\",\"args\":\"{arguments}\",\"key\":\"k\"{options}}}\n");
    client.send(request).json()
}

const LATER: &str = ",\"delay\":\"1h\"";

#[test]
fn duplicate_is_acknowledged_with_the_state_of_the_first_task() {
    let server = Server::start();
    let mut client = server.connect();
    assert_eq!(send(&mut client, "x", LATER)["duplicate"], Value::Null);
    let duplicate = |state| json!({"task_id": 0, "status": "queued", "duplicate": true, "state": state, "durability": "fsync"});
    assert_eq!(send(&mut client, "x", ""), duplicate("waiting"));
    server.think(&["task:cancel", "0"]).exits(0);
    assert_eq!(send(&mut client, "x", ""), duplicate("cancelled"));
    server.think(&["task:retry", "0"]).exits(0);
    server.think(&["task:watch", "0"]).exits(0);
    assert_eq!(send(&mut client, "x", ""), duplicate("done"));
    server.signal(Signal::TERM);
    let server = server.again("");
    assert_eq!(send(&mut server.connect(), "x", ""), duplicate("done"), "after a restart");
    let sent = server.think(&["task:send", "echo", "\"x\"", "--key", "k"]).exits(0);
    assert_eq!(sent.stdout, "0\n");
    assert!(sent.stderr.contains("The key belongs to task 0 already, which is done."), "{sent:?}");
}

#[test]
fn key_is_free_again_when_nothing_is_kept_of_its_task() {
    for durability in ["fsync", "memory"] {
        let server = Server::with_settings(&format!("durability = \"{durability}\""));
        let mut client = server.connect();
        let mut is_new = |id: u64| {
            let reply = send(&mut client, "x", LATER);
            assert_eq!((&reply["task_id"], &reply["duplicate"]), (&json!(id), &Value::Null), "{durability}");
        };
        is_new(0);
        server.think(&["task:cancel", "0"]).exits(0);
        server.think(&["task:forget", "0"]).exits(0);
        is_new(1);
        server.think(&["task:flush", "--force"]).exits(0);
        is_new(2);
    }
}

#[test]
fn key_is_free_again_when_retention_removes_its_task() {
    let server = Server::with_settings("retention_count = 0");
    let mut client = server.connect();
    let first = send(&mut client, "x", "")["task_id"].clone();
    let again = || {
        let reply = send(&mut client, "x", "");
        (reply["duplicate"] != true).then(|| reply["task_id"].clone())
    };
    let again = crate::harness::eventually::eventually("the first task is removed", again);
    assert!(again.as_u64() > first.as_u64());
}

#[test]
fn key_belongs_to_one_function() {
    let server = Server::start();
    let mut client = server.connect();
    assert_eq!(send(&mut client, "x", LATER)["task_id"], 0);
    let other = "{\"function\":\"noop\",\"args\":{},\"key\":\"k\",\"delay\":\"1h\"}\n";
    assert_eq!(client.send(other).json()["task_id"], 1);
    assert_eq!(client.send(other).json()["duplicate"], true);
}

#[test]
fn other_arguments_under_a_key_are_refused() {
    for durability in ["fsync", "memory"] {
        let server = Server::with_settings(&format!("durability = \"{durability}\""));
        let mut client = server.connect();
        // In one read, and so in one group.
        let line = |id, text| {
            format!(
                "{{\"id\":{id},\"function\":\"echo\",\"args\":\"{text}\",\"key\":\"k\",\"delay\":\"1h\"}}\n"
            )
        };
        client.send([line(1, "x"), line(2, "y"), line(3, "x")].concat());
        let replies = [client.json(), client.json(), client.json()];
        assert_eq!((&replies[0]["id"], &replies[0]["status"]), (&json!(1), &json!("queued")));
        assert_eq!((&replies[1]["id"], &replies[1]["code"]), (&json!(2), &json!("key_conflict")));
        assert!(replies[1]["error"].as_str().unwrap().contains("task 0"), "{replies:?}");
        assert_eq!((&replies[2]["id"], &replies[2]["duplicate"]), (&json!(3), &json!(true)));
        let mut http = server.connect();
        let head =
            "POST /tasks/echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nIdempotency-Key: k\r\n";
        let answer = http.send(format!("{head}Content-Length: 3\r\n\r\n\"z\"")).rest();
        assert!(
            answer.starts_with("HTTP/1.1 422 ") && answer.contains("\"code\":\"key_conflict\""),
            "{answer}"
        );
        assert_eq!(server.ledger()["accepted"], 1);
    }
}

#[test]
fn keys_of_a_file_of_schema_1_are_kept() {
    let mut server = Server::start();
    send(&mut server.connect(), "x", LATER);
    server.signal(Signal::TERM);
    server.exit_code();
    let project = std::mem::replace(&mut server.project, Project::new());
    let file = rusqlite::Connection::open(project.path("runtime/queue.db")).unwrap();
    // As an earlier program made it.
    file.execute_batch(
        "CREATE TABLE old (key TEXT PRIMARY KEY, task INTEGER NOT NULL, until_ms INTEGER NOT NULL) WITHOUT ROWID;
         INSERT INTO old SELECT key, task, until_ms FROM keys;
         DROP TABLE keys;
         ALTER TABLE old RENAME TO keys;
         CREATE INDEX keys_by_end ON keys (until_ms);
         ALTER TABLE ends DROP COLUMN worker;
         ALTER TABLE attempts DROP COLUMN worker;
         DROP TABLE changes;
         PRAGMA user_version = 1;",
    )
    .unwrap();
    drop(file);
    let server = Server::with(project, "");
    assert_eq!(send(&mut server.connect(), "x", "")["duplicate"], true);
    assert_eq!(send(&mut server.connect(), "y", "")["code"], "key_conflict");
}

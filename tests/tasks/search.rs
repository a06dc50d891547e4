//! Tasks that are found by their tags, by a text, and by when they were accepted; in every store.

use rusqlite::Connection;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::Project;
use crate::harness::curl::curl_at;
use crate::harness::eventually::wait_until;
use crate::harness::postgres::every_store;
use crate::harness::server::Server;

fn search(server: &Server, query: &str) -> Value {
    curl_at(&server.address, &[&format!("/search?{query}")]).is(200).json()
}

fn ids(found: &Value) -> Vec<u64> {
    found["tasks"].as_array().unwrap().iter().map(|task| task["task_id"].as_u64().unwrap()).collect()
}

fn found(server: &Server, query: &str) -> Vec<u64> {
    let found = search(server, query);
    assert_eq!(found["is_complete"], true, "{found}");
    ids(&found)
}

/// Five tasks: by a line, over HTTP, from the console, two in a chain, and one without a tag.
fn tagged(settings: &str) -> Server {
    let server = Server::with_settings(settings);
    let mut client = server.connect();
    let task = json!({"function": "echo", "args": "to Ada", "tags": {"tenant": 7, "order": "4711"}, "reply": "result"});
    assert_eq!(client.send(format!("{task}\n")).json()["status"], "done");
    let arguments = ["--json", "\"to Bob\"", "/tasks/echo?tags=tenant=8,order=4712&wait=5s"];
    curl_at(&server.address, &arguments).is(200);
    server.think(&["task:send", "echo", "to Cid", "--tag", "tenant=7", "--then", "echo", "--wait"]).exits(0);
    wait_until("the chain is done", || server.ledger()["done"] == 4);
    server.think(&["task:send", "echo", "to Dan", "--delay", "1h"]).exits(0);
    server
}

#[test]
fn tasks_are_found_by_tags_texts_states_and_times() {
    for settings in every_store() {
        let server = tagged(&settings);
        assert_eq!(
            found(&server, "tags=tenant=7"),
            [3, 2, 0],
            "the next of a chain has the tags of the first"
        );
        assert_eq!(found(&server, "tags=tenant=7,order=4711"), [0]);
        assert_eq!(found(&server, "tags=tenant=7,order=4712"), [0_u64; 0]);
        assert_eq!(found(&server, "tags=tenant=8&state=waiting"), [0_u64; 0]);
        assert_eq!(found(&server, "text=TO%20ADA"), [0]);
        assert_eq!(found(&server, "text=to%20%25"), [0_u64; 0], "no letter has a meaning of its own");
        assert_eq!(found(&server, "text=echo&state=waiting"), [4]);
        assert_eq!(found(&server, "since=1h&state=done"), [3, 2, 1, 0]);
        assert_eq!(found(&server, "until=1h"), [0_u64; 0]);
        assert_eq!(
            found(&server, "since=2020-01-01T00:00:00%2B08:00&until=2090-01-01T00:00:00Z&function=echo")
                .len(),
            5
        );
        assert_eq!(
            search(&server, "text=to%20Ada")["tasks"][0]["tags"],
            json!({"order": "4711", "tenant": "7"})
        );
        for wrong in ["tags=tenant", "tags=te%20nant=7", "since=yesterday", "state=lost", "queue=nowhere"] {
            curl_at(&server.address, &[&format!("/search?{wrong}")]).is(400);
        }
        curl_at(&server.address, &["--json", "\"x\"", "/tasks/echo?tags=tenant"]).is(400);
        assert_eq!(server.ledger()["accepted"], 5);
    }
}

#[test]
fn searches_go_on_page_by_page() {
    for settings in every_store() {
        let server = Server::with_settings(&settings);
        let mut client = server.connect();
        for number in 0..25 {
            let task = json!({"function": "noop", "args": number, "tags": {"even": number % 2 == 0}, "reply": "none"});
            client.send(format!("{task}\n"));
        }
        wait_until("they are accepted", || server.ledger()["accepted"] == 25);
        let (mut all, mut query) = (Vec::new(), "tags=even=true&limit=5".to_owned());
        loop {
            let page = search(&server, &query);
            all.extend(ids(&page));
            if page["is_complete"] == true {
                break;
            }
            query = format!("tags=even=true&limit=5&before={}", page["before"]);
        }
        assert_eq!(all, (0..25).rev().filter(|id| id % 2 == 0).collect::<Vec<_>>());
    }
}

#[test]
fn tags_are_kept_over_a_kill_and_a_repair_and_go_with_their_task() {
    let server = tagged("");
    server.signal(Signal::KILL);
    let mut server = server.again("");
    assert_eq!(found(&server, "tags=tenant=7"), [3, 2, 0]);
    server.think(&["task:forget", "2"]).exits(0);
    assert_eq!(found(&server, "tags=tenant=7"), [3, 0]);
    let shown = server.think(&["task:show", "0"]).exits(0).stdout;
    assert!(shown.contains("order=4711, tenant=7"), "{shown}");
    let listed =
        server.think(&["task:list", "--tag", "tenant=7", "--text", "ada", "--since", "1h", "--json"]);
    assert_eq!(listed.exits(0).json()[0]["task_id"], 0);
    server.think(&["task:list", "--tag", "tenant"]).exits(2);
    server.think(&["task:list", "--since", "yesterday"]).exits(2);
    server.think(&["task:send", "--raw", "hello", "--tag", "a=b"]).exits(2);

    server.signal(Signal::TERM);
    server.exit_code();
    let project = std::mem::replace(&mut server.project, Project::new());
    let file = Connection::open(project.path("runtime/queue.db")).unwrap();
    let rows = |file: &Connection| {
        file.query_row("SELECT count(*) FROM tags", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(rows(&file), 5, "those of a task that is gone are gone");
    file.execute("DELETE FROM tags", []).unwrap();
    drop(file);
    project.think("queue:repair").exits(0);
    let server = Server::with(project, "");
    assert_eq!(found(&server, "tags=tenant=7"), [3, 0]);
    assert_eq!(found(&server, "tags=order=4712"), [1]);
}

//! Failed tasks by their causes: shown, previewed, retried and removed, in every store.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::Project;
use crate::harness::curl::curl_at;
use crate::harness::eventually::wait_until;
use crate::harness::metrics::assert_balanced;
use crate::harness::postgres::every_store;
use crate::harness::server::Server;

/// Fails with its argument, which may be a number, in its error; works once the file `works` is there.
const BOUNCE: &str = "read n; test -e works && exit 0; echo \"mailbox $n@example.com is full\" >&2; exit 1";
const FUNCTIONS: &str = "[functions.bounce]\ncommand = [\"sh\", \"bounce.sh\"]\nattempts = 1\n\
    [functions.refuse]\ncommand = [\"sh\", \"-c\", \"echo refused >&2; exit 1\"]\nattempts = 1\nqueue = \"late\"\n";

/// A server with three failed tasks of one cause, and one of another one.
fn failed(settings: &str) -> Server {
    let project = Project::with_settings(settings);
    project.write("bounce.sh", BOUNCE);
    project.write("config/functions.toml", FUNCTIONS);
    let server = Server::with(project, "");
    let mut client = server.connect();
    for task in [
        json!({"function": "bounce", "args": 17}),
        json!({"function": "refuse"}),
        json!({"function": "bounce", "args": 4}),
        json!({"function": "bounce", "args": 1811}),
    ] {
        let mut task = task;
        task["reply"] = "result".into();
        assert_eq!(client.send(format!("{task}\n")).json()["status"], "failed");
    }
    server
}

fn failures(server: &Server, query: &str) -> Value {
    curl_at(&server.address, &[&format!("/failures{query}")]).is(200).json()
}

/// The causes of a report, each with its number of tasks and its function.
fn causes(report: &Value) -> Vec<(String, u64, String)> {
    let groups = report["groups"].as_array().unwrap().iter();
    let text = |group: &Value, name: &str| group[name].as_str().unwrap().to_owned();
    groups
        .map(|group| (text(group, "cause"), group["tasks"].as_u64().unwrap(), text(group, "function")))
        .collect()
}

fn counts(server: &Server) -> Vec<(u64, String)> {
    causes(&failures(server, "")).into_iter().map(|(_, count, function)| (count, function)).collect()
}

#[test]
fn failures_are_grouped_by_function_and_by_what_their_errors_have_in_common() {
    for settings in every_store() {
        let server = failed(&settings);
        let report = failures(&server, "");
        assert_eq!((&report["failed"], &report["is_complete"]), (&json!(4), &json!(true)), "{report}");
        let group = &report["groups"][0];
        assert!(group["pattern"].as_str().unwrap().contains("mailbox # is full"), "{report}");
        assert!(group["error"].as_str().unwrap().contains("mailbox 1811@example.com is full"), "{report}");
        assert_eq!((&group["last_task_id"], &group["days"][0]["tasks"]), (&json!(3), &json!(3)), "{report}");
        assert_eq!(counts(&server), [(3, "bounce".into()), (1, "refuse".into())]);
        assert_eq!(causes(&failures(&server, "?queue=late")).len(), 1);
        let first = causes(&failures(&server, "?limit=1"));
        let cause = &first[0].0;
        assert_eq!(causes(&failures(&server, &format!("?cause={cause}"))), first);
        assert_eq!(failures(&server, "?limit=1")["unlisted"], 1);
        curl_at(&server.address, &["/failures?cause=12"]).is(400);
        curl_at(&server.address, &["/failures?queue=lat"]).is(400);
    }
}

#[test]
fn failures_of_one_cause_are_previewed_and_retried_from_the_console() {
    let server = failed("");
    let causes = causes(&failures(&server, ""));
    let (bounced, refused) = (&*causes[0].0, &*causes[1].0);
    let table = server.think(&["task:failures"]).exits(0).stdout;
    assert!(table.contains(bounced) && table.contains("mailbox # is full"), "{table}");
    let whole = server.think(&["task:failures", "--cause", bounced]).exits(0).stdout;
    assert!(whole.contains("mailbox 1811@example.com is full") && !whole.contains(refused), "{whole}");

    let preview = server.think(&["task:retry", "--cause", bounced, "--dry-run"]).exits(0).stdout;
    assert!(preview.starts_with("would be retried: 3 tasks\noldest: task 0, "), "{preview}");
    assert!(preview.contains("\nnewest: task 3, "), "{preview}");
    assert_eq!(counts(&server).len(), 2, "nothing has changed");

    server.project.write("works", "");
    let retried = server.think(&["task:retry", "--cause", bounced]).exits(0).stdout;
    assert_eq!(retried, "retried: 3 tasks\n");
    wait_until("they are done", || server.ledger()["done"] == 3);
    assert_eq!(counts(&server), [(1, "refuse".into())]);

    let forgotten = server.think(&["task:forget", "--failed", "--function", "refuse", "--json"]).exits(0);
    assert_eq!(forgotten.json(), json!({"tasks": 1}));
    assert_eq!(server.think(&["task:failures"]).exits(0).stdout, "");
    server.think(&["task:retry", "--cause", "12"]).exits(2);
    server.think(&["task:retry", "--cause", bounced, "7"]).exits(2);
}

#[test]
fn failures_keep_their_causes_over_a_kill() {
    let server = failed("");
    let before = failures(&server, "");
    server.signal(Signal::KILL);
    let server = server.again("");
    assert_eq!(failures(&server, ""), before);
    let cause = &before["groups"][0]["cause"];
    let body = json!({"cause": cause, "dry_run": true}).to_string();
    let arguments = ["-X", "POST", "-H", "content-type: application/json", "-d", &body, "/failures/forget"];
    let preview: Value = curl_at(&server.address, &arguments).is(200).json();
    assert_eq!((&preview["tasks"], &preview["oldest"]["task_id"]), (&json!(3), &json!(0)), "{preview}");
    let body = json!({"cause": cause}).to_string();
    let arguments = ["-X", "POST", "-H", "content-type: application/json", "-d", &body, "/failures/forget"];
    let reply: Value = curl_at(&server.address, &arguments).is(200).json();
    assert_eq!(reply, json!({"tasks": 3}));
    assert_eq!(counts(&server), [(1, "refuse".into())]);
    assert_balanced(&server.ledger());
}

#[test]
fn previews_of_cancel_and_flush_count_what_waits_and_change_nothing() {
    for settings in every_store() {
        let server = Server::with_settings(&settings);
        server.think(&["queue:pause", "default"]).exits(0);
        let mut client = server.connect();
        client.send("{\"command\":\"open_batch\",\"name\":\"many\",\"function\":\"echo\"}\n").line();
        for options in ["", ",\"batch\":1", ",\"batch\":1"] {
            client.send(format!("{{\"function\":\"echo\",\"args\":\"x\"{options}}}\n")).line();
        }
        client.send("{\"command\":\"seal_batch\",\"batch\":1}\n").line();
        let preview = |command: &[&str]| server.think(command).exits(0).json()["tasks"].as_u64();
        assert_eq!(preview(&["task:cancel", "--batch", "1", "--dry-run", "--json"]), Some(2));
        assert_eq!(preview(&["task:flush", "--dry-run", "--json"]), Some(3));
        assert_eq!(preview(&["task:flush", "--queue", "mail", "--dry-run", "--json"]), Some(0));
        assert_eq!(preview(&["task:retry", "--batch", "1", "--dry-run", "--json"]), Some(0));
        let one = client.send("{\"command\":\"cancel\",\"task\":0,\"dry_run\":true}\n").json();
        assert_eq!(one["code"], "bad_request", "{one}");
        assert_eq!(server.ledger()["waiting"], 3);
    }
}

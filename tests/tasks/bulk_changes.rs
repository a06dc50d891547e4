//! Changes of many tasks: cut short by a kill or by Ctrl-C, with numbers that are true at each moment.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::client::Client;
use crate::harness::eventually::{eventually, wait_until};
use crate::harness::metrics::assert_balanced;
use crate::harness::server::Server;
use crate::harness::{Project, Ran};

/// Enough for many steps.
const MANY: u64 = 20_000;

/// A server whose queue is paused.
fn paused() -> Server {
    let server = Server::start();
    server.think(&["queue:pause", "default"]).exits(0);
    server
}

/// Sends many tasks with these options, and returns when all of them are accepted.
fn push_many(server: &Server, options: &str) {
    let mut client = server.connect();
    let before = client.status()["ledger"]["accepted"].as_u64().unwrap();
    let line = format!("{{\"function\":\"echo\",\"args\":\"x\",\"reply\":\"none\"{options}}}\n");
    client.send(line.repeat(MANY as usize));
    wait_until("they are accepted", || client.status()["ledger"]["accepted"] == before + MANY);
}

fn open_batch(client: &mut Client) {
    let open = "{\"command\":\"open_batch\",\"name\":\"many\",\"function\":\"echo\"}\n";
    assert_eq!(client.send(open).json()["result"]["batch_id"], 1);
}

/// Sends a command, and kills the server when some tasks are changed, or all of them if that was quicker.
fn kill_within(server: Server, command: &str) -> Server {
    let (mut asking, mut watching) = (server.connect(), server.connect());
    asking.send(command);
    eventually("some tasks are changed", || {
        let changes = watching.send("{\"command\":\"changes\"}\n").json()["result"].take();
        let change = changes.as_array().unwrap().first().cloned();
        match change {
            Some(change) => (change["changed"] != 0).then_some(()),
            None => has_reply(&mut asking).then_some(()),
        }
    });
    server.signal(Signal::KILL);
    server.again("")
}

fn has_reply(client: &mut Client) -> bool {
    let mut byte = [0];
    let stream = client.stream();
    stream.set_nonblocking(true).unwrap();
    let has_some = stream.peek(&mut byte).is_ok_and(|count| count > 0);
    stream.set_nonblocking(false).unwrap();
    has_some
}

fn ledger_when(server: &Server, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let mut client = server.connect();
    let ledger = eventually(what, || Some(client.status()["ledger"].take()).filter(&holds));
    assert_balanced(&ledger);
    ledger
}

fn batch(server: &Server) -> Value {
    server.connect().send("{\"command\":\"batch\",\"batch\":1}\n").json()["result"].take()
}

#[test]
fn retry_of_one_cause_goes_on_after_a_kill_and_leaves_other_failures_alone() {
    let project = Project::new();
    // The folder of the mails is a file: all mails fail.
    project.write("mail", "");
    project.write("config/mail.toml", "folder = \"mail\"\n");
    project.write("config/functions.toml", "[functions.refuse]\ncommand = [\"false\"]\nqueue = \"mail\"\n");
    let server = Server::with(project, "");
    let mut client = server.connect();
    let mail = json!({"to": "ada@example.com", "title": "x", "content": "x"});
    for (count, function, args) in [(MANY, "send_mail", mail), (3, "refuse", json!(null))] {
        let task = json!({"function": function, "args": args, "attempts": 1, "reply": "none"});
        client.send(format!("{task}\n").repeat(count as usize));
    }
    wait_until("they fail", || client.status()["ledger"]["failed"] == MANY + 3);
    let report = client.send("{\"command\":\"failures\"}\n").json()["result"].take();
    let cause = &report["groups"][0]["cause"];
    assert_eq!(report["groups"][0]["function"], "send_mail", "{report}");
    server.think(&["queue:pause", "mail"]).exits(0);
    let server = kill_within(server, &format!("{{\"command\":\"retry\",\"cause\":{cause}}}\n"));
    let ledger = ledger_when(&server, "all of the cause wait", |ledger| ledger["waiting"] == MANY);
    assert_eq!(ledger["failed"], 3, "{ledger}");
}

#[test]
fn batch_that_was_cancelled_before_its_seal_never_runs_after_a_kill() {
    let server = Server::start();
    open_batch(&mut server.connect());
    push_many(&server, ",\"batch\":1");
    let server = kill_within(server, "{\"command\":\"cancel\",\"batch\":1}\n");
    let ledger = ledger_when(&server, "all of it is cancelled", |ledger| ledger["waiting"] == 0);
    assert_eq!((&ledger["done"], &ledger["cancelled"]), (&json!(0), &json!(MANY)));
    let batch = batch(&server);
    assert_eq!((&batch["state"], &batch["cancelled"]), (&json!("ended"), &json!(MANY)));
    let late = "{\"function\":\"echo\",\"args\":\"x\",\"batch\":1}\n";
    let refused = server.connect().send(late).json();
    assert_eq!(
        (&refused["code"], &refused["error"]),
        (&json!("conflict"), &json!("Batch 1 has ended already."))
    );
}

#[test]
fn flush_goes_on_after_a_kill() {
    let server = paused();
    push_many(&server, "");
    let server = kill_within(server, "{\"command\":\"flush\"}\n");
    let ledger = ledger_when(&server, "all are cancelled", |ledger| ledger["waiting"] == 0);
    assert_eq!((&ledger["accepted"], &ledger["cancelled"]), (&json!(MANY), &json!(MANY)));
}

#[test]
fn retry_of_a_running_batch_keeps_its_counts_true_through_a_kill() {
    let server = paused();
    let mut client = server.connect();
    open_batch(&mut client);
    push_many(&server, ",\"batch\":1,\"expires\":\"1ms\"");
    let last = "{\"function\":\"echo\",\"args\":\"x\",\"batch\":1,\"delay\":\"1day\"}\n";
    assert_eq!(client.send(last).json()["status"], "queued");
    assert_eq!(client.send("{\"command\":\"seal_batch\",\"batch\":1}\n").json()["result"], "done");
    ledger_when(&server, "they expire", |ledger| ledger["expired"] == MANY);
    let server = kill_within(server, "{\"command\":\"retry\",\"batch\":1}\n");
    let ledger = ledger_when(&server, "all wait again", |ledger| ledger["waiting"] == MANY + 1);
    assert_eq!(ledger["expired"], 0);
    let batch = batch(&server);
    assert_eq!((&batch["state"], &batch["total"]), (&json!("running"), &json!(MANY + 1)));
    assert_eq!((&batch["expired"], &batch["done"]), (&json!(0), &json!(0)));
}

#[test]
fn ctrl_c_ends_a_flush_between_two_steps_and_says_how_far_it_came() {
    let server = paused();
    push_many(&server, "");
    let mut command = server.project.command();
    command.args(["task:flush", "--force", "--address", &server.address]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut client = server.connect();
    wait_until("some are cancelled", || client.status()["ledger"]["cancelled"] != 0);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = Ran::finish(child);
    let ledger = ledger_when(&server, "the change ends", |_| {
        server.connect().send("{\"command\":\"changes\"}\n").json()["result"] == json!([])
    });
    // It may have come to its end before the signal came.
    if ledger["waiting"] == 0 {
        ran.exits(0);
    } else {
        let ran = ran.exits(130);
        let said = format!("interrupted: {} tasks", ledger["cancelled"]);
        assert!(ran.stderr.contains(&said), "no {said:?}: {ran:?}");
    }
}

#[test]
fn more_open_batches_than_the_limit_are_refused_and_idle_ones_are_cancelled() {
    let server = Server::with_settings("max_open_batches = 1\nbatch_idle_time = \"1s\"\n");
    let mut client = server.connect();
    open_batch(&mut client);
    let task = "{\"function\":\"echo\",\"args\":\"x\",\"batch\":1}\n";
    assert_eq!(client.send(task).json()["status"], "queued");
    let open = "{\"command\":\"open_batch\",\"name\":\"two\",\"function\":\"echo\"}\n";
    let refused = client.send(open).json();
    assert_eq!(refused["code"], "busy");
    assert!(refused["error"].as_str().unwrap().contains("max_open_batches"), "{refused}");
    assert_eq!(client.status()["limits"]["max_open_batches"], 1);
    let ledger = ledger_when(&server, "the batch is cancelled", |ledger| ledger["cancelled"] == 1);
    assert_eq!(ledger["done"], 0);
    assert_eq!(client.send(open).json()["result"]["batch_id"], 2);
}

//! Tasks that a child process holds behind the one that it runs, while these are short.

use serde_json::{Value, json};

use super::{Server, begun, crash, send, show, workers};
use crate::harness::client::Client;
use crate::harness::eventually::wait_until;

/// The processes for `crash`, which give up an attempt soon that does not stop.
fn start(processes: u32) -> Server {
    Server::with_settings(&format!(
        "isolated = [\"crash\"]\nisolated_worker_num = {processes}\nworker_cancel_time = \"200ms\"\nmin_retry_pause = \"1ms\"\n"
    ))
}

/// Sends so many short tasks at once; the number of the first.
fn send_short(client: &mut Client, count: u64) -> u64 {
    let line = json!({"function": "crash", "args": {"how": "none"}, "reply": "ack"}).to_string() + "\n";
    client.send(line.repeat(count as usize));
    let ids: Vec<_> = (0..count).map(|_| client.json()["task_id"].as_u64().unwrap()).collect();
    ids[0]
}

#[track_caller]
fn wait_for_all(server: &Server) {
    wait_until("all tasks have ended", || {
        let ledger = server.ledger();
        ledger["waiting"] == 0 && ledger["running"] == 0
    });
}

/// Requires that the tasks from this one on are done, each by one attempt without a crash, and have kept
/// what they have reported.
#[track_caller]
fn assert_done_once(server: &Server, tasks: impl Iterator<Item = u64>) {
    for id in tasks {
        let task = show(server, id);
        let facts = [&task["state"], &task["attempts"], &task["crashes"], &task["progress"]["text"]];
        assert_eq!(facts, [&json!("done"), &json!(1), &json!(0), &json!("next: None")], "{task}");
    }
}

#[test]
fn process_that_crashes_costs_the_task_that_it_ran_and_none_that_it_held() {
    let server = start(1);
    let mut client = server.connect();
    let first = send_short(&mut client, 200);
    let crashed = send(
        &mut client,
        &json!({"function": "crash", "args": {"how": "segmentation_fault"}, "reply": "ack"}),
    );
    send_short(&mut client, 200);
    wait_for_all(&server);
    let task = show(&server, crashed);
    assert_eq!((&task["state"], &task["crashes"]), (&json!("failed"), &json!(2)), "{task}");
    assert_done_once(&server, (first..crashed).chain(crashed + 1..=crashed + 200));
}

#[test]
fn tasks_behind_a_long_one_go_to_another_process() {
    let server = start(2);
    let mut client = server.connect();
    let first = send_short(&mut client, 300);
    let long = send(&mut client, &crash("hang"));
    let last = send_short(&mut client, 300) + 299;
    begun(&server, long);
    wait_until("all others are done", || server.ledger()["done"] == 600);
    assert_done_once(&server, (first..=last).filter(|id| *id != long));
    let running: Vec<Value> =
        workers(&mut server.connect()).iter().map(|worker| worker["running"].clone()).collect();
    assert!(running.contains(&json!(1)) && running.contains(&json!(0)), "{running:?}");
}

#[test]
fn timeout_counts_from_the_beginning_of_an_attempt_and_not_from_when_its_process_got_it() {
    let server = start(1);
    let mut client = server.connect();
    send_short(&mut client, 100);
    let hang = json!({"function": "crash", "args": {"how": "hang"}, "timeout": "300ms", "attempts": 1, "reply": "ack"});
    let hanging = [(); 3].map(|()| send(&mut client, &hang));
    let first = send_short(&mut client, 50);
    wait_for_all(&server);
    for id in hanging {
        let task = show(&server, id);
        let ran_ms = task["history"][0]["ran_ms"].as_f64().unwrap();
        assert!(task["attempts"] == 1 && task["crashes"] == 0 && ran_ms >= 300.0, "{task}");
    }
    assert_done_once(&server, first..first + 50);
}

#[test]
fn task_that_a_process_holds_and_has_not_begun_is_cancelled_without_ending_another_one() {
    let server = start(1);
    let mut client = server.connect();
    let tasks = send_short(&mut client, 400);
    let cancelled = (tasks..tasks + 400).rev().step_by(7).filter(|id| {
        let line = json!({"command": "cancel", "task": id}).to_string() + "\n";
        server.connect().send(line).json()["status"] == "ok"
    });
    let asked = cancelled.count() as u64;
    wait_for_all(&server);
    let ledger = server.ledger();
    let ended = ledger["done"].as_u64().unwrap() + ledger["cancelled"].as_u64().unwrap();
    assert!(ended == 400 && ledger["cancelled"].as_u64().unwrap() <= asked, "{ledger}");
    assert!(server.status()["programs"][0]["restarts"] == 0, "{}", server.status()["programs"]);
}

//! Every action of the pages does what its verb does, and says to how many.

use serde_json::{Value, json};

use super::{fill, opened, send, url, wait_for};
use crate::harness::eventually::eventually;
use crate::harness::server::Server;

fn queue(server: &Server, name: &str) -> Value {
    let queues = server.think(&["queue:list", "--json"]).exits(0).json();
    queues.as_array().unwrap().iter().find(|queue| queue["name"] == name).unwrap().clone()
}

#[test]
fn queue_is_paused_resumed_and_emptied() {
    let (server, _chromium, mut tab) = opened("");
    fill(&server);
    tab.go(&url(&server, "queues"));
    tab.click("tr:has(a[href='tasks?queue=mail']) button", "Pause");
    assert!(tab.text().contains("The queue is paused."), "{}", tab.text());
    assert_eq!(queue(&server, "mail")["paused"], true);
    for _ in 0..3 {
        send(&server, &json!({ "function": "echo", "args": "x", "queue": "mail" }));
    }
    tab.go(&url(&server, ""));
    assert!(tab.text().contains("The queue mail is paused; 3 tasks wait in it."), "{}", tab.text());
    tab.go(&url(&server, "queues"));
    tab.click("tr:has(a[href='tasks?queue=mail']) button", "Empty");
    assert!(tab.text().contains("3 tasks that wait in the queue mail"), "{}", tab.text());
    tab.click("a", "No, back");
    assert_eq!(queue(&server, "mail")["waiting"], 3);
    tab.click("tr:has(a[href='tasks?queue=mail']) button", "Empty");
    tab.click("button", "Empty");
    assert!(tab.text().contains("3 tasks were cancelled."), "{}", tab.text());
    wait_for(&server, &json!({ "cancelled": 4 }));
    tab.click("tr:has(a[href='tasks?queue=mail']) button", "Resume");
    assert_eq!(queue(&server, "mail")["paused"], false);
    tab.assert_no_problems();
}

#[test]
fn task_is_cancelled_retried_and_removed() {
    let (server, _chromium, mut tab) = opened("");
    fill(&server);
    tab.go(&url(&server, "tasks/5"));
    tab.click("button", "Cancel");
    assert!(tab.text().contains("Task 5: echo, Waiting"), "{}", tab.text());
    tab.click("button", "Cancel");
    assert!(tab.text().contains("Cancelled"), "{}", tab.text());
    wait_for(&server, &json!({ "cancelled": 2 }));
    tab.click("button", "Retry");
    assert!(tab.text().contains("The task waits again."), "{}", tab.text());
    wait_for(&server, &json!({ "cancelled": 1, "done": 6 }));
    tab.go(&url(&server, "tasks/5"));
    tab.click("button", "Remove");
    tab.click("button", "Remove");
    assert!(tab.text().contains("The task was removed."), "{}", tab.text());
    server.think(&["task:show", "5"]).exits(5);
    tab.assert_no_problems();
}

#[test]
fn failed_tasks_are_retried_and_removed_together() {
    let (server, _chromium, mut tab) = opened("");
    fill(&server);
    tab.go(&url(&server, "failures?queue=mail"));
    let attempts =
        |server: &Server| server.think(&["task:show", "3", "--json"]).exits(0).json()["attempts"].clone();
    assert_eq!(attempts(&server), 2);
    tab.click("button", "Retry all");
    assert!(tab.text().contains("2 failed tasks of the queue mail"), "{}", tab.text());
    tab.click("button", "Retry all");
    assert!(tab.text().contains("2 tasks wait again."), "{}", tab.text());
    eventually("they have failed again", || (attempts(&server) == 4).then_some(()));
    wait_for(&server, &json!({ "failed": 2 }));
    tab.go(&url(&server, "failures"));
    tab.click("a.row", "");
    assert!(tab.text().contains("What the errors have in common"), "{}", tab.text());
    tab.click("button", "Remove all");
    assert!(tab.text().contains("2 failed tasks of the cause "), "{}", tab.text());
    tab.click("a", "No, back");
    tab.go(&url(&server, "failures"));
    tab.click("button", "Remove all");
    assert!(tab.text().contains("2 failed tasks of all queues"), "{}", tab.text());
    tab.click("button", "Remove all");
    assert!(tab.text().contains("2 tasks were removed."), "{}", tab.text());
    assert!(tab.text().contains("No failed task is kept."), "{}", tab.text());
    tab.assert_no_problems();
}

#[test]
fn schedule_runs_now_and_is_paused() {
    let (server, _chromium, mut tab) = opened("");
    tab.go(&url(&server, "schedules"));
    tab.click("button", "Run now");
    assert!(tab.text().contains("The schedule has made this task."), "{}", tab.text());
    tab.wait("document.querySelector('main').innerText.includes('report -> OK')");
    tab.go(&url(&server, "schedules"));
    tab.click("button", "Pause");
    let schedules = server.think(&["schedule:list", "--json"]).exits(0).json();
    assert_eq!(schedules[0]["paused"], true, "{schedules}");
    tab.click("button", "Resume");
    assert!(tab.text().contains("The schedule is resumed."), "{}", tab.text());
    tab.assert_no_problems();
}

#[test]
fn batch_is_cancelled_and_retried() {
    let (server, _chromium, mut tab) = opened("");
    server.think(&["queue:pause", "default"]).exits(0);
    server.project.write("slow.ndjson", "\"x\"\n\"y\"\n\"z\"\n");
    let file = server.project.path("slow.ndjson");
    server.think(&["task:batch", "echo", file.to_str().unwrap(), "--detach"]).exits(0);
    tab.go(&url(&server, "batches/1"));
    tab.click("button", "Cancel the batch");
    assert!(tab.text().contains("3 tasks of batch 1"), "{}", tab.text());
    tab.click("button", "Cancel the batch");
    wait_for(&server, &json!({ "cancelled": 3 }));
    server.think(&["queue:resume", "default"]).exits(0);
    tab.go(&url(&server, "batches/1"));
    tab.click("button", "Retry the batch");
    tab.click("button", "Retry the batch");
    assert!(tab.text().contains("3 tasks wait again."), "{}", tab.text());
    wait_for(&server, &json!({ "done": 3, "cancelled": 0 }));
    tab.assert_no_problems();
}

#[test]
fn form_of_a_function_sends_a_task() {
    let (server, _chromium, mut tab) = opened("");
    tab.go(&url(&server, "functions/send_mail"));
    tab.eval("document.querySelector('[name=\"arg.to\"]').value = 'ada@example.com'");
    tab.eval("document.querySelector('[name=\"arg.cc\"]').value = 'no JSON'");
    tab.eval("document.querySelector('[name=delay]').value = '1h'");
    tab.click("button", "Send");
    assert!(tab.text().contains("The field \"cc\" must be JSON"), "{}", tab.text());
    assert_eq!(
        tab.eval("document.querySelector('[name=\"arg.to\"]').value"),
        "ada@example.com",
        "it is still there"
    );
    tab.eval("document.querySelector('[name=\"arg.cc\"]').value = '[\"bob@example.com\"]'");
    tab.eval("document.querySelector('[name=\"arg.content\"]').value = 'Dear Ada,\\nhello'");
    tab.click("button", "Send");
    assert!(tab.text().contains("The task was accepted."), "{}", tab.text());
    let task = server.think(&["task:show", "0", "--json"]).exits(0).json();
    let args = json!({ "cc": ["bob@example.com"], "content": "Dear Ada,\nhello", "to": "ada@example.com" });
    assert_eq!((&task["args"], &task["state"]), (&args, &json!("waiting")));
    tab.go(&url(&server, "functions/echo"));
    tab.eval("document.querySelector('[name=arg]').value = '\"quoted\"'");
    tab.eval("document.querySelector('[name=queue]').value = 'none'");
    tab.click("button", "Send");
    assert!(tab.text().contains("none"), "an unknown queue is refused: {}", tab.text());
    tab.eval("document.querySelector('[name=queue]').value = ''");
    tab.click("button", "Send");
    tab.wait("document.querySelector('main').innerText.includes('-> OK')");
    tab.assert_no_problems();
}

#[test]
fn worker_is_drained() {
    let (server, _chromium, mut tab) = opened("");
    let mut worker = server.connect();
    let work = r#"{"command":"work","version":1,"worker":"<b>host</b>:7","language":"php/8.2","credit":1,"functions":[{"name":"resize"}]}"#;
    worker.send(format!("{work}\n")).line();
    tab.go(&url(&server, "workers"));
    assert!(tab.text().contains("<b>host</b>:7") && tab.text().contains("php/8.2"), "{}", tab.text());
    tab.click("button", "Drain");
    tab.click("button", "Drain");
    assert!(tab.text().contains("Draining"), "{}", tab.text());
    let workers = server.think(&["task:workers", "--json"]).exits(0).stdout;
    assert!(workers.contains("\"quiet\":true"), "{workers}");
    tab.assert_no_problems();
}

//! The history of figures in the running program, over a reload and a restart.

use serde_json::Value;

use crate::harness::curl::curl_at;
use crate::harness::daemon::{Daemon, project};

/// Sends so many tasks, and waits for their ends.
fn run(daemon: &Daemon, count: usize) {
    let mut client = daemon.client();
    for _ in 0..count {
        assert_eq!(client.send("{\"function\":\"echo\",\"args\":\"x\"}\n").json()["status"], "queued");
    }
    daemon.idle_ledger();
}

/// The sum of a figure over the points of the history.
fn sum(daemon: &Daemon, query: &str, figure: &str) -> u64 {
    let points: Value = curl_at(&daemon.address, &[&format!("/history?{query}")]).is(200).json();
    points.as_array().unwrap().iter().map(|point| point[figure].as_u64().unwrap()).sum()
}

#[test]
fn history_counts_each_task_once_over_reload_and_restart() {
    let mut daemon = Daemon::start(project(), "");
    run(&daemon, 3);
    daemon.think("task:reload").exits(0);
    daemon.follow_reload();
    // Written by the process that is no more; that of the new one comes with its minute.
    assert!(sum(&daemon, "hours=1", "accepted") >= 3);
    run(&daemon, 2);
    daemon.think("task:stop").exits(0);
    daemon.wait();
    let daemon = Daemon::start(daemon.into_project(), "");
    for query in ["hours=1", "hours=24&function=echo", "hours=2160&queue=default"] {
        assert_eq!((sum(&daemon, query, "accepted"), sum(&daemon, query, "done")), (5, 5), "{query}");
    }
    assert_eq!(sum(&daemon, "hours=1&function=noop", "done"), 0);
    let points: Value = curl_at(&daemon.address, &["/history?hours=2160"]).is(200).json();
    let ran: u64 = points
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|point| point["ran"].as_array().unwrap())
        .map(|count| count.as_u64().unwrap())
        .sum();
    assert_eq!(ran, 5, "{points}");
    curl_at(&daemon.address, &["/history?hours=2161"]).is(400);
}

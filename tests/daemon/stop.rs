//! `task:stop`: what it waits for, what it reports, and what it keeps.

use serde_json::json;

use super::NOT_RUNNING;
use crate::harness::client::Client;
use crate::harness::daemon::{self, Daemon, project, project_with, with_silent_mail};
use crate::harness::eventually::{PATIENCE, bounded};
use crate::harness::server::Server;

#[test]
fn stop_does_not_wait_for_idle_connections() {
    let daemon = Daemon::start(project(), "");
    let mut idle: Vec<Client> = (0..20).map(|_| daemon.client()).collect();
    for client in &mut idle {
        client.send("x\n").line();
    }
    let http = daemon.client();
    daemon.think("task:stop").exits(0);
    assert!(idle.iter_mut().all(|client| client.rest().is_empty()));
    drop(http);
}

#[test]
fn stop_reports_running_tasks_and_now_skips_the_wait() {
    let (mail_server, daemon) = with_silent_mail();
    let _connection = mail_server.accept();
    let stopped = daemon.think("task:stop --now").exits(0);
    assert!(stopped.stderr.contains("1 task kept for its next start"), "{}", stopped.stderr);

    let daemon = Daemon::start(daemon.into_project(), "");
    let _connection = mail_server.accept();
    let shown = daemon.think("task:show 0 --json").exits(0).json();
    assert_eq!(shown["state"], "running");
    assert_eq!(shown["attempts"], 1, "an attempt that was given up does not count");
    let stopped = daemon.think("task:stop --grace 1s").exits(0);
    let waited = "Waiting up to 1s for running tasks: 1 of send_mail";
    assert!(stopped.stderr.contains(waited), "{}", stopped.stderr);
    assert!(stopped.stderr.contains("1 task kept for its next start"), "{}", stopped.stderr);
}

#[test]
fn stop_under_load_keeps_every_acknowledged_task() {
    let daemon = Daemon::start(project_with("app_log = false\n"), "");
    let clients: Vec<_> = (0..4).map(|_| daemon.client()).collect();
    let (begun, begin) = std::sync::mpsc::channel();
    let loads: Vec<_> = clients.into_iter().map(|client| daemon::load(client, begun.clone())).collect();
    for _ in &loads {
        begin.recv_timeout(PATIENCE).unwrap();
    }
    daemon.think("task:stop").exits(0);
    let joined = loads.into_iter().map(|load| bounded("a client ends", move || load.join().unwrap()));
    let acknowledged: u64 = joined.sum();
    assert!(acknowledged >= 4 * daemon::ENOUGH);

    let daemon = Daemon::start(daemon.into_project(), "");
    let ledger = daemon.idle_ledger();
    assert_eq!(ledger["accepted"], acknowledged, "each acknowledged task is there, and no other");
    assert_eq!(ledger["done"], acknowledged);
}

#[test]
fn stop_command_reports_each_phase_as_a_line() {
    let daemon = Daemon::start(project(), "--workers 2");
    let mut client = daemon.client();
    let first = client.send("{\"command\":\"stop\",\"id\":7}\n").json();
    assert_eq!((&first["id"], &first["result"]["phase"]), (&json!(7), &json!("stopping")));
    assert_eq!(first["result"]["arguments"], json!(["task:start", "--workers=2"]));
    let last = client.json();
    assert_eq!((&last["result"]["phase"], &last["result"]["remaining"]), (&json!("stopped"), &json!(0)));
    assert_eq!(client.rest(), "");
    daemon.wait();
    daemon.think("task:stop").exits(NOT_RUNNING);
}

#[test]
fn stop_command_rejects_invalid_fields() {
    let server = Server::start();
    for (command, said) in [
        (r#"{"command":"stop","grace":"soon"}"#, "grace"),
        (r#"{"command":"stop","grace":1e18}"#, "100 years"),
        (r#"{"command":"stop","when":"now"}"#, "when"),
    ] {
        let answer = server.connect().send(format!("{command}\n")).json();
        assert!(
            answer["code"] == "bad_request" && answer["error"].as_str().unwrap().contains(said),
            "{answer}"
        );
    }
}

//! Servers that are killed, stopped and started again, while clients continue.

use std::net;
use std::process::Stdio;
use std::sync::Arc;

use framework::client::{BatchEvent, Client, ClientError, ClientSettings, Request, TaskEnd, TaskEvent};
use framework::views::BatchState;
use rustix::process::Signal;
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};

use super::concurrency::{later, request};
use super::relay::Relay;
use crate::harness::Ran;
use crate::harness::eventually::in_time;
use crate::harness::lines::Lines;
use crate::harness::server::Server;

/// An address on which nothing listens.
fn dead_address() -> String {
    net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn quiet() -> Server {
    Server::with_settings("app_log = false\n")
}

/// Kills a server, and starts it again in the same project.
fn kill_and_start(server: Server, relay: &Relay) -> Server {
    server.signal(Signal::KILL);
    relay.set_target(None);
    let server = server.again("");
    relay.set_target(Some(&server.address));
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sends_through_kills_are_accepted_exactly_once() {
    const CALLERS: usize = 8;
    const TASKS: usize = 150;
    let mut server = quiet();
    let relay = Relay::to(&server.address).await;
    let client = relay.client();
    let count = Arc::new(watch::Sender::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (client, count) = (client.clone(), count.clone());
        callers.spawn(async move {
            for _ in 0..TASKS {
                client.send(later()).await.unwrap();
                count.send_modify(|count| *count += 1);
            }
        });
    }
    for round in 1..=3 {
        let reached = CALLERS * TASKS * round / 4;
        count.subscribe().wait_for(|count| *count >= reached).await.unwrap();
        server = tokio::task::block_in_place(|| kill_and_start(server, &relay));
    }
    while let Some(called) = callers.join_next().await {
        called.unwrap();
    }
    let accepted = client.status().await.unwrap().ledger.accepted;
    assert_eq!(accepted, (CALLERS * TASKS) as u64, "the ledger counts every send once");
    drop(server);
}

#[tokio::test]
async fn task_events_continue_after_a_kill() {
    let server = quiet();
    let relay = Relay::to(&server.address).await;
    let client = relay.client();
    let mut sent = client.send(later()).awaited().await.unwrap();
    let mut following = sent.follow().await.unwrap();
    assert_eq!(following.latest(), "waiting");
    let _server = kill_and_start(server, &relay);
    let news = in_time("an event", following.next()).await.unwrap();
    assert!(matches!(news, Some(TaskEvent::Disconnected(ClientError::Io { .. }))), "{news:?}");
    let news = in_time("an event", following.next()).await.unwrap();
    assert!(matches!(&news, Some(TaskEvent::Reconnected { state }) if state == "waiting"), "{news:?}");
    client.cancel(sent.id()).await.unwrap();
    let news = in_time("an event", following.next()).await.unwrap();
    assert!(matches!(news, Some(TaskEvent::Ended(TaskEnd::Cancelled(_)))), "{news:?}");
    assert!(in_time("an event", following.next()).await.unwrap().is_none());
    assert!(matches!(sent.ended().await.unwrap(), TaskEnd::Cancelled(_)), "so is a wait");
}

#[tokio::test]
async fn wait_continues_after_a_stop_and_a_start() {
    let mut server = quiet();
    let relay = Relay::to(&server.address).await;
    let client = relay.client();
    let mut sent = client.send(later()).awaited().await.unwrap();
    let waiting = tokio::spawn(async move { sent.ended().await });
    client.status().await.unwrap();
    server.signal(Signal::INT);
    server.exit_code();
    relay.set_target(None);
    let server = server.again("");
    relay.set_target(Some(&server.address));
    // A query is repeated on the next connection; a change would not be.
    client.status().await.unwrap();
    client.cancel(0).await.unwrap();
    assert!(matches!(waiting.await.unwrap().unwrap(), TaskEnd::Cancelled(_)));
}

#[tokio::test]
async fn client_fails_over_to_the_next_address() {
    let (mut first, second) = (quiet(), quiet());
    let addresses = format!("{},{},{}", dead_address(), first.address, second.address);
    let client = Client::new(ClientSettings::for_address(&addresses).unwrap()).unwrap();
    let mut sent = client.send(later()).await.unwrap();
    assert_eq!(client.address(), first.address);
    first.signal(Signal::KILL);
    first.exit_code();
    for _ in 0..3 {
        client.send(later()).await.unwrap();
    }
    assert_eq!(client.address(), second.address);
    assert_eq!(client.status().await.unwrap().ledger.accepted, 3);
    let error = sent.ended().await.unwrap_err();
    let ClientError::WrongServer { home, address } = &error else { panic!("{error:?}") };
    assert_eq!((home, address), (&first.address, &second.address), "this server does not know the task");
}

#[tokio::test]
async fn client_without_retries_reports_the_first_failure() {
    let server = quiet();
    let relay = Relay::to(&server.address).await;
    let settings = ClientSettings::for_address(&relay.address).unwrap().without_retries();
    let client = Client::new(settings).unwrap();
    let mut sent = client.send(later()).awaited().await.unwrap();
    let _server = kill_and_start(server, &relay);
    let error = sent.ended().await.unwrap_err();
    assert!(matches!(error, ClientError::Io { .. }), "{error:?}");
    client.send(request("noop", serde_json::json!({}))).await.expect("there is a server again");
    let gone = Client::new(ClientSettings::for_address(&dead_address()).unwrap().without_retries()).unwrap();
    assert!(matches!(gone.status().await, Err(ClientError::NotRunning(_))));
}

#[tokio::test]
async fn batch_events_continue_after_a_kill_and_a_stop() {
    let server = quiet();
    let relay = Relay::to(&server.address).await;
    let client = relay.client();
    let batch = client.open_batch("users", "noop", Some("batch_ended")).await.unwrap();
    for _ in 0..3 {
        client.send(Request { batch: Some(batch), ..request("noop", serde_json::json!({})) }).await.unwrap();
    }
    let mut following = client.follow_batch(batch).await.unwrap();
    assert_eq!((following.latest().state, following.latest().total), (BatchState::Open, 3));
    let server = kill_and_start(server, &relay);
    let news = in_time("an event", following.next()).await.unwrap();
    assert!(matches!(news, Some(BatchEvent::Disconnected(ClientError::Io { .. }))), "{news:?}");
    let again = in_time("an event", following.next()).await.unwrap();
    assert!(matches!(&again, Some(BatchEvent::Reconnected(story)) if story.total == 3), "{again:?}");

    server.signal(Signal::TERM);
    let news = in_time("an event", following.next()).await.unwrap();
    assert!(matches!(news, Some(BatchEvent::Disconnected(_))), "{news:?}");
    relay.set_target(None);
    let server = server.again("");
    relay.set_target(Some(&server.address));
    let again = in_time("an event", following.next()).await.unwrap();
    assert!(matches!(&again, Some(BatchEvent::Reconnected(story)) if story.total == 3), "{again:?}");

    client.seal_batch(batch).await.unwrap();
    let ended = loop {
        match in_time("an event", following.next()).await.unwrap() {
            Some(BatchEvent::Progress(_)) => {}
            Some(BatchEvent::Ended(story)) => break story,
            news => panic!("{news:?}"),
        }
    };
    assert_eq!((ended.state, ended.done, ended.then_task), (BatchState::Ended, 3, Some(3)));
    assert!(in_time("an event", following.next()).await.unwrap().is_none());
    drop(following);
    assert_eq!(client.pending(), 0);
    let refused = client.follow_batch(batch + 1).await.unwrap_err();
    assert!(matches!(refused, ClientError::Refused(_)), "{refused:?}");
}

#[tokio::test]
async fn task_watch_reports_the_reconnection_after_a_kill() {
    let server = quiet();
    let relay = Relay::to(&server.address).await;
    let client = relay.client();
    let id = client.send(later()).await.unwrap().id();
    let mut command = server.project.command();
    command.args(["task:watch", &id.to_string(), "--address", &relay.address]);
    let mut watching = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let lines = Lines::of(watching.stderr.take().unwrap());
    // Reading blocks, and the relay has to continue meanwhile.
    let wait_for = async |text: &'static str, lines: Lines| {
        spawn_blocking(move || (lines.line_with(text), lines).1).await.unwrap()
    };
    let lines = wait_for("waiting", lines).await;
    let _server = kill_and_start(server, &relay);
    let lines = wait_for("Reconnected.", lines).await;
    client.cancel(id).await.unwrap();
    wait_for("was cancelled", lines).await;
    spawn_blocking(move || Ran::finish(watching).exits(1)).await.unwrap();
}

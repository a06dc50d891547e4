//! Servers that die, stop and come again, while clients go on.

use std::net;
use std::process::Stdio;
use std::sync::Arc;

use framework::client::{BatchEvent, Client, ClientError, ClientSettings, Request, TaskEnd, TaskEvent};
use framework::views::BatchState;
use rustix::process::Signal;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::callers::{later, request};
use super::relay::Relay;
use crate::harness::Project;
use crate::harness::server::{Server, lines_of};

/// An address at which nobody listens any more.
fn dead() -> String {
    net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn quiet() -> Server {
    let project = Project::new();
    project.write("config/server.toml", "app_log = false\n");
    Server::with(project, "")
}

/// Kills it, and starts it again in the same project.
fn killed(server: Server, relay: &Relay) -> Server {
    server.signal(Signal::KILL);
    relay.turn_to(None);
    let server = server.again("");
    relay.turn_to(Some(&server.address));
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_callers_send_while_the_server_is_killed_is_accepted_exactly_once() {
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
        server = tokio::task::block_in_place(|| killed(server, &relay));
    }
    while let Some(called) = callers.join_next().await {
        called.unwrap();
    }
    let accepted = client.status().await.unwrap().ledger.accepted;
    assert_eq!(accepted, (CALLERS * TASKS) as u64, "the ledger counts every send once");
    drop(server);
}

#[tokio::test]
async fn a_task_is_followed_over_the_death_of_the_server() {
    let server = quiet();
    let relay = Relay::to(&server.address).await;
    let client = relay.client();
    let mut sent = client.send(later()).awaited().await.unwrap();
    let mut following = sent.follow().await.unwrap();
    assert_eq!(following.state(), "waiting");
    let _server = killed(server, &relay);
    let news = following.next().await.unwrap();
    assert!(matches!(news, Some(TaskEvent::Disconnected(ClientError::Io { .. }))), "{news:?}");
    let news = following.next().await.unwrap();
    assert!(matches!(&news, Some(TaskEvent::Reconnected { state }) if state == "waiting"), "{news:?}");
    client.cancel(sent.id()).await.unwrap();
    let news = following.next().await.unwrap();
    assert!(matches!(news, Some(TaskEvent::Ended(TaskEnd::Cancelled(_)))), "{news:?}");
    assert!(following.next().await.unwrap().is_none());
    assert!(matches!(sent.ended().await.unwrap(), TaskEnd::Cancelled(_)), "so is a wait");
}

#[tokio::test]
async fn a_server_that_stops_is_waited_for_like_one_that_died() {
    let mut server = quiet();
    let relay = Relay::to(&server.address).await;
    let client = relay.client();
    let mut sent = client.send(later()).awaited().await.unwrap();
    let waiting = tokio::spawn(async move { sent.ended().await });
    client.status().await.unwrap();
    server.signal(Signal::INT);
    server.exit_code();
    relay.turn_to(None);
    let server = server.again("");
    relay.turn_to(Some(&server.address));
    // A question is asked again on the next connection; a change would not be.
    client.status().await.unwrap();
    client.cancel(0).await.unwrap();
    assert!(matches!(waiting.await.unwrap().unwrap(), TaskEnd::Cancelled(_)));
}

#[tokio::test]
async fn of_several_addresses_the_next_one_counts_when_one_is_dead() {
    let (mut first, second) = (quiet(), quiet());
    let addresses = format!("{},{},{}", dead(), first.address, second.address);
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
    assert_eq!(
        (home, address),
        (&first.address, &second.address),
        "a task of another server is not this one's"
    );
}

#[tokio::test]
async fn a_client_that_tells_failures_at_once_does_not_try_again() {
    let server = quiet();
    let relay = Relay::to(&server.address).await;
    let settings = ClientSettings::for_address(&relay.address).unwrap().without_retries();
    let client = Client::new(settings).unwrap();
    let mut sent = client.send(later()).awaited().await.unwrap();
    let _server = killed(server, &relay);
    let error = sent.ended().await.unwrap_err();
    assert!(matches!(error, ClientError::Io { .. }), "{error:?}");
    client.send(request("noop", serde_json::json!({}))).await.expect("there is a server again");
    let gone = Client::new(ClientSettings::for_address(&dead()).unwrap().without_retries()).unwrap();
    assert!(matches!(gone.status().await, Err(ClientError::NotRunning(_))));
}

#[tokio::test]
async fn a_batch_is_followed_over_the_death_and_the_stop_of_the_server() {
    let server = quiet();
    let relay = Relay::to(&server.address).await;
    let client = relay.client();
    let batch = client.open_batch("users", "noop", Some("batch_ended")).await.unwrap();
    for _ in 0..3 {
        client.send(Request { batch: Some(batch), ..request("noop", serde_json::json!({})) }).await.unwrap();
    }
    let mut following = client.follow_batch(batch).await.unwrap();
    assert_eq!((following.story().state, following.story().total), (BatchState::Open, 3));
    let server = killed(server, &relay);
    let news = following.next().await.unwrap();
    assert!(matches!(news, Some(BatchEvent::Disconnected(ClientError::Io { .. }))), "{news:?}");
    let again = following.next().await.unwrap();
    assert!(matches!(&again, Some(BatchEvent::Reconnected(story)) if story.total == 3), "{again:?}");

    server.signal(Signal::TERM);
    let news = following.next().await.unwrap();
    assert!(matches!(news, Some(BatchEvent::Disconnected(_))), "{news:?}");
    relay.turn_to(None);
    let server = server.again("");
    relay.turn_to(Some(&server.address));
    let again = following.next().await.unwrap();
    assert!(matches!(&again, Some(BatchEvent::Reconnected(story)) if story.total == 3), "{again:?}");

    client.seal_batch(batch).await.unwrap();
    let ended = loop {
        match following.next().await.unwrap() {
            Some(BatchEvent::Progress(_)) => {}
            Some(BatchEvent::Ended(story)) => break story,
            news => panic!("{news:?}"),
        }
    };
    assert_eq!((ended.state, ended.done, ended.then_task), (BatchState::Ended, 3, Some(3)));
    assert!(following.next().await.unwrap().is_none());
    drop(following);
    assert_eq!(client.pending(), 0);
    let refused = client.follow_batch(batch + 1).await.unwrap_err();
    assert!(matches!(refused, ClientError::Refused(_)), "{refused:?}");
}

#[tokio::test]
async fn watching_goes_on_over_a_restart_and_says_so() {
    let server = quiet();
    let relay = Relay::to(&server.address).await;
    let client = relay.client();
    let id = client.send(later()).await.unwrap().id();
    let mut command = server.project.command();
    command.args(["task:watch", &id.to_string(), "--address", &relay.address]);
    let mut watching = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let lines = lines_of(watching.stderr.take().unwrap());
    // Reading blocks, and the relay has to go on meanwhile.
    let heard = async |text: &'static str, lines: std::sync::mpsc::Receiver<String>| {
        let found = move || lines.iter().any(|line| line.contains(text)).then_some(lines);
        tokio::task::spawn_blocking(found).await.unwrap().expect(text)
    };
    let lines = heard("waiting", lines).await;
    let _server = killed(server, &relay);
    let lines = heard("There is a connection again", lines).await;
    client.cancel(id).await.unwrap();
    heard("has been cancelled", lines).await;
    let code = tokio::task::spawn_blocking(move || watching.wait().unwrap().code()).await.unwrap();
    assert_eq!(code, Some(1));
}

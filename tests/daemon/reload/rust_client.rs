//! Callers of `framework::client`, who do not notice a reload.

use std::sync::Arc;

use framework::client::{BatchEvent, Client, ClientSettings, Request};
use framework::views::BatchState;
use serde_json::value::to_raw_value;
use tokio::sync::watch;
use tokio::task::{JoinSet, block_in_place};

use super::{reload, started};
use crate::harness::daemon::Daemon;
use crate::harness::eventually::in_time;

fn echo() -> Request {
    Request::new(Some("echo".to_owned()), to_raw_value("x").unwrap())
}

fn client(daemon: &Daemon) -> Client {
    let status = daemon.status();
    Client::new(ClientSettings::for_address(status["addresses"][0]["address"].as_str().unwrap()).unwrap())
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rust_client_gets_every_result_through_reloads() {
    const CALLERS: usize = 8;
    const TASKS: usize = 200;
    let mut daemon = started("");
    let client = client(&daemon);
    let count = Arc::new(watch::Sender::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (client, count) = (client.clone(), count.clone());
        callers.spawn(async move {
            for _ in 0..TASKS {
                let result: String = client.send(echo()).wait().await.unwrap();
                assert_eq!(result, "x -> OK");
                count.send_modify(|count| *count += 1);
            }
        });
    }
    for round in 1..=3 {
        let reached = CALLERS * TASKS * round / 4;
        count.subscribe().wait_for(|count| *count >= reached).await.unwrap();
        block_in_place(|| reload(&mut daemon));
    }
    while let Some(called) = callers.join_next().await {
        called.unwrap();
    }
    let ledger = client.status().await.unwrap().ledger;
    assert_eq!((ledger.accepted, ledger.done), (1_600, 1_600));
    assert_eq!(client.pending(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rust_client_follows_a_batch_into_the_new_process() {
    let mut daemon = started("");
    let client = client(&daemon);
    let batch = client.open_batch("users", "echo", None).await.unwrap();
    let sent = client.send(Request { batch: Some(batch), ..echo() }).await.unwrap();
    let mut following = client.follow_batch(batch).await.unwrap();
    block_in_place(|| reload(&mut daemon));
    client.seal_batch(batch).await.unwrap();
    let ended = loop {
        match in_time("an event", following.next()).await.unwrap() {
            Some(BatchEvent::Ended(story)) => break story,
            Some(_) => {}
            None => panic!("the batch of task {} has no end", sent.id()),
        }
    };
    assert_eq!((ended.state, ended.done), (BatchState::Ended, 1));
}

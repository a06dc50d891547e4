//! Many callers of one client, and callers that drop what they wait for.

use std::time::Duration;

use framework::client::{Client, ClientError, ClientSettings, Request, TaskEnd};
use framework::protocol::ErrorCode;
use futures_util::FutureExt;
use futures_util::future::join_all;
use serde_json::json;
use serde_json::value::to_raw_value;
use tokio::task::JoinSet;

use crate::harness::Ran;
use crate::harness::server::Server;

pub(super) fn request(function: &str, args: serde_json::Value) -> Request {
    Request::new(Some(function.to_owned()), to_raw_value(&args).unwrap())
}

/// A task that does not begin while a test lasts.
pub(super) fn later() -> Request {
    Request { delay: Some(Duration::from_secs(3600)), ..request("noop", json!({})) }
}

/// A server with its tasks in memory that logs no callbacks.
fn memory_server() -> Server {
    Server::with_settings("durability = \"memory\"\napp_log = false\n")
}

fn client(server: &Server, change: impl FnOnce(&mut ClientSettings)) -> Client {
    let mut settings = ClientSettings::for_address(&server.address).unwrap();
    change(&mut settings);
    Client::new(settings).unwrap()
}

#[tokio::test]
async fn shared_client_gives_each_caller_its_own_result() {
    let server = memory_server();
    let client = client(&server, |settings| settings.connections = 2);
    let mut callers = JoinSet::new();
    for caller in 0..200 {
        let client = client.clone();
        callers.spawn(async move {
            for number in 0..5 {
                let text = format!("{caller}.{number}");
                let result: String = client.send(request("echo", json!(text))).wait().await.unwrap();
                assert_eq!(result, format!("{text} -> OK"));
            }
        });
    }
    while let Some(called) = callers.join_next().await {
        called.unwrap();
    }
    assert_eq!(client.pending(), 0);
    let status = client.status().await.unwrap();
    assert_eq!((status.ledger.accepted, status.ledger.done), (1000, 1000));
    assert!(status.connections.total <= 2, "{:?}", status.connections);
}

#[tokio::test]
async fn dropped_sends_are_never_written() {
    let server = memory_server();
    let client = client(&server, |settings| settings.max_in_flight = 8);
    for _ in 0..10_000 {
        // Polled once, and dropped before anything could be written.
        assert!(client.send(later()).into_future().now_or_never().is_none());
    }
    assert_eq!(client.pending(), 0);
    client.send(later()).await.unwrap();
    assert_eq!(client.status().await.unwrap().ledger.accepted, 1);
}

#[tokio::test]
async fn dropped_waits_leave_nothing_on_either_side() {
    // A server that stops reading from clients that wait for too much.
    let server = Server::with_settings("durability = \"memory\"\napp_log = false\nmax_in_flight = 100\n");
    let client = client(&server, |settings| {
        (settings.connections, settings.max_in_flight, settings.max_awaited) = (1, 64, 64);
    });
    for _ in 0..200 {
        let sent = join_all((0..50).map(|_| async { client.send(later()).awaited().await })).await;
        assert!(sent.into_iter().all(|sent| sent.is_ok()));
        // Some of them begin to wait, and all of them are dropped.
        let mut sent = client.send(later()).await.unwrap();
        assert!(sent.ended().now_or_never().is_none());
    }
    assert!(client.pending() <= 64, "{}", client.pending());
    let result: String = client.send(request("echo", json!("x"))).wait().await.unwrap();
    assert_eq!(result, "x -> OK");
    assert_eq!(client.status().await.unwrap().ledger.accepted, 10_201);
}

#[tokio::test]
async fn wait_that_was_dropped_can_be_repeated() {
    let server = memory_server();
    let client = client(&server, |_| {});
    let mut sent = client.send(later()).await.unwrap();
    for _ in 0..3 {
        tokio::select! {
            biased;
            ended = sent.ended() => panic!("{ended:?}"),
            status = client.status() => assert!(status.is_ok()),
        }
    }
    client.cancel(sent.id()).await.unwrap();
    assert!(matches!(sent.ended().await.unwrap(), TaskEnd::Cancelled(_)));
    assert!(matches!(sent.ended().await.unwrap(), TaskEnd::Cancelled(_)), "its end stays known");
    let error = sent.wait::<String>().await.unwrap_err();
    assert!(error.to_string().contains("task 0 was cancelled"), "{error}");
}

#[tokio::test]
async fn send_many_returns_outcomes_in_order() {
    let server = memory_server();
    let client = client(&server, |settings| settings.max_in_flight = 7);
    let requests: Vec<_> = (0..100)
        .map(|number| request(if number % 3 == 1 { "ehco" } else { "echo" }, json!(number.to_string())))
        .collect();
    let outcomes = client.send_many(&requests).await.unwrap();
    let mut next = 0;
    for (number, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Ok(id) => {
                assert_eq!(*id, next, "ids rise in the order of the requests");
                next += 1;
            }
            Err(refusal) => {
                assert_eq!((refusal.code, number % 3), (ErrorCode::UnknownFunction, 1));
            }
        }
    }
    assert_eq!((outcomes.len(), next), (100, 67));
    let story = client.show(next - 1).await.unwrap();
    assert_eq!(story.args.get(), "\"99\"");
}

#[tokio::test]
async fn send_options_reach_the_server() {
    let server = memory_server();
    let client = client(&server, |_| {});
    let echo = request("echo", json!("x"));
    let hour = Duration::from_secs(3600);
    let sent =
        client.send(&echo).priority(9).queue("mail").delay(hour).attempts(2).key("once").await.unwrap();
    let again = client.send(&echo).key("once").await.unwrap();
    assert_eq!(sent.id(), again.id(), "the key names one task");
    let story = client.show(sent.id()).await.unwrap();
    let task = &story.summary;
    assert_eq!((task.priority, &*task.queue, story.max_attempts), (9, "mail", 2));
    let error = client.send(&echo).then("ehco").await.unwrap_err();
    assert!(matches!(&error, ClientError::Refused(refusal) if refusal.suggestion.as_deref() == Some("echo")));
}

#[tokio::test]
async fn result_of_another_type_is_an_error() {
    let server = memory_server();
    let error = client(&server, |_| {}).send(request("echo", json!("x"))).wait::<u8>().await.unwrap_err();
    assert!(matches!(error, ClientError::ResultType { task: 0, .. }), "{error:?}");
}

#[test]
fn client_outlives_the_runtime_it_was_first_used_in() {
    let server = memory_server();
    let client = client(&server, |_| {});
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for _ in 0..2 {
        runtime().block_on(async { client.send(later()).await.unwrap() });
    }
    assert_eq!(server.status()["ledger"]["accepted"], 2);
}

#[test]
fn client_settings_apply_to_commands() {
    let server = Server::start();
    let run = |command: &str, variables: &[(&str, &str)]| {
        let mut program = server.project.command();
        let ran = program.args(command.split_whitespace()).envs(variables.iter().copied());
        Ran::of(ran)
    };
    let address = ("THINK_CLIENT_ADDRESS", &*server.address);
    assert_eq!(run("task:status --json", &[address]).exits(0).json()["ledger"]["accepted"], 0);
    server
        .project
        .write("config/client.toml", &format!("address = [\"unix:gone\", \"{}\"]\n", server.address));
    run("task:status", &[]).exits(0);
    run("task:status --address unix:gone", &[]).exits(3);
    run("task:status --address nowhere", &[]).exits(2);
    let ran = run("task:status", &[("THINK_CLIENT_TLS", "true")]).exits(1);
    assert!(ran.stderr.contains("`ca_file` must be set"), "{ran:?}");
}

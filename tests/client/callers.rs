//! Many callers of one client, and those that do not wait for what they asked for.

use std::time::Duration;

use framework::client::{Client, ClientError, ClientSettings, Request, TaskEnd};
use framework::protocol::ErrorCode;
use futures_util::FutureExt;
use futures_util::future::join_all;
use serde_json::json;
use serde_json::value::to_raw_value;
use tokio::task::JoinSet;

use super::json;
use crate::harness::Project;
use crate::harness::server::Server;

pub(super) fn request(function: &str, args: serde_json::Value) -> Request {
    Request::new(Some(function.to_owned()), to_raw_value(&args).unwrap())
}

/// A task that does not begin while a test lasts.
pub(super) fn later() -> Request {
    Request { delay: Some(Duration::from_secs(3600)), ..request("noop", json!({})) }
}

/// A server that keeps its tasks in memory and is quiet.
fn quick() -> Server {
    let project = Project::new();
    project.write("config/server.toml", "durability = \"memory\"\nmoments = false\n");
    Server::with(project, "")
}

fn client(server: &Server, change: impl FnOnce(&mut ClientSettings)) -> Client {
    let mut settings = ClientSettings::for_address(&server.address).unwrap();
    change(&mut settings);
    Client::new(settings).unwrap()
}

#[tokio::test]
async fn many_callers_share_a_few_connections_and_each_gets_its_own_result() {
    let server = quick();
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
async fn a_request_that_nobody_waits_for_any_more_does_not_leave() {
    let server = quick();
    let client = client(&server, |settings| settings.max_in_flight = 8);
    for _ in 0..10_000 {
        // Once around, and the future is dropped before anything could be written.
        assert!(client.send(later()).into_future().now_or_never().is_none());
    }
    assert_eq!(client.pending(), 0);
    client.send(later()).await.unwrap();
    assert_eq!(client.status().await.unwrap().ledger.accepted, 1);
}

#[tokio::test]
async fn ten_thousand_dropped_waits_leave_nothing_behind_on_either_side() {
    let project = Project::new();
    // A server that stops reading from who waits for too much.
    project.write("config/server.toml", "durability = \"memory\"\nmoments = false\nin_flight_max = 100\n");
    let server = Server::with(project, "");
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
async fn a_wait_that_was_given_up_can_be_begun_again() {
    let server = quick();
    let client = client(&server, |_| {});
    let mut sent = client.send(later()).await.unwrap();
    for _ in 0..3 {
        tokio::select! {
            biased;
            ended = sent.ended() => panic!("{ended:?}"),
            status = client.status() => drop(status.unwrap()),
        }
    }
    client.cancel(sent.id()).await.unwrap();
    assert!(matches!(sent.ended().await.unwrap(), TaskEnd::Cancelled(_)));
    assert!(matches!(sent.ended().await.unwrap(), TaskEnd::Cancelled(_)), "it stays known");
    let error = sent.wait::<String>().await.unwrap_err();
    assert!(error.to_string().contains("task 0 was cancelled"), "{error}");
}

#[tokio::test]
async fn many_tasks_have_their_outcomes_in_order_with_the_refused_among_them() {
    let server = quick();
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
async fn the_options_of_one_time_reach_the_server() {
    let server = quick();
    let client = client(&server, |_| {});
    let echo = request("echo", json!("x"));
    let hour = Duration::from_secs(3600);
    let sent =
        client.send(&echo).priority(9).queue("mail").delay(hour).attempts(2).key("once").await.unwrap();
    let again = client.send(&echo).key("once").await.unwrap();
    assert_eq!(sent.id(), again.id(), "a key of the caller's own counts");
    let story = client.show(sent.id()).await.unwrap();
    let task = &story.summary;
    assert_eq!((task.priority, &*task.queue, story.max_attempts), (9, "mail", 2));
    let error = client.send(&echo).then("ehco").await.unwrap_err();
    assert!(matches!(&error, ClientError::Refused(refusal) if refusal.suggestion.as_deref() == Some("echo")));
}

#[tokio::test]
async fn a_result_of_another_type_is_told_as_such() {
    let server = quick();
    let error = client(&server, |_| {}).send(request("echo", json!("x"))).wait::<u8>().await.unwrap_err();
    assert!(matches!(error, ClientError::ResultType { task: 0, .. }), "{error:?}");
}

#[test]
fn a_client_outlives_the_runtime_that_it_was_used_in_first() {
    let server = quick();
    let client = client(&server, |_| {});
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for _ in 0..2 {
        runtime().block_on(async { client.send(later()).await.unwrap() });
    }
    assert_eq!(server.status()["ledger"]["accepted"], 2);
}

#[test]
fn the_settings_of_the_client_count_for_commands() {
    let server = Server::start();
    let run = |command: &str, variables: &[(&str, &str)]| {
        let mut program = server.project.command();
        let ran = program.args(command.split_whitespace()).envs(variables.iter().copied());
        crate::harness::Ran::of(ran)
    };
    let address = ("THINK_CLIENT_ADDRESS", &*server.address);
    assert_eq!(json(&run("task:status --json", &[address]).exits(0))["ledger"]["accepted"], 0);
    server
        .project
        .write("config/client.toml", &format!("address = [\"unix:gone\", \"{}\"]\n", server.address));
    run("task:status", &[]).exits(0);
    run("task:status --address unix:gone", &[]).exits(3);
    run("task:status --address nowhere", &[]).exits(2);
    let ran = run("task:status", &[("THINK_CLIENT_TLS", "true")]).exits(1);
    assert!(ran.stderr.contains("`ca_file` must be set"), "{ran:?}");
}

//! The workers of a server: outcomes, panics, retries, timeouts, and what must not wait for what.

mod cancel;
mod client;
mod elsewhere;
mod end_reporter;
mod following;
mod handlers;
mod requests;
mod requeue;
mod stuck;
mod worker_groups;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::harness::eventually::{PATIENCE, in_time};
use crate::harness::watchdog;
use framework::client::{Client, Request, TaskEnd};
use framework::config::Config;
use framework::prelude::*;
use framework::protocol::Durability;
use framework::server::{DynEvents, Server, ServerHandle, ServerSettings, ShutdownReport};
use framework::store::Store;
use framework::task::Handlers;
use framework::views::State;
use serde_json::value::{RawValue, to_raw_value};

use client::TestClient;
use end_reporter::{EndReporter, ends, next_end};
use handlers::Gate;

/// A server in this process, with the handlers of these tests.
struct TestServer {
    running: ServerHandle,
    address: String,
    store: Arc<dyn Store>,
    root: tempfile::TempDir,
}

impl TestServer {
    async fn open() -> Self {
        Self::with(settings(), ()).await
    }

    async fn with(settings: ServerSettings, events: impl Events) -> Self {
        Self::at(tempfile::TempDir::new().unwrap(), settings, events).await
    }

    /// Opens in the root of a server that was closed.
    async fn at(root: tempfile::TempDir, settings: ServerSettings, events: impl Events) -> Self {
        watchdog::watch();
        let handlers = Arc::new(Handlers::collect().unwrap());
        let config = Config::at(root.path(), []);
        let store = open(&settings, &config, &handlers).await;
        let server = Server {
            config,
            handlers,
            events: Arc::new(events) as Arc<dyn DynEvents>,
            store: store.clone(),
            settings: ServerSettings { port: 0, ..settings },
            pages: None,
        };
        let running = server.start().await.unwrap();
        let address = running.addresses()[0].to_string();
        Self { running, address, store, root }
    }

    /// Stops the server, which has released its store then.
    async fn close(self) -> (tempfile::TempDir, ShutdownReport) {
        (self.root, self.running.stop().await)
    }

    async fn client(&self) -> TestClient {
        let client = Client::connect(&self.address, Duration::from_secs(60)).await.unwrap();
        TestClient::new(client)
    }

    /// Runs one task to its end.
    async fn run(&self, function: &str, args: serde_json::Value) -> TaskEnd {
        let mut client = self.client().await;
        let id = client.send_awaited(&request(function, args)).await.unwrap();
        let (ended, outcome) = client.ended().await.unwrap();
        assert_eq!(ended, id);
        outcome
    }

    async fn ledger(&self) -> framework::views::Ledger {
        let ledger = self.client().await.status().await.unwrap().ledger;
        assert_eq!(ledger.accepted, ledger.sum());
        ledger
    }
}

/// Opens the store; an attempt that was given up may hold the lock of its queue for a moment.
async fn open(settings: &ServerSettings, config: &Config, handlers: &Arc<Handlers>) -> Arc<dyn Store> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match settings.open_store(config, handlers.clone()) {
            Ok(store) => return store,
            Err(error) => assert!(Instant::now() < deadline, "{error:#}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The defaults, with tasks in memory alone.
fn settings() -> ServerSettings {
    ServerSettings { durability: Durability::Memory, ..ServerSettings::default() }
}

/// The defaults, with each kind of store.
fn every_store() -> [ServerSettings; 2] {
    [settings(), ServerSettings { durability: Durability::Fsync, ..settings() }]
}

fn request(function: &str, args: serde_json::Value) -> Request {
    Request::new(Some(function.to_owned()), to_raw_value(&args).unwrap())
}

fn done(outcome: TaskEnd) -> Box<RawValue> {
    match outcome {
        TaskEnd::Done(result) => result,
        other => panic!("{other:?}"),
    }
}

fn failed(outcome: TaskEnd) -> String {
    match outcome {
        TaskEnd::Failed(error) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn panic_fails_the_task_with_message_and_location() {
    let server = TestServer::open().await;
    for function in ["test_panic", "test_blocking_panic"] {
        let error = failed(server.run(function, serde_json::json!("ouch")).await);
        assert!(error.contains("ouch") && error.contains("handlers.rs:"), "{error}");
    }
    assert_eq!(done(server.run("test_shout", serde_json::json!("hi")).await).get(), "\"HI\"");
    let ledger = server.ledger().await;
    assert_eq!((ledger.failed, ledger.done), (2, 1));
}

#[tokio::test]
async fn failed_attempts_are_retried_until_one_succeeds() {
    let server = TestServer::open().await;
    assert_eq!(done(server.run("test_third_time", serde_json::json!(null)).await).get(), "3");
    assert_eq!(server.ledger().await.failed, 0, "only the end of a task counts");
}

#[tokio::test]
async fn exhausted_attempts_fail_with_the_last_error() {
    let server = TestServer::open().await;
    let error = failed(server.run("test_never", serde_json::json!({"retry": true})).await);
    assert_eq!(error, "attempt 3: out of luck");
}

#[tokio::test]
async fn no_retry_error_fails_the_task_at_once() {
    let server = TestServer::open().await;
    let error = failed(server.run("test_never", serde_json::json!({"retry": false})).await);
    assert_eq!(error, "attempt 1: out of luck");
}

#[tokio::test]
async fn timeout_ends_async_attempts_and_cancels_blocking_ones() {
    let server = TestServer::open().await;
    for function in ["test_forever", "test_blocking_until_cancelled"] {
        let error = failed(server.run(function, serde_json::json!(null)).await);
        assert!(error.contains("timeout of 20ms"), "{error}");
    }
}

#[tokio::test]
async fn running_tasks_never_exceed_the_workers() {
    let settings = ServerSettings { task_worker_num: 2, ..settings() };
    let server = TestServer::with(settings, ()).await;
    let gates: Vec<_> = (0..3).map(|_| Gate::new()).collect();
    let mut client = server.client().await;
    for gate in &gates {
        client.send_awaited(&request("test_gate", gate.name())).await.unwrap();
    }
    gates[0].reached().await;
    gates[1].reached().await;
    let status = client.status().await.unwrap();
    assert_eq!((status.workers.busy, status.workers.idle), (2, 0));
    assert_eq!((status.ledger.running, status.ledger.waiting), (2, 1));
    gates[1].open();
    assert_eq!(client.ended().await.unwrap().0, 1);
    gates[2].reached().await;
    gates[2].open();
    gates[0].open();
}

#[tokio::test]
async fn slow_task_does_not_block_later_ones() {
    let server = TestServer::open().await;
    let gate = Gate::new();
    let client = server.client().await;
    let mut requests = vec![request("test_gate", gate.name())];
    requests.extend((0..1000).map(|_| request("test_shout", serde_json::json!("x"))));
    client.send_many(&requests).await.unwrap();
    assert_eq!(done(server.run("test_shout", serde_json::json!("last")).await).get(), "\"LAST\"");
    assert_eq!(server.ledger().await.running, 1);
    gate.open();
}

#[tokio::test]
async fn send_to_a_full_queue_is_busy_with_retry_after() {
    let settings = ServerSettings { max_queue_length: Some(2), task_worker_num: 1, ..settings() };
    let server = TestServer::with(settings, ()).await;
    let gate = Gate::new();
    let mut client = server.client().await;
    client.send(&request("test_gate", gate.name())).await.unwrap();
    gate.reached().await;
    let requests: Vec<_> = (0..4).map(|_| request("test_shout", serde_json::json!("x"))).collect();
    let outcomes = client.send_many(&requests).await.unwrap();
    assert_eq!(outcomes[..2], [Ok(1), Ok(2)]);
    for refusal in &outcomes[2..] {
        let refusal = refusal.as_ref().unwrap_err();
        assert_eq!(refusal.code, framework::protocol::ErrorCode::Busy);
        assert!(refusal.retry_after_ms.is_some_and(|wait| (100..=10_000).contains(&wait)), "{refusal:?}");
    }
    gate.open();
}

#[tokio::test]
async fn send_many_keeps_order_and_separate_outcomes() {
    let server = TestServer::open().await;
    let requests = [
        request("test_shout", serde_json::json!("a")),
        request("no_such", serde_json::json!("b")),
        request("test_shout", serde_json::json!(5)),
        request("test_shout", serde_json::json!("c")),
    ];
    let outcomes = server.client().await.send_many(&requests).await.unwrap();
    assert_eq!(outcomes[0], Ok(0));
    assert_eq!(outcomes[1].as_ref().unwrap_err().code, framework::protocol::ErrorCode::UnknownFunction);
    assert_eq!(outcomes[2].as_ref().unwrap_err().code, framework::protocol::ErrorCode::BadArguments);
    assert_eq!(outcomes[3], Ok(1));
}

#[tokio::test]
async fn replies_without_an_id_are_ordered_and_others_overtake() {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    let server = TestServer::open().await;
    let gate = Gate::new();
    let mut stream = BufReader::new(tokio::net::TcpStream::connect(&server.address).await.unwrap());
    let lines = format!(
        "{{\"function\":\"test_gate\",\"args\":{},\"reply\":\"result\"}}\n\
         {{\"function\":\"test_shout\",\"args\":\"b\"}}\n\
         {{\"function\":\"test_shout\",\"args\":\"c\",\"id\":7}}\n\
         {{\"function\":\"test_shout\",\"args\":\"d\",\"reply\":\"both\",\"id\":8}}\n",
        gate.name()
    );
    stream.write_all(lines.as_bytes()).await.unwrap();
    let mut next = async || {
        let mut line = String::new();
        in_time("a reply", stream.read_line(&mut line)).await.unwrap();
        line
    };
    assert_eq!(next().await, "{\"id\":7,\"task_id\":2,\"status\":\"queued\",\"durability\":\"memory\"}\n");
    gate.reached().await;
    gate.open();
    assert_eq!(next().await, "{\"task_id\":0,\"status\":\"done\",\"result\":null}\n");
    assert_eq!(next().await, "{\"task_id\":1,\"status\":\"queued\",\"durability\":\"memory\"}\n");
    assert_eq!(next().await, "{\"id\":8,\"task_id\":3,\"status\":\"queued\",\"durability\":\"memory\"}\n");
    assert_eq!(next().await, "{\"id\":8,\"task_id\":3,\"status\":\"done\",\"result\":\"D\"}\n");
}

#[tokio::test]
async fn slow_on_finish_delays_neither_replies_nor_tasks() {
    let (ends, mut reported) = ends();
    let gate = Gate::new();
    let server = TestServer::with(settings(), EndReporter { ends, gate: Some(gate.clone()) }).await;
    for id in 0..50 {
        let outcome = server.run("test_shout", serde_json::json!(id.to_string())).await;
        assert_eq!(done(outcome).get(), format!("\"{id}\""));
    }
    assert!(reported.try_recv().is_err(), "no callback is over yet");
    gate.open();
    let mut seen = Vec::new();
    for _ in 0..50 {
        seen.push(next_end(&mut reported).await.0);
    }
    seen.sort_unstable();
    assert_eq!(seen, Vec::from_iter(0..50), "once for each");
}

/// Panics in every callback.
struct Panicking;

impl Events for Panicking {
    async fn on_connect(&self, _connection: &Connection) {
        panic!("on_connect");
    }

    async fn on_receive(&self, _connection: &Connection, _data: Bytes) -> Result<()> {
        panic!("on_receive");
    }

    async fn on_task(&self, attempt: &Attempt) -> Outcome {
        let outcome = attempt.run().await;
        assert!(attempt.id() > 0, "on_task");
        outcome
    }

    async fn on_finish(&self, _finished: &Finished) {
        panic!("on_finish");
    }

    async fn on_close(&self, _connection: &Connection) {
        panic!("on_close");
    }
}

#[tokio::test]
async fn panicking_callbacks_affect_nothing_else() {
    let server = TestServer::with(settings(), Panicking).await;
    assert!(failed(server.run("test_shout", serde_json::json!("a")).await).contains("on_task"));
    assert_eq!(done(server.run("test_shout", serde_json::json!("b")).await).get(), "\"B\"");
    let answer = server.client().await.send_raw(b"raw\n").await.unwrap();
    assert!(String::from_utf8(answer).unwrap().contains("on_receive panicked"));
    assert_eq!(server.running.stop().await, ShutdownReport { remaining: 0, durable: false });
}

#[tokio::test]
async fn stop_finishes_running_and_waiting_tasks() {
    let server = TestServer::with(ServerSettings { task_worker_num: 1, ..settings() }, ()).await;
    let gate = Gate::new();
    let mut client = server.client().await;
    client.send_awaited(&request("test_gate", gate.name())).await.unwrap();
    client.send_awaited(&request("test_shout", serde_json::json!("waiting"))).await.unwrap();
    gate.reached().await;
    let TestServer { running, .. } = server;
    let stop = tokio::spawn(running.stop());
    gate.open();
    assert_eq!(client.ended().await.unwrap().0, 0);
    assert_eq!(client.ended().await.unwrap().0, 1);
    assert_eq!(stop.await.unwrap(), ShutdownReport { remaining: 0, durable: false });
}

#[tokio::test]
async fn stop_abandons_tasks_after_max_wait_time() {
    let settings = ServerSettings { max_wait_time: Duration::from_millis(20), ..settings() };
    let server = TestServer::with(settings, ()).await;
    let gate = Gate::new();
    let mut client = server.client().await;
    client.send(&request("test_gate", gate.name())).await.unwrap();
    gate.reached().await;
    assert_eq!(server.running.stop().await, ShutdownReport { remaining: 1, durable: false });
}

#[tokio::test]
async fn handlers_of_one_name_are_rejected_with_both_locations() {
    let handler = Handlers::collect().unwrap().find("test_shout").unwrap();
    let error = Handlers::collect().unwrap().with(handler).unwrap_err().to_string();
    assert_eq!(error.matches("handlers.rs:").count(), 2, "{error}");
}

#[tokio::test]
async fn priorities_run_first_and_delays_are_kept() {
    let (ends, mut reported) = ends();
    let settings = ServerSettings { task_worker_num: 1, task_threads: 1, ..settings() };
    let server = TestServer::with(settings, EndReporter { ends, gate: None }).await;
    let gate = Gate::new();
    let mut client = server.client().await;
    client.send(&request("test_gate", gate.name())).await.unwrap();
    gate.reached().await;
    let shout = |priority, delay| Request {
        priority: Some(priority),
        delay,
        ..request("test_shout", serde_json::json!("x"))
    };
    let soon = Some(Duration::from_millis(50));
    client.send_many(&[shout(0, None), shout(9, soon), shout(5, None), shout(9, None)]).await.unwrap();
    gate.open();
    let mut order = Vec::new();
    for _ in 0..5 {
        order.push(next_end(&mut reported).await.0);
    }
    assert_eq!(order.iter().filter(|id| **id != 2).copied().collect::<Vec<_>>(), [0, 4, 3, 1]);
    assert!(order.contains(&2));
}

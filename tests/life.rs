//! The life of a task in the rooms of a server: outcomes, panics, retries, timeouts, and who must not wait for whom.

mod caller;
mod cancelling;
mod following;
mod handlers;
mod lines;
mod requests;
mod restarting;

use std::sync::Arc;
use std::time::Duration;

use caller::Caller;
use framework::client::{Client, Request, TaskEnd};
use framework::config::Config;
use framework::prelude::*;
use framework::protocol::Durability;
use framework::server::{DynEvents, Server, ServerHandle, ServerSettings, ShutdownReport};
use framework::store::Store;
use framework::task::Handlers;
use framework::views::State;
use handlers::Gate;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::mpsc;

/// A server in this process, so that tests can bring handlers of their own.
struct House {
    running: ServerHandle,
    address: String,
    store: Arc<dyn Store>,
    root: tempfile::TempDir,
}

impl House {
    async fn open() -> Self {
        Self::with(settings(), ()).await
    }

    async fn with(settings: ServerSettings, events: impl Events) -> Self {
        Self::at(tempfile::TempDir::new().unwrap(), settings, events).await
    }

    /// In the root of a house that was closed.
    async fn at(root: tempfile::TempDir, settings: ServerSettings, events: impl Events) -> Self {
        let handlers = Arc::new(Handlers::collect().unwrap());
        let config = Config::at(root.path(), []);
        let store = settings.open_store(&config, handlers.clone()).unwrap();
        let server = Server {
            config,
            handlers,
            events: Arc::new(events) as Arc<dyn DynEvents>,
            store: store.clone(),
            settings: ServerSettings { port: 0, ..settings },
        };
        let running = server.start().await.unwrap();
        let address = running.addresses()[0].to_string();
        Self { running, address, store, root }
    }

    /// Stops the server, and has let go of its store then.
    async fn close(self) -> (tempfile::TempDir, ShutdownReport) {
        (self.root, self.running.stop().await)
    }

    async fn client(&self) -> Caller {
        let client = Client::connect(&self.address, Duration::from_secs(60)).await.unwrap();
        Caller::new(client)
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
async fn a_panic_fails_the_task_with_its_message_and_place_and_harms_no_other() {
    let house = House::open().await;
    for function in ["test_panic", "test_blocking_panic"] {
        let error = failed(house.run(function, serde_json::json!("ouch")).await);
        assert!(error.contains("ouch") && error.contains("handlers.rs:"), "{error}");
    }
    assert_eq!(done(house.run("test_shout", serde_json::json!("hi")).await).get(), "\"HI\"");
    let ledger = house.ledger().await;
    assert_eq!((ledger.failed, ledger.done), (2, 1));
}

#[tokio::test]
async fn an_attempt_that_fails_is_followed_by_others_until_one_succeeds() {
    let house = House::open().await;
    assert_eq!(done(house.run("test_third_time", serde_json::json!(null)).await).get(), "3");
    assert_eq!(house.ledger().await.failed, 0, "only the end of a task counts");
}

#[tokio::test]
async fn a_task_whose_attempts_are_used_up_has_failed_with_the_last_error() {
    let house = House::open().await;
    let error = failed(house.run("test_never", serde_json::json!({"retry": true})).await);
    assert_eq!(error, "attempt 3: out of luck");
}

#[tokio::test]
async fn an_error_that_says_no_retry_ends_the_task_at_once() {
    let house = House::open().await;
    let error = failed(house.run("test_never", serde_json::json!({"retry": false})).await);
    assert_eq!(error, "attempt 1: out of luck");
}

#[tokio::test]
async fn a_timeout_ends_an_async_attempt_and_asks_a_blocking_one_to_stop() {
    let house = House::open().await;
    for function in ["test_forever", "test_blocking_until_cancelled"] {
        let error = failed(house.run(function, serde_json::json!(null)).await);
        assert!(error.contains("timeout of 20ms"), "{error}");
    }
}

#[tokio::test]
async fn a_handler_in_a_busy_loop_delays_no_acknowledgement() {
    let settings = ServerSettings { task_threads: 1, ..settings() };
    let house = House::with(settings, ()).await;
    let gate = Gate::new();
    let mut client = house.client().await;
    client.send(&request("test_spin", gate.name())).await.unwrap();
    gate.entered().await;
    // The only task thread spins now; acknowledgements and status come all the same.
    for _ in 0..100 {
        client.send(&request("test_shout", serde_json::json!("x"))).await.unwrap();
    }
    assert_eq!(house.ledger().await.waiting, 100);
    gate.open();
}

#[tokio::test]
async fn no_more_tasks_run_at_once_than_there_are_workers() {
    let settings = ServerSettings { task_worker_num: 2, ..settings() };
    let house = House::with(settings, ()).await;
    let gates: Vec<_> = (0..3).map(|_| Gate::new()).collect();
    let mut client = house.client().await;
    for gate in &gates {
        client.send_awaited(&request("test_gate", gate.name())).await.unwrap();
    }
    gates[0].entered().await;
    gates[1].entered().await;
    let status = client.status().await.unwrap();
    assert_eq!((status.workers.busy, status.workers.idle), (2, 0));
    assert_eq!((status.ledger.running, status.ledger.waiting), (2, 1));
    gates[1].open();
    assert_eq!(client.ended().await.unwrap().0, 1);
    gates[2].entered().await;
    gates[2].open();
    gates[0].open();
}

#[tokio::test]
async fn a_slow_task_does_not_hold_up_those_behind_it() {
    let house = House::open().await;
    let gate = Gate::new();
    let client = house.client().await;
    let mut requests = vec![request("test_gate", gate.name())];
    requests.extend((0..1000).map(|_| request("test_shout", serde_json::json!("x"))));
    client.send_many(&requests).await.unwrap();
    assert_eq!(done(house.run("test_shout", serde_json::json!("last")).await).get(), "\"LAST\"");
    assert_eq!(house.ledger().await.running, 1);
    gate.open();
}

#[tokio::test]
async fn a_full_queue_is_told_with_the_time_to_come_back() {
    let settings = ServerSettings { max_queue_length: Some(2), task_worker_num: 1, ..settings() };
    let house = House::with(settings, ()).await;
    let gate = Gate::new();
    let mut client = house.client().await;
    client.send(&request("test_gate", gate.name())).await.unwrap();
    gate.entered().await;
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
async fn many_requests_keep_their_order_and_each_has_its_own_outcome() {
    let house = House::open().await;
    let requests = [
        request("test_shout", serde_json::json!("a")),
        request("no_such", serde_json::json!("b")),
        request("test_shout", serde_json::json!(5)),
        request("test_shout", serde_json::json!("c")),
    ];
    let outcomes = house.client().await.send_many(&requests).await.unwrap();
    assert_eq!(outcomes[0], Ok(0));
    assert_eq!(outcomes[1].as_ref().unwrap_err().code, framework::protocol::ErrorCode::UnknownFunction);
    assert_eq!(outcomes[2].as_ref().unwrap_err().code, framework::protocol::ErrorCode::BadArguments);
    assert_eq!(outcomes[3], Ok(1));
}

#[tokio::test]
async fn replies_without_an_id_keep_the_order_and_those_with_one_do_not_wait() {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    let house = House::open().await;
    let gate = Gate::new();
    let mut stream = BufReader::new(tokio::net::TcpStream::connect(&house.address).await.unwrap());
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
        stream.read_line(&mut line).await.unwrap();
        line
    };
    assert_eq!(next().await, "{\"id\":7,\"task_id\":2,\"status\":\"queued\",\"durability\":\"memory\"}\n");
    gate.entered().await;
    gate.open();
    assert_eq!(next().await, "{\"task_id\":0,\"status\":\"done\",\"result\":null}\n");
    assert_eq!(next().await, "{\"task_id\":1,\"status\":\"queued\",\"durability\":\"memory\"}\n");
    assert_eq!(next().await, "{\"id\":8,\"task_id\":3,\"status\":\"queued\",\"durability\":\"memory\"}\n");
    assert_eq!(next().await, "{\"id\":8,\"task_id\":3,\"status\":\"done\",\"result\":\"D\"}\n");
}

/// Tells a test of every end, and takes its time over it if the test says so.
struct Telling {
    ends: mpsc::UnboundedSender<(u64, State)>,
    gate: Option<Gate>,
}

impl Events for Telling {
    async fn on_finish(&self, finished: &Finished) {
        if let Some(gate) = &self.gate {
            gate.pass().await;
        }
        self.ends.send((finished.id(), finished.state())).unwrap();
    }
}

#[tokio::test]
async fn a_slow_on_finish_delays_neither_answers_nor_tasks() {
    let (ends, mut told) = mpsc::unbounded_channel();
    let gate = Gate::new();
    let house = House::with(settings(), Telling { ends, gate: Some(gate.clone()) }).await;
    for id in 0..50 {
        let outcome = house.run("test_shout", serde_json::json!(id.to_string())).await;
        assert_eq!(done(outcome).get(), format!("\"{id}\""));
    }
    assert!(told.try_recv().is_err(), "no callback is over yet");
    gate.open();
    let mut seen = Vec::new();
    for _ in 0..50 {
        seen.push(told.recv().await.unwrap().0);
    }
    seen.sort_unstable();
    assert_eq!(seen, Vec::from_iter(0..50), "once for each");
}

/// Panics wherever it can.
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
async fn callbacks_that_panic_harm_nothing_else() {
    let house = House::with(settings(), Panicking).await;
    assert!(failed(house.run("test_shout", serde_json::json!("a")).await).contains("on_task"));
    assert_eq!(done(house.run("test_shout", serde_json::json!("b")).await).get(), "\"B\"");
    let answer = house.client().await.send_raw(b"raw\n").await.unwrap();
    assert!(String::from_utf8(answer).unwrap().contains("on_receive panicked"));
    assert_eq!(house.running.stop().await, ShutdownReport { remaining: 0, durable: false });
}

#[tokio::test]
async fn a_stop_lets_running_and_waiting_tasks_finish_and_answers_them() {
    let house = House::with(ServerSettings { task_worker_num: 1, ..settings() }, ()).await;
    let gate = Gate::new();
    let mut client = house.client().await;
    client.send_awaited(&request("test_gate", gate.name())).await.unwrap();
    client.send_awaited(&request("test_shout", serde_json::json!("waiting"))).await.unwrap();
    gate.entered().await;
    let House { running, .. } = house;
    let stop = tokio::spawn(running.stop());
    gate.open();
    assert_eq!(client.ended().await.unwrap().0, 0);
    assert_eq!(client.ended().await.unwrap().0, 1);
    assert_eq!(stop.await.unwrap(), ShutdownReport { remaining: 0, durable: false });
}

#[tokio::test]
async fn a_stop_gives_up_what_does_not_end_and_says_how_much() {
    let settings = ServerSettings { max_wait_time: Duration::from_millis(20), ..settings() };
    let house = House::with(settings, ()).await;
    let gate = Gate::new();
    let mut client = house.client().await;
    client.send(&request("test_gate", gate.name())).await.unwrap();
    gate.entered().await;
    assert_eq!(house.running.stop().await, ShutdownReport { remaining: 1, durable: false });
}

#[tokio::test]
async fn two_handlers_of_one_name_are_told_with_both_places() {
    let handler = Handlers::collect().unwrap().find("test_shout").unwrap();
    let error = Handlers::collect().unwrap().with(handler).unwrap_err().to_string();
    assert_eq!(error.matches("handlers.rs:").count(), 2, "{error}");
}

#[tokio::test]
async fn higher_priorities_go_first_and_delayed_tasks_wait_for_their_time() {
    let (ends, mut told) = mpsc::unbounded_channel();
    let settings = ServerSettings { task_worker_num: 1, task_threads: 1, ..settings() };
    let house = House::with(settings, Telling { ends, gate: None }).await;
    let gate = Gate::new();
    let mut client = house.client().await;
    client.send(&request("test_gate", gate.name())).await.unwrap();
    gate.entered().await;
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
        order.push(told.recv().await.unwrap().0);
    }
    assert_eq!(order.iter().filter(|id| **id != 2).copied().collect::<Vec<_>>(), [0, 4, 3, 1]);
    assert!(order.contains(&2));
}

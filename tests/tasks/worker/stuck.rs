//! Handlers that hold their threads, and handlers that panic where nobody expects it.

use std::io::{BufRead, BufReader, Write};

use framework::store::{Query, QueryResult};
use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug)]
struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic!("a value panicked as it was dropped");
    }
}

#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_panics_when_dropped", timeout = "20ms", attempts = 1)]
struct PanicsWhenDropped;

impl Handle for PanicsWhenDropped {
    type Output = ();

    async fn handle(self, _attempt: &Attempt) -> Result<()> {
        let _value = PanicsOnDrop;
        std::future::pending().await
    }
}

#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_panics_at_its_end", attempts = 1)]
struct PanicsAtItsEnd;

impl Handle for PanicsAtItsEnd {
    type Output = ();

    async fn handle(self, _attempt: &Attempt) -> Result<()> {
        let _value = PanicsOnDrop;
        Ok(())
    }
}

#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_panics_with_a_panic", attempts = 1)]
struct PanicsWithPanic;

impl Handle for PanicsWithPanic {
    type Output = ();

    async fn handle(self, _attempt: &Attempt) -> Result<()> {
        std::panic::panic_any(PanicsOnDrop)
    }
}

#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_blocking_panics_with_a_panic", attempts = 1, blocking)]
struct BlockingPanicsWithPanic;

impl HandleBlocking for BlockingPanicsWithPanic {
    type Output = ();

    fn handle(self, _attempt: &Attempt) -> Result<()> {
        std::panic::panic_any(PanicsOnDrop)
    }
}

#[tokio::test]
async fn attempt_that_panics_in_a_drop_fails_and_its_worker_goes_on() {
    let settings = ServerSettings { task_worker_num: 1, task_threads: 1, ..settings() };
    let server = TestServer::with(settings, ()).await;
    let mut client = server.client().await;
    for (function, error) in [
        ("test_panics_when_dropped", "longer than its timeout of 20ms"),
        ("test_panics_at_its_end", "a value panicked as it was dropped"),
        ("test_panics_with_a_panic", "The handler panicked at "),
        ("test_blocking_panics_with_a_panic", "The handler panicked at "),
    ] {
        let id = client.send_awaited(&request(function, serde_json::json!(null))).await.unwrap();
        let (_, outcome) = client.ended().await.unwrap();
        let outcome = failed(outcome);
        assert!(outcome.contains(error), "{function}: {outcome}");
        let Ok(QueryResult::Task(task)) = server.store.query(Query::Task(id)).await else { panic!() };
        assert_eq!((task.crashes, task.summary.state), (0, State::Failed), "{function}");
        // The only worker and the only puller are still there.
        assert_eq!(done(server.run("test_shout", serde_json::json!("x")).await).get(), "\"X\"");
    }
}

#[tokio::test]
async fn busy_loop_handler_delays_no_acknowledgement() {
    let settings = ServerSettings { task_threads: 1, ..settings() };
    let server = TestServer::with(settings, ()).await;
    let gate = Gate::new();
    let mut client = server.client().await;
    client.send(&request("test_spin", gate.name())).await.unwrap();
    gate.reached().await;
    // The only task thread spins now; acknowledgements and status come all the same.
    for _ in 0..100 {
        client.send(&request("test_shout", serde_json::json!("x"))).await.unwrap();
    }
    assert_eq!(server.ledger().await.waiting, 100);
    gate.open();
}

#[tokio::test]
async fn stop_ends_in_time_although_handlers_hold_every_task_thread() {
    for settings in every_store() {
        let grace = Duration::from_millis(20);
        let settings = ServerSettings { max_wait_time: grace, task_threads: 1, ..settings };
        let server = TestServer::with(settings, ()).await;
        let gate = Gate::new();
        server.client().await.send(&request("test_spin", gate.name())).await.unwrap();
        gate.reached().await;
        let (_, stopped) = server.close().await;
        assert_eq!(stopped.remaining, 1);
        assert!(!gate.is_open(), "the handler still held its thread");
        gate.open();
    }
}

/// The first line of the answer to `GET /readyz`; none if nobody answers.
fn readiness(address: &str) -> Option<String> {
    let stream = std::net::TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    (&stream).write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n").ok()?;
    BufReader::new(&stream).lines().next()?.ok()
}

#[tokio::test]
async fn readyz_is_not_ready_while_a_stop_waits_for_a_busy_loop() {
    let settings = ServerSettings { max_wait_time: PATIENCE, task_threads: 1, ..settings() };
    let server = TestServer::with(settings, ()).await;
    let gate = Gate::new();
    server.client().await.send(&request("test_spin", gate.name())).await.unwrap();
    gate.reached().await;
    let address = server.address.clone();
    assert_eq!(readiness(&address).as_deref(), Some("HTTP/1.1 200 OK"));
    let closing = tokio::spawn(server.close());
    in_time("the server is not ready any more", async {
        while readiness(&address).is_some_and(|line| line.contains(" 200 ")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(!gate.is_open());
    gate.open();
    assert_eq!(closing.await.unwrap().1.remaining, 0);
}

#[tokio::test]
async fn lease_of_a_handler_that_holds_every_task_thread_is_renewed() {
    for settings in every_store() {
        let lease_time = Duration::from_millis(300);
        let settings = ServerSettings { lease_time, task_threads: 1, ..settings };
        let server = TestServer::with(settings, ()).await;
        let gate = Gate::new();
        let mut client = server.client().await;
        let spins = client.send_awaited(&request("test_spin", gate.name())).await.unwrap();
        gate.reached().await;
        let begun = Instant::now();
        // Leases that are not renewed are over by then, and the store has looked for them.
        in_time("four leases pass", async {
            while begun.elapsed() < lease_time * 4 {
                tokio::time::sleep(Duration::from_millis(5)).await;
                assert_eq!(server.ledger().await.running, 1);
            }
        })
        .await;
        gate.open();
        assert_eq!(client.ended().await.unwrap().0, spins);
        let Ok(QueryResult::Task(task)) = server.store.query(Query::Task(spins)).await else { panic!() };
        assert_eq!((task.crashes, task.summary.attempts), (0, 1));
    }
}

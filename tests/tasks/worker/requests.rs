//! The options of a request: keys, times, expiry and follow-up tasks.

use framework::store::{Query, QueryResult};

use super::*;

/// A request whose handler waits at this gate.
fn at_gate(gate: &Gate) -> Request {
    request("test_gate", gate.name())
}

#[tokio::test]
async fn key_returns_the_first_task_and_its_outcome() {
    for settings in every_store() {
        let server = TestServer::with(settings, ()).await;
        let gate = Gate::new();
        let keyed = || Request { key: Some("once".into()), ..at_gate(&gate) };
        let (mut first, mut second) = (server.client().await, server.client().await);
        assert_eq!(first.send_awaited(&keyed()).await.unwrap(), 0);
        gate.reached().await;
        assert_eq!(second.send_awaited(&keyed()).await.unwrap(), 0, "while it runs");
        assert_eq!(second.send(&keyed()).await.unwrap(), 0, "a client that does not wait gets the id, too");
        gate.open();
        for client in [&mut first, &mut second] {
            let (id, outcome) = client.ended().await.unwrap();
            assert_eq!((id, done(outcome).get()), (0, "null"));
        }
        assert_eq!(second.send_awaited(&keyed()).await.unwrap(), 0, "after its end");
        assert_eq!(done(second.ended().await.unwrap().1).get(), "null");
        assert_eq!(server.ledger().await.accepted, 1);
    }
}

#[tokio::test]
async fn key_repeated_in_one_read_answers_twice() {
    for settings in every_store() {
        let server = TestServer::with(settings, ()).await;
        let line = r#"{"function":"test_shout","args":"a","key":"k","reply":"result"}"#;
        let answers = server.client().await.send_raw(format!("{line}\n{line}\n").as_bytes()).await.unwrap();
        let answer = "{\"task_id\":0,\"status\":\"done\",\"result\":\"A\"}\n";
        assert_eq!(String::from_utf8(answers).unwrap(), answer.repeat(2));
    }
}

#[tokio::test]
async fn key_used_concurrently_gives_all_the_outcome() {
    for settings in every_store() {
        let server = TestServer::with(settings, ()).await;
        for round in 0..50 {
            let race = (0..8).map(|_| async {
                let keyed = Request {
                    key: Some(format!("round {round}")),
                    ..request("test_shout", serde_json::json!("x"))
                };
                let mut client = server.client().await;
                let id = client.send_awaited(&keyed).await.unwrap();
                let (ended, outcome) = client.ended().await.unwrap();
                assert_eq!((ended, done(outcome).get()), (id, "\"X\""));
            });
            join(race).await;
        }
        assert_eq!(server.ledger().await.accepted, 50);
    }
}

/// Waits for all of them at once.
async fn join(all: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        all.retain_mut(|one| one.as_mut().poll(context).is_pending());
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[tokio::test]
async fn concurrency_key_runs_tasks_in_turn() {
    for settings in every_store() {
        let server = TestServer::with(settings, ()).await;
        let gates = [Gate::new(), Gate::new()];
        let mut client = server.client().await;
        for gate in &gates {
            let keyed = Request { concurrency_key: Some("ada".into()), ..at_gate(gate) };
            client.send_awaited(&keyed).await.unwrap();
        }
        gates[0].reached().await;
        done(server.run("test_shout", serde_json::json!("another")).await);
        let ledger = server.ledger().await;
        assert_eq!((ledger.running, ledger.waiting), (1, 1));
        gates[0].open();
        gates[1].reached().await;
        gates[1].open();
        assert_eq!(client.ended().await.unwrap().0, 0);
        assert_eq!(client.ended().await.unwrap().0, 1);
    }
}

#[tokio::test]
async fn expired_task_is_never_run() {
    for settings in every_store() {
        let (ends, mut reported) = ends();
        let settings = ServerSettings { task_worker_num: 1, ..settings };
        let server = TestServer::with(settings, EndReporter { ends, gate: None }).await;
        let gate = Gate::new();
        let mut client = server.client().await;
        client.send(&at_gate(&gate)).await.unwrap();
        gate.reached().await;
        let late = Request { expires: Some("1ms".into()), ..request("test_shout", serde_json::json!("x")) };
        client.send_awaited(&late).await.unwrap();
        let (id, outcome) = client.ended().await.unwrap();
        assert!(matches!(outcome, TaskEnd::Expired(_)), "{outcome:?}");
        assert_eq!(next_end(&mut reported).await, (id, State::Expired));
        gate.open();
    }
}

#[tokio::test]
async fn at_in_the_past_runs_now_and_in_the_future_waits() {
    for settings in every_store() {
        let server = TestServer::with(settings, ()).await;
        let at = |at: &str| Request { at: Some(at.into()), ..request("test_shout", serde_json::json!("x")) };
        let mut client = server.client().await;
        client.send_awaited(&at("2001-01-01T00:00:00+08:00")).await.unwrap();
        done(client.ended().await.unwrap().1);
        client.send(&at("2500-01-01T00:00:00Z")).await.unwrap();
        assert_eq!(server.ledger().await.waiting, 1);
    }
}

#[tokio::test]
async fn then_runs_with_the_previous_result() {
    for settings in every_store() {
        let (ends, mut reported) = ends();
        let server = TestServer::with(settings, EndReporter { ends, gate: None }).await;
        let mut client = server.client().await;
        let then = vec!["test_echo".to_owned(), "test_echo".to_owned()];
        let chain = Request { then, ..request("test_shout", serde_json::json!("x")) };
        client.send(&chain).await.unwrap();
        for id in 0..3 {
            assert_eq!(next_end(&mut reported).await, (id, State::Done));
        }
        assert_eq!(done(result_of(&server, 2).await).get(), "\"X\"");
    }
}

#[tokio::test]
async fn then_rejects_an_unknown_function() {
    for settings in every_store() {
        let server = TestServer::with(settings, ()).await;
        let chain =
            Request { then: vec!["test_shuot".into()], ..request("test_shout", serde_json::json!("x")) };
        let refusal = server.client().await.send(&chain).await.unwrap_err().to_string();
        assert!(refusal.contains("Did you mean \"test_shout\"?"), "{refusal}");
        assert_eq!(server.ledger().await.accepted, 0);
    }
}

#[tokio::test]
async fn request_overrides_attempts_timeout_and_backoff() {
    for settings in every_store() {
        let server = TestServer::with(settings, ()).await;
        let once = Request { attempts: Some(1), ..request("test_third_time", serde_json::json!(null)) };
        let mut client = server.client().await;
        client.send_awaited(&once).await.unwrap();
        assert_eq!(failed(client.ended().await.unwrap().1), "not yet");
        let short = Request { timeout: Some(Duration::from_millis(1)), ..at_gate(&Gate::new()) };
        client.send_awaited(&short).await.unwrap();
        assert!(failed(client.ended().await.unwrap().1).contains("timeout of 1ms"));
        let twice = Request {
            attempts: Some(3),
            backoff: Some(Duration::from_millis(1)),
            ..request("test_third_time", serde_json::json!(null))
        };
        client.send_awaited(&twice).await.unwrap();
        assert_eq!(done(client.ended().await.unwrap().1).get(), "3");
    }
}

#[derive(serde::Serialize, serde::Deserialize, Task)]
#[task(name = "test_echo")]
struct Echoes(serde_json::Value);

impl Handle for Echoes {
    type Output = serde_json::Value;

    async fn handle(self, _attempt: &Attempt) -> Result<serde_json::Value> {
        Ok(self.0)
    }
}

/// The outcome of a task that has ended.
pub(super) async fn result_of(server: &TestServer, id: u64) -> TaskEnd {
    let QueryResult::Task(story) = server.store.query(Query::Task(id)).await.unwrap() else {
        panic!("there is no task {id}")
    };
    match story.summary.state {
        State::Done => TaskEnd::Done(story.result.unwrap()),
        _ => TaskEnd::Failed(story.summary.error.unwrap()),
    }
}

//! What a request may say beyond its function: keys, times, and what is to follow.

use framework::store::{Query, QueryResult};

use super::*;

/// A request that waits at this gate.
fn at_gate(gate: &Gate) -> Request {
    request("test_gate", gate.name())
}

#[tokio::test]
async fn a_second_task_with_a_key_is_the_first_one_again_and_has_its_outcome() {
    for settings in every_store() {
        let house = House::with(settings, ()).await;
        let gate = Gate::new();
        let keyed = || Request { key: Some("once".into()), ..at_gate(&gate) };
        let (mut first, mut second) = (house.client().await, house.client().await);
        assert_eq!(first.send_awaited(&keyed()).await.unwrap(), 0);
        gate.entered().await;
        assert_eq!(second.send_awaited(&keyed()).await.unwrap(), 0, "while it runs");
        assert_eq!(second.send(&keyed()).await.unwrap(), 0, "also who does not wait is told the id");
        gate.open();
        for client in [&mut first, &mut second] {
            let (id, outcome) = client.ended().await.unwrap();
            assert_eq!((id, done(outcome).get()), (0, "null"));
        }
        assert_eq!(second.send_awaited(&keyed()).await.unwrap(), 0, "after its end");
        assert_eq!(done(second.ended().await.unwrap().1).get(), "null");
        assert_eq!(house.ledger().await.accepted, 1);
    }
}

#[tokio::test]
async fn tasks_of_one_key_in_one_read_are_one_task_with_two_answers() {
    for settings in every_store() {
        let house = House::with(settings, ()).await;
        let line = r#"{"function":"test_shout","args":"a","key":"k","reply":"result"}"#;
        let answers = house.client().await.send_raw(format!("{line}\n{line}\n").as_bytes()).await.unwrap();
        let answer = "{\"task_id\":0,\"status\":\"done\",\"result\":\"A\"}\n";
        assert_eq!(String::from_utf8(answers).unwrap(), answer.repeat(2));
    }
}

#[tokio::test]
async fn many_clients_that_race_with_one_key_all_have_the_outcome() {
    for settings in every_store() {
        let house = House::with(settings, ()).await;
        for round in 0..50 {
            let race = (0..8).map(|_| async {
                let keyed = Request {
                    key: Some(format!("round {round}")),
                    ..request("test_shout", serde_json::json!("x"))
                };
                let mut client = house.client().await;
                let id = client.send_awaited(&keyed).await.unwrap();
                let (ended, outcome) = client.ended().await.unwrap();
                assert_eq!((ended, done(outcome).get()), (id, "\"X\""));
            });
            futures(race).await;
        }
        assert_eq!(house.ledger().await.accepted, 50);
    }
}

/// Waits for all of them at once.
async fn futures(all: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        all.retain_mut(|one| one.as_mut().poll(context).is_pending());
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[tokio::test]
async fn tasks_of_one_concurrency_key_take_turns() {
    for settings in every_store() {
        let house = House::with(settings, ()).await;
        let gates = [Gate::new(), Gate::new()];
        let mut client = house.client().await;
        for gate in &gates {
            let keyed = Request { concurrency_key: Some("ada".into()), ..at_gate(gate) };
            client.send_awaited(&keyed).await.unwrap();
        }
        gates[0].entered().await;
        done(house.run("test_shout", serde_json::json!("another")).await);
        let ledger = house.ledger().await;
        assert_eq!((ledger.running, ledger.waiting), (1, 1));
        gates[0].open();
        gates[1].entered().await;
        gates[1].open();
        assert_eq!(client.ended().await.unwrap().0, 0);
        assert_eq!(client.ended().await.unwrap().0, 1);
    }
}

#[tokio::test]
async fn a_task_that_nobody_begins_in_time_has_expired() {
    for settings in every_store() {
        let (ends, mut told) = mpsc::unbounded_channel();
        let settings = ServerSettings { task_worker_num: 1, ..settings };
        let house = House::with(settings, Telling { ends, gate: None }).await;
        let gate = Gate::new();
        let mut client = house.client().await;
        client.send(&at_gate(&gate)).await.unwrap();
        gate.entered().await;
        let late = Request { expires: Some("1ms".into()), ..request("test_shout", serde_json::json!("x")) };
        client.send_awaited(&late).await.unwrap();
        let (id, outcome) = client.ended().await.unwrap();
        assert!(matches!(outcome, TaskEnd::Expired(_)), "{outcome:?}");
        assert_eq!(told.recv().await, Some((id, State::Expired)));
        gate.open();
    }
}

#[tokio::test]
async fn a_time_in_the_past_is_now_and_one_in_the_future_is_waited_for() {
    for settings in every_store() {
        let house = House::with(settings, ()).await;
        let at = |at: &str| Request { at: Some(at.into()), ..request("test_shout", serde_json::json!("x")) };
        let mut client = house.client().await;
        client.send_awaited(&at("2001-01-01T00:00:00+08:00")).await.unwrap();
        done(client.ended().await.unwrap().1);
        client.send(&at("2500-01-01T00:00:00Z")).await.unwrap();
        assert_eq!(house.ledger().await.waiting, 1);
    }
}

#[tokio::test]
async fn what_is_to_follow_runs_with_the_result_of_what_was_before() {
    for settings in every_store() {
        let (ends, mut told) = mpsc::unbounded_channel();
        let house = House::with(settings, Telling { ends, gate: None }).await;
        let mut client = house.client().await;
        let then = vec!["test_echo".to_owned(), "test_echo".to_owned()];
        let chain = Request { then, ..request("test_shout", serde_json::json!("x")) };
        client.send(&chain).await.unwrap();
        for id in 0..3 {
            assert_eq!(told.recv().await, Some((id, State::Done)));
        }
        assert_eq!(done(result_of(&house, 2).await).get(), "\"X\"");
    }
}

#[tokio::test]
async fn a_function_that_is_to_follow_must_exist() {
    for settings in every_store() {
        let house = House::with(settings, ()).await;
        let chain =
            Request { then: vec!["test_shuot".into()], ..request("test_shout", serde_json::json!("x")) };
        let refusal = house.client().await.send(&chain).await.unwrap_err().to_string();
        assert!(refusal.contains("Did you mean \"test_shout\"?"), "{refusal}");
        assert_eq!(house.ledger().await.accepted, 0);
    }
}

#[tokio::test]
async fn the_request_has_a_say_in_attempts_and_pauses() {
    for settings in every_store() {
        let house = House::with(settings, ()).await;
        let once = Request { attempts: Some(1), ..request("test_third_time", serde_json::json!(null)) };
        let mut client = house.client().await;
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
pub(super) async fn result_of(house: &House, id: u64) -> TaskEnd {
    let QueryResult::Task(story) = house.store.query(Query::Task(id)).await.unwrap() else {
        panic!("there is no task {id}")
    };
    match story.summary.state {
        State::Done => TaskEnd::Done(story.result.unwrap()),
        _ => TaskEnd::Failed(story.summary.error.unwrap()),
    }
}

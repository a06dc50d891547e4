//! What the next start finds of tasks that had not ended.

use framework::store::{Query, QueryResult};

use super::*;

/// Tasks on disk, and no patience with those that run.
fn impatient() -> ServerSettings {
    let max_wait_time = Duration::from_millis(20);
    ServerSettings { durability: Durability::Fsync, max_wait_time, ..settings() }
}

#[tokio::test]
async fn what_a_stop_gives_up_runs_after_the_next_start_and_the_attempt_does_not_count() {
    let (ends, mut told) = mpsc::unbounded_channel();
    let house = House::with(impatient(), ()).await;
    let gates = [Gate::new(), Gate::new()];
    let mut client = house.client().await;
    for gate in &gates {
        client.send_awaited(&request("test_gate", gate.name())).await.unwrap();
    }
    let later =
        Request { delay: Some(Duration::from_secs(3600)), ..request("test_shout", serde_json::json!("x")) };
    client.send(&later).await.unwrap();
    gates[0].entered().await;
    gates[1].entered().await;
    let (root, stopped) = house.close().await;
    assert_eq!(stopped, ShutdownReport { remaining: 3, durable: true });
    assert!(client.ended().await.unwrap_err().to_string().contains("stops before the task has ended"));

    gates.iter().for_each(Gate::open);
    let house = House::at(root, impatient(), Telling { ends, gate: None }).await;
    let mut seen = [told.recv().await.unwrap(), told.recv().await.unwrap()];
    seen.sort_unstable();
    assert_eq!(seen, [(0, State::Done), (1, State::Done)]);
    let Ok(QueryResult::Task(story)) = house.store.query(Query::Task(0)).await else { panic!() };
    assert_eq!((story.history.len(), story.history[0].number, story.crashes), (1, 1, 0), "{story:?}");
    let ledger = house.ledger().await;
    assert_eq!((ledger.accepted, ledger.done, ledger.waiting), (3, 2, 1));
}

#[tokio::test]
async fn a_key_is_remembered_over_a_restart_with_the_outcome() {
    let house = House::with(impatient(), ()).await;
    let keyed = || Request { key: Some("once".into()), ..request("test_shout", serde_json::json!("x")) };
    let mut client = house.client().await;
    client.send_awaited(&keyed()).await.unwrap();
    assert_eq!(done(client.ended().await.unwrap().1).get(), "\"X\"");
    let (root, _) = house.close().await;
    let house = House::at(root, impatient(), ()).await;
    let mut client = house.client().await;
    assert_eq!(client.send_awaited(&keyed()).await.unwrap(), 0);
    assert_eq!(done(client.ended().await.unwrap().1).get(), "\"X\"");
    assert_eq!(house.ledger().await.accepted, 1);
}

#[tokio::test]
async fn who_follows_a_task_over_a_restart_hears_the_rest() {
    let house = House::with(impatient(), ()).await;
    let gate = Gate::new();
    let id = house.client().await.send(&request("test_tells", gate.name())).await.unwrap();
    gate.entered().await;
    let (root, _) = house.close().await;
    let house = House::at(root, impatient(), ()).await;
    let client = house.client().await;
    let mut following = client.follow(id).await.unwrap();
    gate.open();
    let mut last = None;
    while let Some(news) = following.next().await.unwrap() {
        last = Some(news);
    }
    assert!(matches!(last, Some(framework::client::TaskEvent::Ended(TaskEnd::Done(_)))), "{last:?}");
}

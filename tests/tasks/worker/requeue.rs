//! Tasks that had not ended when a server stopped, after its next start.

use framework::store::{Query, QueryResult};
use framework::task::NewTask;

use super::*;

/// Tasks on disk, and hardly any grace for those that run.
fn short_grace() -> ServerSettings {
    let max_wait_time = Duration::from_millis(20);
    ServerSettings { durability: Durability::Fsync, max_wait_time, ..settings() }
}

#[tokio::test]
async fn stopped_tasks_run_after_the_next_start_without_counting() {
    let (ends, mut reported) = ends();
    let server = TestServer::with(short_grace(), ()).await;
    let gates = [Gate::new(), Gate::new()];
    let mut client = server.client().await;
    for gate in &gates {
        client.send_awaited(&request("test_gate", gate.name())).await.unwrap();
    }
    let later =
        Request { delay: Some(Duration::from_secs(3600)), ..request("test_shout", serde_json::json!("x")) };
    client.send(&later).await.unwrap();
    gates[0].reached().await;
    gates[1].reached().await;
    let (root, stopped) = server.close().await;
    assert_eq!(stopped, ShutdownReport { remaining: 3, durable: true });
    assert!(client.ended().await.unwrap_err().to_string().contains("stops before the task has ended"));

    gates.iter().for_each(Gate::open);
    let server = TestServer::at(root, short_grace(), EndReporter { ends, gate: None }).await;
    let mut seen = [next_end(&mut reported).await, next_end(&mut reported).await];
    seen.sort_unstable();
    assert_eq!(seen, [(0, State::Done), (1, State::Done)]);
    let Ok(QueryResult::Task(story)) = server.store.query(Query::Task(0)).await else { panic!() };
    assert_eq!((story.history.len(), story.history[0].number, story.crashes), (1, 1, 0), "{story:?}");
    let ledger = server.ledger().await;
    assert_eq!((ledger.accepted, ledger.done, ledger.waiting), (3, 2, 1));
}

#[tokio::test]
async fn key_outcome_survives_a_restart() {
    let server = TestServer::with(short_grace(), ()).await;
    let keyed = || Request { key: Some("once".into()), ..request("test_shout", serde_json::json!("x")) };
    let mut client = server.client().await;
    client.send_awaited(&keyed()).await.unwrap();
    assert_eq!(done(client.ended().await.unwrap().1).get(), "\"X\"");
    let (root, _) = server.close().await;
    let server = TestServer::at(root, short_grace(), ()).await;
    let mut client = server.client().await;
    assert_eq!(client.send_awaited(&keyed()).await.unwrap(), 0);
    assert_eq!(done(client.ended().await.unwrap().1).get(), "\"X\"");
    assert_eq!(server.ledger().await.accepted, 1);
}

#[tokio::test]
async fn follow_continues_after_a_restart() {
    let server = TestServer::with(short_grace(), ()).await;
    let gate = Gate::new();
    let id = server.client().await.send(&request("test_tells", gate.name())).await.unwrap();
    gate.reached().await;
    let (root, _) = server.close().await;
    let server = TestServer::at(root, short_grace(), ()).await;
    let client = server.client().await;
    let mut following = client.follow(id).await.unwrap();
    gate.open();
    let mut last = None;
    while let Some(news) = in_time("an event", following.next()).await.unwrap() {
        last = Some(news);
    }
    assert!(matches!(last, Some(framework::client::TaskEvent::Ended(TaskEnd::Done(_)))), "{last:?}");
}

#[tokio::test]
async fn task_of_an_unknown_function_waits_and_lets_others_run() {
    for settings in every_store() {
        let server = TestServer::with(settings, ()).await;
        let unknown = NewTask::without_handler("not_in_this_program", "null".into());
        let id = server.store.push(vec![unknown]).await[0].clone().unwrap().id;
        assert_eq!(done(server.run("test_shout", serde_json::json!("x")).await).get(), "\"X\"");
        let parked = in_time("the task is parked", async {
            loop {
                let Ok(QueryResult::Task(task)) = server.store.query(Query::Task(id)).await else { panic!() };
                if task.summary.parked {
                    break task;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        assert_eq!((parked.summary.state, parked.summary.attempts), (State::Waiting, 0));
        let mut client = server.client().await;
        let refused = client.send(&request("not_in_this_program", serde_json::json!(null))).await;
        assert!(refused.unwrap_err().to_string().contains("There is no function"));
    }
}

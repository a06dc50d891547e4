//! Progress, log lines and further tasks of a running attempt, and clients that follow it.

use std::time::Instant;

use framework::client::{ClientError, TaskEvent};
use framework::protocol::ErrorCode;
use framework::store::AdminCommand;
use framework::store::Query;
use framework::store::QueryResult;
use framework::task::NewTask;
use framework::views::TaskSelector;
use serde::{Deserialize, Serialize};

use super::*;

#[tokio::test]
async fn pushed_tasks_are_accepted_when_the_attempt_succeeds() {
    for settings in every_store() {
        let (ends, mut reported) = ends();
        let server = TestServer::with(settings, EndReporter { ends, gate: None }).await;
        let mut client = server.client().await;
        client.send(&request("test_pushes", serde_json::json!(null))).await.unwrap();
        let mut seen = Vec::new();
        for _ in 0..5 {
            seen.push(next_end(&mut reported).await);
        }
        seen.sort_unstable();
        assert_eq!(
            seen,
            Vec::from_iter((0..5).map(|id| (id, State::Done))),
            "two pushed, two chained, once each"
        );
        let ledger = server.ledger().await;
        assert_eq!((ledger.accepted, ledger.done), (5, 5), "the attempts that failed have pushed nothing");
        let mut results = Vec::new();
        for id in 1..5 {
            results.push(done(super::requests::result_of(&server, id).await).get().to_owned());
        }
        assert_eq!(results, ["\"FIRST\"", "\"SECOND\"", "\"RESULT\"", "\"RESULT\""]);
    }
}

#[tokio::test]
async fn standalone_attempt_needs_no_server() {
    let handlers = Arc::new(Handlers::collect().unwrap());
    let new = NewTask::from_json(&handlers, Some("test_pushes"), "null".into()).unwrap();
    let task =
        Arc::new(framework::task::TaskRecord::new(7, NewTask { attempts: 1, ..new }, Instant::now(), 0));
    let attempt = Attempt::standalone(task, 1, Config::at("/no/project", []), handlers).unwrap();
    let outcome = attempt.run().await;
    assert_eq!(outcome.text(), "result");
    let pushed: Vec<_> = attempt.take_pushed(&outcome).into_iter().map(|task| task.args).collect();
    assert_eq!(pushed, ["\"first\"", "\"second\"", "\"result\""]);
    assert!(attempt.take_pushed(&outcome).is_empty(), "they are taken out");
}

#[tokio::test]
async fn pushed_tasks_per_attempt_are_limited() {
    for settings in every_store() {
        let server = TestServer::with(settings, ()).await;
        let error = failed(server.run("test_pushes_too_much", serde_json::json!(null)).await);
        assert!(error.contains("at most 10000 tasks"), "{error}");
        assert_eq!(server.ledger().await.accepted, 1);
    }
}

#[tokio::test]
async fn progress_and_log_are_stored_with_the_task() {
    for settings in every_store() {
        let server = TestServer::with(settings, ()).await;
        let id = 0;
        let gate = Gate::new();
        let mut client = server.client().await;
        client.send_awaited(&request("test_tells", gate.name())).await.unwrap();
        gate.reached().await;
        for state in [State::Running, State::Done] {
            let QueryResult::Task(story) = server.store.query(Query::Task(id)).await.unwrap() else {
                panic!()
            };
            assert_eq!(story.summary.state, state);
            let progress = story.notes.progress.unwrap();
            assert_eq!((progress.percent, &*progress.text), (50.0, "1 of 2"));
            let log: Vec<_> = story.notes.log.iter().map(|line| (line.attempt, &*line.text)).collect();
            let lines = [(1, "first line"), (1, "second line"), (1, "third line")];
            assert_eq!(log, lines[..if state == State::Done { 3 } else { 2 }]);
            gate.open();
            if state == State::Running {
                client.ended().await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn follow_reports_progress_log_and_end() {
    for settings in every_store() {
        let server = TestServer::with(settings, ()).await;
        let gate = Gate::new();
        let (mut sender, follower) = (server.client().await, server.client().await);
        let id = sender.send(&request("test_tells", gate.name())).await.unwrap();
        gate.reached().await;
        let mut following = follower.follow(id).await.unwrap();
        assert_eq!(following.latest(), "running");
        let news = in_time("an event", following.next()).await.unwrap();
        let Some(TaskEvent::Progress { percent, text }) = news else { panic!("{news:?}") };
        assert_eq!((percent, &*text), (50.0, "1 of 2"));
        gate.open();
        let news = in_time("an event", following.next()).await.unwrap();
        let Some(TaskEvent::Log { attempt, text }) = news else { panic!("{news:?}") };
        assert_eq!((attempt, &*text), (1, "third line"));
        let news = in_time("an event", following.next()).await.unwrap();
        assert!(matches!(news, Some(TaskEvent::Ended(TaskEnd::Done(_)))), "{news:?}");
        assert!(in_time("an event", following.next()).await.unwrap().is_none());
        assert_eq!(
            follower.follow(id).await.unwrap().latest(),
            "done",
            "the connection and the details of the task stay"
        );
    }
}

#[tokio::test]
async fn follow_of_an_unknown_task_is_rejected() {
    for settings in every_store() {
        let server = TestServer::with(settings, ()).await;
        let error = server.client().await.follow(7).await.unwrap_err();
        assert!(
            matches!(&error, ClientError::Refused(refusal) if refusal.code == ErrorCode::UnknownTask),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn follow_reports_the_cancel_of_a_waiting_task() {
    for settings in every_store() {
        let server = TestServer::with(settings, ()).await;
        let mut client = server.client().await;
        let later = Request {
            delay: Some(Duration::from_secs(3600)),
            ..request("test_shout", serde_json::json!("x"))
        };
        let id = client.send(&later).await.unwrap();
        let mut following = client.follow(id).await.unwrap();
        assert_eq!(following.latest(), "waiting");
        server.store.apply(AdminCommand::Cancel(TaskSelector::Task(id))).await.unwrap();
        let news = in_time("an event", following.next()).await.unwrap();
        assert!(matches!(news, Some(TaskEvent::Ended(TaskEnd::Cancelled(_)))), "{news:?}");
    }
}

#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_tells")]
struct Tells(u64);

impl Handle for Tells {
    type Output = ();

    async fn handle(self, attempt: &Attempt) -> Result<()> {
        attempt.log("first line");
        attempt.progress(10.0, "0 of 2");
        attempt.log(format_args!("{} line", "second"));
        attempt.progress(50.0, "1 of 2");
        Gate::find(self.0).pass().await;
        attempt.log("third line");
        Ok(())
    }
}

#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_pushes", attempts = 3, backoff = "1ms")]
struct Pushes;

impl Handle for Pushes {
    type Output = &'static str;

    async fn handle(self, attempt: &Attempt) -> Result<&'static str> {
        attempt.push(Shouts("first".into()))?;
        let mut second = attempt.task_of(&Shouts("second".into()))?;
        second.priority = 9;
        attempt.push_new(second)?;
        attempt.then::<Shouts>()?;
        attempt.then::<Shouts>()?;
        ensure!(attempt.is_last(), "not yet");
        Ok("result")
    }
}

#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_shouts_again")]
struct Shouts(String);

impl Handle for Shouts {
    type Output = String;

    async fn handle(self, _attempt: &Attempt) -> Result<String> {
        Ok(self.0.to_uppercase())
    }
}

#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_pushes_too_much")]
struct PushesTooMuch;

impl Handle for PushesTooMuch {
    type Output = ();

    async fn handle(self, attempt: &Attempt) -> Result<()> {
        for _ in 0..=framework::task::PUSHES_MAX {
            attempt.push(Shouts(String::new()))?;
        }
        Ok(())
    }
}

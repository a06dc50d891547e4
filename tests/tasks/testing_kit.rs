//! The testing kit: a task server in memory whose clock a test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use framework::prelude::*;
use framework::server::TestServer;
use framework::task::{Due, no_retry};
use framework::views::State;
use serde::{Deserialize, Serialize};

use crate::harness::Project;

/// Fails at its first attempts
#[derive(Serialize, Deserialize, Task)]
#[task(name = "kit_flaky", attempts = 3, backoff = "10m")]
struct Flaky {
    failures: u32,
}

impl Handle for Flaky {
    type Output = u32;

    async fn handle(self, attempt: &Attempt) -> Result<u32> {
        ensure!(attempt.number() > self.failures, "attempt {} fails", attempt.number());
        attempt.push(Note(format!("done at attempt {}", attempt.number())))?;
        Ok(attempt.number())
    }
}

/// Notes a text
#[derive(Debug, Serialize, Deserialize, Task)]
#[task(name = "kit_note", queue = "notes")]
struct Note(String);

impl Handle for Note {
    type Output = String;

    async fn handle(self, _attempt: &Attempt) -> Result<String> {
        ensure!(!self.0.is_empty(), no_retry(anyhow!("there is nothing to note")));
        Ok(self.0)
    }
}

/// Pushes itself
#[derive(Serialize, Deserialize, Task)]
#[task(name = "kit_endless")]
struct Endless(u64);

impl Handle for Endless {
    type Output = ();

    async fn handle(self, attempt: &Attempt) -> Result<()> {
        attempt.push(Endless(self.0 + 1))?;
        Ok(())
    }
}

/// Counts the tasks that have ended.
struct Counter(Arc<AtomicU32>);

impl Events for Counter {
    async fn on_finish(&self, _finished: &Finished) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn test_server_runs_tasks_only_when_it_is_told_and_what_they_push() {
    let ended = Arc::new(AtomicU32::new(0));
    let server = TestServer::builder().events(Counter(ended.clone())).build();
    let id = server.send(Flaky { failures: 0 });
    server.assert_enqueued(|task: &Flaky| task.failures == 0);
    server.assert_none_enqueued::<Note>();
    assert_eq!(server.run_due(), 2, "the task, and the one that it has pushed");
    assert_eq!(server.result::<u32>(id), 1);
    assert_eq!(server.result::<String>(id + 1), "done at attempt 1");
    server.assert_none_enqueued::<Flaky>();
    assert_eq!(ended.load(Ordering::SeqCst), 2);
}

#[test]
fn test_server_lets_delays_and_retries_pass_in_no_time() {
    let begin = Instant::now();
    let server = TestServer::new();
    let retried = server.send(Flaky { failures: 2 });
    let late = server.send_with(Note("later".into()), |task| task.due = Due::After(24 * HOUR));
    assert_eq!(server.run_due(), 1);
    assert_eq!(server.task(retried).summary.state, State::Waiting);
    server.advance(HOUR);
    assert_eq!(server.result::<u32>(retried), 3);
    assert_eq!(server.enqueued::<Note>().len(), 1, "the one of tomorrow");
    server.advance(22 * HOUR);
    assert_eq!(server.task(late).summary.state, State::Waiting);
    server.advance(HOUR);
    assert_eq!(server.result::<String>(late), "later");
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());

    let failed = server.send(Flaky { failures: 9 });
    server.advance(2 * HOUR);
    let task = server.task(failed);
    assert_eq!((task.summary.state, task.history.len()), (State::Failed, 3));
    let never = server.send(Note(String::new()));
    server.run_due();
    assert_eq!(server.task(never).summary.state, State::Failed);
}

#[test]
fn test_server_makes_the_tasks_of_schedules_at_their_times() {
    let project = Project::new();
    let schedule = "[nightly]\nfunction = \"kit_note\"\nargs = \"night\"\ncron = \"0 4 * * *\"\n";
    project.write("config/schedule.toml", schedule);
    let server = TestServer::builder().root(project.path("")).build();
    assert_eq!(server.advance(3 * HOUR), 0);
    assert_eq!(server.advance(2 * HOUR), 1);
    assert_eq!(server.result::<String>(0), "night");
    assert_eq!(server.advance(7 * 24 * HOUR), 7);
}

#[test]
fn test_server_refuses_what_a_client_would_be_refused() {
    let server = TestServer::new();
    let error = server.request(r#"{"function":"kit_note","args":{"x":1}}"#).unwrap_err();
    assert!(error.message.contains("kit_note"), "{error}");
    let error = server.request(r#"{"function":"kit_nota"}"#).unwrap_err();
    assert_eq!(error.suggestion.as_deref(), Some("kit_note"));
    assert!(server.request("hello").is_err());
    let id = server.request(r#"{"function":"kit_note","args":"x","delay":"10m"}"#).unwrap();
    assert_eq!(server.run_due(), 0);
    server.advance(Duration::from_secs(600));
    assert_eq!(server.result::<String>(id), "x");
}

#[test]
#[should_panic(expected = "no task of kit_note that waits fits; there are 1: [\"\\\"one\\\"\"]")]
fn assert_enqueued_shows_what_waits() {
    let server = TestServer::new();
    server.send(Note("one".into()));
    server.assert_enqueued(|note: &Note| note.0 == "two");
}

#[test]
#[should_panic(expected = "there are still tasks that are due")]
fn run_due_ends_when_tasks_make_each_other_without_end() {
    let server = TestServer::new();
    server.send(Endless(0));
    server.run_due();
}

#[tokio::test]
async fn test_server_works_from_an_asynchronous_test() {
    let server = TestServer::new();
    let id = server.send(Note("one".into()));
    server.run_due();
    assert_eq!(server.result::<String>(id), "one");
}

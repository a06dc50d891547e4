//! Which events of a task a subscriber receives, and when.

use framework_console::config::Config;
use framework_macros::Task;
use framework_protocol::ErrorCode;
use framework_protocol::task::{Attempt, AttemptContext, Handle, Handler, Handlers, NewTask, Outcome};
use serde::{Deserialize, Serialize};

use super::*;
use crate::store::{Clock, Disposition, Lease, Memory, Settlement, StoreOptions};

#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_slow")]
struct Slow;

impl Handle for Slow {
    type Output = ();

    async fn handle(self, _attempt: &Attempt) -> anyhow::Result<()> {
        Ok(())
    }
}

static HANDLER: Handler = Handler::of::<Slow>("", "", 0);

/// A store with one running task, and its subscribers.
struct Fixture {
    store: Arc<Memory>,
    subscriptions: Arc<Subscriptions>,
    outbox: Arc<Outbox>,
    lease: Lease,
    attempt: Attempt,
}

impl Fixture {
    async fn new() -> Self {
        let handlers = Arc::new(Handlers::default());
        let store = Arc::new(Memory::new(StoreOptions::default(), handlers.clone(), Clock::machine()));
        store.push(vec![NewTask::with_defaults(&HANDLER, "null".into())]).await[0].clone().unwrap();
        let lease = store.take(0, 1).await.remove(0);
        let subscriptions = Arc::new(Subscriptions::new(store.clone()));
        let context =
            AttemptContext { config: Config::at("/no/project", []), handlers, sink: subscriptions.clone() };
        let attempt = Attempt::new(lease.task.clone(), &HANDLER, 1, Arc::new(context));
        Self { store, subscriptions, outbox: Arc::new(Outbox::new(4096)), lease, attempt }
    }

    async fn subscribe(&self) {
        self.subscriptions.subscribe(&self.outbox, 0, Some("7")).await.unwrap();
    }

    /// Ends the task in the store, as the finisher does.
    async fn settle(&self) {
        let settlement = Settlement {
            task: 0,
            token: self.lease.token,
            disposition: Disposition::Done("1".into()),
            started_ms: 0,
            ran: std::time::Duration::ZERO,
            worker: None,
            follow: Vec::new(),
        };
        assert_eq!(self.store.settle(vec![settlement]).await, [true]);
    }

    /// Publishes the end, as the notifier does.
    fn publish_end(&self) {
        self.subscriptions.ended(&[Finished {
            task: self.lease.task.clone(),
            state: State::Done,
            attempts: 1,
            outcome: Outcome::Done("1".into()),
            running: std::time::Duration::ZERO,
        }]);
    }

    /// The lines sent, without their common beginning.
    fn sent(&self) -> Vec<String> {
        let mut output = Vec::new();
        self.outbox.collect(&mut output);
        let lines = String::from_utf8(output).unwrap();
        let rest = |line: &str| line.strip_prefix("{\"id\":7,\"task_id\":0,\"status\":").unwrap().to_owned();
        lines.lines().map(rest).collect()
    }
}

#[tokio::test]
async fn subscriber_receives_the_state_each_event_and_the_end_once() {
    let fixture = Fixture::new().await;
    fixture.attempt.progress(1.0, "before");
    fixture.subscribe().await;
    fixture.attempt.log("on the way");
    fixture.attempt.progress(99.5, "almost");
    fixture.settle().await;
    fixture.publish_end();
    fixture.publish_end();
    assert_eq!(
        fixture.sent(),
        [
            "\"watching\",\"state\":\"running\"}",
            "\"progress\",\"percent\":1.0,\"text\":\"before\"}",
            "\"log\",\"attempt\":1,\"text\":\"on the way\"}",
            "\"progress\",\"percent\":99.5,\"text\":\"almost\"}",
            "\"done\",\"result\":1}",
        ]
    );
    assert!(fixture.outbox.is_settled() && fixture.subscriptions.is_empty());
}

#[tokio::test]
async fn subscriber_after_the_end_receives_it_before_and_after_its_publication() {
    let fixture = Fixture::new().await;
    fixture.settle().await;
    for _ in 0..2 {
        fixture.subscribe().await;
        assert_eq!(fixture.sent(), ["\"watching\",\"state\":\"done\"}", "\"done\",\"result\":1}"]);
        fixture.publish_end();
        assert!(fixture.sent().is_empty());
    }
    assert!(fixture.outbox.is_settled() && fixture.subscriptions.is_empty());
}

#[tokio::test]
async fn event_during_the_first_query_is_buffered_and_not_lost() {
    let fixture = Fixture::new().await;
    let place = ReplyOrder::Anywhere;
    let waiter =
        Waiter { outbox: fixture.outbox.clone(), id: Some("7".into()), place, format: EndFormat::Reply };
    fixture.outbox.reserve(1);
    let number = fixture.subscriptions.tasks().insert(
        0,
        waiter,
        SubscriberState { wants_progress: true, buffered: Some(Buffered::default()) },
    );
    fixture.subscriptions.count.fetch_add(1, Ordering::SeqCst);
    let details = fixture.subscriptions.details(0).await.unwrap();
    fixture.attempt.log("meanwhile");
    fixture.settle().await;
    fixture.publish_end();
    assert!(fixture.sent().is_empty());
    fixture.subscriptions.send_initial(0, number, &details);
    let log = "\"log\",\"attempt\":1,\"text\":\"meanwhile\"}";
    assert_eq!(fixture.sent(), ["\"watching\",\"state\":\"running\"}", log, "\"done\",\"result\":1}"]);
    assert!(fixture.outbox.is_settled() && fixture.subscriptions.is_empty());
}

#[tokio::test]
async fn subscriber_is_removed_with_its_connection_alone() {
    let fixture = Fixture::new().await;
    let other = Arc::new(Outbox::new(4096));
    fixture.subscriptions.subscribe(&other, 0, None).await.unwrap();
    for _ in 0..3 {
        fixture.subscribe().await;
    }
    fixture.subscriptions.remove_connection(&other);
    assert_eq!(fixture.subscriptions.count.load(Ordering::SeqCst), 3);
    fixture.subscriptions.remove_connection(&fixture.outbox);
    assert!(fixture.subscriptions.is_empty());
    assert!(fixture.subscriptions.tasks().is_empty());
}

#[tokio::test]
async fn subscribe_to_an_unknown_task_is_an_error() {
    let fixture = Fixture::new().await;
    let error = fixture.subscriptions.subscribe(&fixture.outbox, 5, None).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::UnknownTask);
    assert!(fixture.outbox.is_settled() && fixture.subscriptions.is_empty());
}

#[tokio::test]
async fn slow_subscriber_misses_events_but_not_the_end() {
    let fixture = Fixture::new().await;
    fixture.subscribe().await;
    for number in 0..1000 {
        fixture.attempt.log(number);
    }
    fixture.settle().await;
    fixture.publish_end();
    let sent = fixture.sent();
    assert!(sent.len() < 100, "{}", sent.len());
    assert_eq!(sent.last().unwrap(), "\"done\",\"result\":1}");
}

#[tokio::test]
async fn close_all_leaves_no_subscriber_waiting() {
    let fixture = Fixture::new().await;
    fixture.subscribe().await;
    fixture.subscriptions.close_all(&RequestError::new(ErrorCode::ShuttingDown, "The end."));
    assert!(fixture.outbox.load().1 == 0 && fixture.subscriptions.is_empty());
    fixture.publish_end();
}
